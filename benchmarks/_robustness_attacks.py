"""Every attack on one network, ours and those of the Adversarial Robustness Toolbox, and how many answers each turns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from _common import show, timed
from scipy.stats import beta

from within_pipelines.robustness import (
    FeasibleSet,
    ReluNetwork,
    auto_pgd,
    boundary,
    carlini_wagner,
    classifier_victim,
    deepfool,
    fgsm,
    gradient_masking,
    hop_skip_jump,
    pgd,
    square,
)
from within_pipelines.stats import cluster_mean

# What the attacker may move, in standard deviations.
EPS = 0.1
# Pairs that every attack is asked about; those of ART that ask row by row see the first few.
MOST_TARGETS, FEW = 150, 20
# ART asks these row by row, so it sees the first few pairs.
BY_ROW = ("Boundary", "HopSkipJump")
OUR_ATTACKS = ("FGSM", "PGD", "Auto-PGD", "DeepFool", "Carlini-Wagner", "Boundary", "Square (tables)", "HopSkipJump")


def rate(turned: np.ndarray, clusters: np.ndarray) -> tuple[float, str]:
    """Share of turned answers: the wider of a bootstrap over stories and Clopper-Pearson, which is never empty at 0 or 1."""
    hits, n = int(turned.sum()), len(turned)
    drawn = cluster_mean(turned.astype(float), clusters, rng=np.random.default_rng(5), n_resamples=400)
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return hits / n, f"{hits / n:.3f} [{min(low, drawn.low):.3f}, {max(high, drawn.high):.3f}]"


def attack_part(
    judge: ReluNetwork, both: np.ndarray, clusters: np.ndarray, single: FeasibleSet, metrics: dict[str, float], only: Sequence[str] = ()
) -> None:
    """Every attack (or those in `only`, ours and ART's) on the plain network, and signs of gradient masking."""
    # Only answers that are right can be turned wrong.
    right = np.flatnonzero(judge(both) > 0)[:MOST_TARGETS]
    target, of_story = both[right], clusters[right]
    victim = classifier_victim(judge, np.ones(len(target)), judge.gradient)
    rows = []
    drawn = lambda: np.random.default_rng(1)
    attacks = {
        "FGSM": lambda: fgsm(victim, target, single),
        "PGD": lambda: pgd(victim, target, single, rng=drawn()),
        "Auto-PGD": lambda: auto_pgd(victim, target, single, rng=drawn()),
        "DeepFool": lambda: deepfool(victim, target, single),
        "Carlini-Wagner": lambda: carlini_wagner(victim, target, single, searches=2),
        "Boundary": lambda: boundary(victim, target, single, rng=drawn()),
        "Square (tables)": lambda: square(victim, target, single, rng=drawn()),
        "HopSkipJump": lambda: hop_skip_jump(victim, target, single, rng=drawn(), rounds=2, samples=20),
    }
    assert tuple(attacks) == OUR_ATTACKS
    for name, attack in attacks.items():
        if only and name.split(" ")[0] not in only:
            continue
        result, cpu = timed(attack)
        inside = float(single.contains(result.x, target).mean())
        success, text = rate(result.broken, of_story)
        asked = result.queries / len(target)
        rows.append(["ours", name, text, f"{inside:.0%}", f"{1000 * cpu / len(target):.1f}", f"{asked:.0f}", ""])
        key = "attack_ours_" + name.split(" ")[0].lower().replace("-", "_")
        metrics |= {f"{key}_success": success, f"{key}_cpu_per_case": cpu / len(target), f"{key}_queries": asked}
        if name in BY_ROW:
            metrics[f"{key}_success_few"], text = rate(result.broken[:FEW], of_story[:FEW])
            rows.append(["ours", f"{name} (the same {FEW} pairs)", text, "", "", "", ""])
    rows += art_attacks(judge, target, of_story, single, metrics, only)
    show(
        f"Attacks on the undefended network, {len(target)} pairs that it orders rightly; success within eps {EPS} with 95 % intervals",
        ["from", "attack", "success", "feasible", "CPU ms a pair", "asked", "turned at any distance"],
        rows,
    )
    if not only:
        masking, _ = gradient_masking(victim, target[:100], single, rng=np.random.default_rng(2), queries=100)
        print("signs of gradient masking:", "; ".join(masking.signs) or "none")
        metrics["network_masking_signs"] = float(len(masking.signs))


def art_network(judge: ReluNetwork):
    """The same network as ART's classifier of two classes; None where ART is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.estimators.classification import PyTorchClassifier
    except ImportError:
        return None
    import torch

    class Pairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(*judge.inner.shape)
            self.outer = torch.nn.Linear(judge.outer.size, 2)
            half = torch.tensor(np.stack([-judge.outer, judge.outer]) / 2, dtype=torch.float32)
            with torch.no_grad():
                self.inner.weight.copy_(torch.tensor(judge.inner.T, dtype=torch.float32))
                self.inner.bias.copy_(torch.tensor(judge.bias, dtype=torch.float32))
                self.outer.weight.copy_(half)
                self.outer.bias.copy_(torch.tensor([-judge.intercept / 2, judge.intercept / 2], dtype=torch.float32))

        def forward(self, q: torch.Tensor) -> torch.Tensor:
            return self.outer(torch.relu(self.inner(q)))

    loss, width = torch.nn.CrossEntropyLoss(), judge.inner.shape[0]
    return PyTorchClassifier(Pairs(), loss=loss, input_shape=(width,), nb_classes=2, device_type="cpu")


def art_attacks(
    judge: ReluNetwork, x: np.ndarray, stories: np.ndarray, feasible: FeasibleSet, metrics: dict[str, float], only: Sequence[str] = ()
) -> list[list[str]]:
    """The same network under ART's attacks, which know an eps but no feasible set; what an attack does beyond eps is no success. Attacks
    that ask row by row see the first 20 pairs."""
    classifier = art_network(judge)
    if classifier is None:
        return [["ART", "not installed", "", "", "", "", ""]]
    from art.attacks import evasion

    single = x.astype(np.float32)
    linf = {"norm": np.inf, "eps": EPS}
    attacks = {
        "FGSM": (lambda: evasion.FastGradientMethod(classifier, **linf), len(x), True),
        "PGD": (
            lambda: evasion.ProjectedGradientDescent(classifier, **linf, eps_step=EPS / 4, max_iter=20, num_random_init=1, verbose=False),
            len(x), True,
        ),
        "Auto-PGD": (
            lambda: evasion.AutoProjectedGradientDescent(
                classifier, **linf, eps_step=2 * EPS, max_iter=50, nb_random_init=1, loss_type="cross_entropy", verbose=False
            ),
            len(x), True,
        ),
        "DeepFool": (lambda: evasion.DeepFool(classifier, max_iter=30, verbose=False), len(x), False),
        "Carlini-Wagner": (
            lambda: evasion.CarliniL2Method(
                classifier, binary_search_steps=2, max_iter=60, learning_rate=0.1, initial_const=1.0, batch_size=64, verbose=False
            ),
            len(x), True,
        ),
        "Boundary": (lambda: evasion.BoundaryAttack(classifier, targeted=False, max_iter=300, init_size=50, verbose=False), FEW, False),
        "Square": (lambda: evasion.SquareAttack(classifier, **linf, max_iter=300, verbose=False), len(x), True),
        "HopSkipJump": (
            lambda: evasion.HopSkipJump(classifier, norm=np.inf, max_iter=2, max_eval=200, init_eval=20, init_size=50, verbose=False),
            FEW, False,
        ),
    }  # fmt: skip
    rows = []
    for name, (make, count, labelled) in attacks.items():
        if only and name not in only:
            continue
        given = (single[:count], np.ones(count, dtype=int)) if labelled else (single[:count],)
        title = name if count == len(x) else f"{name} ({count} pairs)"
        try:
            found, cpu = timed(lambda make=make, given=given: make().generate(*given))
        except Exception as failure:  # noqa: BLE001 - what the rival raises is what is measured
            rows.append(["ART", title, f"fails: {type(failure).__name__}: {failure}", "", "", "", ""])
            continue
        far = np.abs(found - given[0]).max(axis=1) > EPS + 1e-6
        turned = judge(found.astype(float)) <= 0
        success, text = rate(turned & ~far, stories[:count])
        inside = float(feasible.contains(found.astype(float), x[:count], tolerance=1e-4).mean())
        rows.append(["ART", title, text, f"{inside:.0%}", f"{1000 * cpu / count:.1f}", "", f"{float(turned.mean()):.3f}"])
        key = "attack_art_" + name.lower().replace("-", "_")
        metrics |= {f"{key}_success": success, f"{key}_cpu_per_case": cpu / count, f"{key}_feasible": inside}
        metrics[f"{key}_any_distance"] = float(turned.mean())
    return rows
