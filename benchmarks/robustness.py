"""Robustness on real ads: what attacks do to the ad-score network and to trees, what defences give back and cost, what is certified.

The network (hand-made features and meanings, as in the ad score) learns which headline of an Upworthy test wins and is judged on pairs of
other stories that differ significantly (`--data`: three fifths of the stories train, the rest judges; with `--test-data` all of `--data`
trains). The attacker may move both headlines of a pair: every real-valued input by up to 0.1 standard deviations, counts by whole units
only. Trees learn from AdWords keyword weeks whether click-through rate falls; there budgets are impressions and clicks, whole and
consistent. Beside our attacks run those of the Adversarial Robustness Toolbox on the same network and on one decision tree, and
dtai-veritas on the same trees, where installed; where a rival raises, its error is its row."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from math import sqrt
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, show, write_json
from scipy.stats import beta

from within_pipelines.features import CREATIVE_FEATURES, creative_features
from within_pipelines.prediction.ad_score.contrasts import between_ad_variance, observe, pairs_within, within_group
from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.model import Sample
from within_pipelines.prediction.ad_score.network import EPOCHS, Network, fit_network
from within_pipelines.prediction.encoder import find_encoder
from within_pipelines.reporting import certified_plot
from within_pipelines.robustness import (
    AdversarialTraining,
    FeasibleSet,
    GaussianAugmentation,
    Guard,
    ReluNetwork,
    Trades,
    TreeEnsemble,
    Victim,
    auto_pgd,
    boundary,
    carlini_wagner,
    certify,
    classifier_victim,
    deepfool,
    ensemble,
    fgsm,
    gradient_masking,
    hop_skip_jump,
    median_bounds,
    pgd,
    square,
    strongest,
    threshold_search,
)
from within_pipelines.stats import cluster_mean

EPS = 0.1
SIGMA = 0.25
MOST_PAIRS = 400
# Pairs that every attack is asked about; those of ART that ask row by row see the first few.
MOST_TARGETS, FEW = 150, 20
# Draws of noise that smoothing at inference averages over, the same in every step of an attack.
SMOOTHED = 16


def packages(folder: Path) -> pl.DataFrame:
    """Ads of one test and image with different headlines, results of equal headlines added up."""
    ads = pl.read_parquet(folder / "upworthy_packages.parquet").filter(pl.col("impressions") > 0)
    group = pl.concat_str(pl.col("clickability_test_id"), pl.col("eyecatcher_id").fill_null(""), separator="|")
    ads = ads.filter(pl.col("headline").is_not_null()).with_columns(group_id=group)
    ads = ads.group_by("group_id", "headline").agg(
        pl.col("impressions").sum(), pl.col("clicks").sum(), pl.col("story_id").cast(pl.String).first()
    )
    return ads.filter(pl.len().over("group_id") > 1).sort("group_id", "headline")


def samples(ads: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """(group, log-odds, variance, weight, spread) of ads."""
    seen = observe((ads["clicks"] / ads["impressions"]).to_numpy(), ads["impressions"].to_numpy().astype(float), ads["group_id"].to_numpy())
    spread = sqrt(between_ad_variance(seen))
    return seen.group, seen.log_odds, seen.variance, 1 / (seen.variance + spread**2), spread


def significant_pairs(group: np.ndarray, log_odds: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(winner, loser) of pairs whose difference is significant at 5 %."""
    first, second = pairs_within(group)
    difference = log_odds[first] - log_odds[second]
    clear = np.abs(difference) > 1.96 * np.sqrt(variance[first] + variance[second])
    win = np.where(difference > 0, first, second)[clear]
    return win, np.where(difference > 0, second, first)[clear]


def pair_network(network: Network) -> ReluNetwork:
    """The network as a judge of two standardised inputs side by side."""
    return ReluNetwork.mean_of(network.inner, network.bias, network.outer).paired()


def of_several(judges: list[ReluNetwork], n: int) -> Victim:
    """Several networks that answer with their median; the attacker follows the slope of their mean."""
    answer = ensemble(judges)
    return classifier_victim(answer, np.ones(n), lambda q: np.mean([judge.gradient(q) for judge in judges], axis=0))


def clipped(judge: ReluNetwork, feasible: FeasibleSet, n: int) -> Victim:
    """Values outside what training showed are moved to its ends before they are judged; there the slope is nothing."""
    low, high = feasible.lower, feasible.upper
    inside = lambda q: (q >= low) & (q <= high)
    return classifier_victim(
        lambda q: judge(np.clip(q, low, high)), np.ones(n), lambda q: judge.gradient(np.clip(q, low, high)) * inside(q)
    )


def voted(judge: ReluNetwork, feasible: FeasibleSet, n: int, seed: int) -> Victim:
    """Smoothing at inference: the share of noisy answers that name the first, less one half; ties by the mean answer. The attacker knows
    the draws and follows the mean of their slopes (expectation over transformation, Athalye et al. 2018)."""
    moves = (feasible.budget > 0) & (feasible.step <= feasible.budget)
    noise = SIGMA * np.random.default_rng([seed, 5]).standard_normal((SMOOTHED, len(moves))) * moves

    def vote(q: np.ndarray) -> np.ndarray:
        answers = np.stack([judge(q + one) for one in noise])
        return (answers > 0).mean(axis=0) - 0.5 + 1e-3 * np.tanh(answers.mean(axis=0))

    return classifier_victim(vote, np.ones(n), lambda q: np.mean([judge.gradient(q + one) for one in noise], axis=0))


def feasible_of(network: Network, x: np.ndarray, n_hand: int) -> FeasibleSet:
    """0.1 standard deviations on each real-valued input, whole units of counts and flags, inside what training showed."""
    scale = np.where(np.isfinite(network.scale), network.scale, np.inf)
    whole = np.zeros(x.shape[1], dtype=bool)
    whole[:n_hand] = np.all(x[:, :n_hand] == np.rint(x[:, :n_hand]), axis=0)
    step = np.where(whole, 1 / scale, 0.0)
    budget = np.where(np.isfinite(scale), EPS, 0.0)
    low = np.nan_to_num(np.clip((x.min(axis=0) - network.mean) / scale, -6, 6))
    high = np.nan_to_num(np.clip((x.max(axis=0) - network.mean) / scale, -6, 6))
    double = lambda a: np.concatenate([a, a])
    return FeasibleSet.of(double(budget), lower=double(low), upper=double(high), step=double(step))


def shown(values: np.ndarray, clusters: np.ndarray, rng: np.random.Generator) -> tuple[float, str]:
    """Share with a 95 % interval over stories."""
    found = cluster_mean(values.astype(float), clusters, rng=rng, n_resamples=400)
    return found.value, str(found)


def rate(turned: np.ndarray, clusters: np.ndarray) -> tuple[float, str]:
    """Share of turned answers: the wider of a bootstrap over stories and Clopper-Pearson, which is never empty at 0 or 1."""
    hits, n = int(turned.sum()), len(turned)
    drawn = cluster_mean(turned.astype(float), clusters, rng=np.random.default_rng(5), n_resamples=400)
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return hits / n, f"{hits / n:.3f} [{min(low, drawn.low):.3f}, {max(high, drawn.high):.3f}]"


def timed(function):
    """(result, CPU seconds)."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def network_part(options, metrics: dict[str, float]) -> None:
    """The ad-score network: attacks, defences, certificates, ART beside them."""
    ads = packages(options.data)
    if options.test_data is not None:
        other = packages(options.test_data)
        split = np.concatenate([np.zeros(ads.height, dtype=bool), np.ones(other.height, dtype=bool)])
        ads = pl.concat([ads, other.with_columns("test|" + pl.col("group_id"))])
    else:
        stories = ads["story_id"].unique().sort().to_list()
        held = set(np.random.default_rng(options.seed).permutation(stories)[: 2 * len(stories) // 5].tolist())
        split = ads["story_id"].is_in(sorted(held)).to_numpy()
    encoder = find_encoder("all-MiniLM-L6-v2") if options.encoder else None
    frame = pl.concat([ads, creative_features(ads)], how="horizontal")
    inputs = Inputs.learn(frame.filter(pl.Series(~split)), features=CREATIVE_FEATURES.columns, words=True, encoder=encoder)
    matrix = inputs.matrix(frame)
    columns = np.r_[0 : inputs.n_hand, inputs.n_explained : matrix.shape[1]] if encoder else np.arange(matrix.shape[1])
    x = np.ascontiguousarray(matrix[:, columns])
    train, test = ads.filter(pl.Series(~split)), ads.filter(pl.Series(split))
    group, log_odds, _, weight, spread = samples(train)
    sample = Sample(x[~split], within_group(log_odds, weight, group, int(group.max()) + 1), weight, group)
    test_group, test_odds, test_variance, _, _ = samples(test)
    win, lose = significant_pairs(test_group, test_odds, test_variance)
    rng = np.random.default_rng([options.seed, 1])
    chosen = np.sort(rng.permutation(len(win))[:MOST_PAIRS])
    win, lose = win[chosen], lose[chosen]
    clusters = test["story_id"].to_numpy()[win]
    stories = len(set(clusters.tolist()))
    print(f"network: {len(sample.y)} ads train, {len(win)} significant pairs of {stories} other stories, {x.shape[1]} inputs")

    plain, cpu_plain = timed(lambda: fit_network(sample, spread=spread, seed=options.seed))
    single = feasible_of(plain, x[~split], inputs.n_hand)
    one = single.budget[: x.shape[1]] * (single.step[: x.shape[1]] <= single.budget[: x.shape[1]])
    z = plain._standardised(x[split])
    both = np.concatenate([z[win], z[lose]], axis=1)
    if options.attacks:
        attack_part(pair_network(plain), both, clusters, single, metrics, options.attacks)
        return
    recipes = {
        "none": None,
        "adversarial training (PGD)": AdversarialTraining(one, steps=3, share=0.5),
        "adversarial training (PGD, all)": AdversarialTraining(one, steps=3, share=1.0),
        "TRADES (beta 1)": Trades(one, beta=1.0, steps=3),
        "TRADES (beta 3)": Trades(one, beta=3.0, steps=3),
        "TRADES (beta 6)": Trades(one, beta=6.0, steps=3),
        "Gaussian augmentation": GaussianAugmentation(np.where(one > 0, SIGMA, 0.0)),
    }
    networks: dict[str, tuple[Network, float]] = {"none": (plain, cpu_plain)}
    for name, objective in recipes.items():
        if objective is not None:
            networks[name] = timed(lambda o=objective: fit_network(sample, spread=spread, seed=options.seed, objective=o, epochs=EPOCHS))
    rows, robust, clean = [], {}, {}
    defended: dict[str, tuple[Victim, float]] = {}
    for name, (network, cpu) in networks.items():
        judge = pair_network(network)
        defended[name] = classifier_victim(judge, np.ones(len(both)), judge.gradient), cpu
    seeds, cpu_more = timed(lambda: [fit_network(sample, spread=spread, seed=options.seed + k) for k in (1, 2)])
    judges = [pair_network(network) for network in (plain, *seeds)]
    defended["ensemble (median of three)"] = of_several(judges, len(both)), cpu_plain + cpu_more
    defended["clipping to the training range"] = clipped(pair_network(plain), single, len(both)), cpu_plain
    hardened, cpu_hardened = networks["adversarial training (PGD)"]
    for name, network, cpu in (("smoothing", plain, cpu_plain), ("smoothing of adversarial training", hardened, cpu_hardened)):
        defended[f"{name} ({SMOOTHED} draws)"] = voted(pair_network(network), single, len(both), options.seed), cpu
    for name, (victim, cpu) in defended.items():
        attacked = pgd(victim, both, single, rng=np.random.default_rng(options.seed), steps=20, restarts=2 if name in networks else 1)
        assert single.contains(attacked.x, both).all()
        clean[name], clean_text = shown(victim.margin(both, np.arange(len(both))) > 0, clusters, rng)
        robust[name], robust_text = shown(attacked.margin > 0, clusters, rng)
        gap = clean["none"] - robust["none"]
        back = (robust[name] - robust["none"]) / gap if gap > 0 else float("nan")
        rows.append([name, clean_text, robust_text, f"{back:.2f}", f"{100 * (clean['none'] - clean[name]):+.2f}", f"{cpu:.1f}"])
        key = name.split(" (")[0].replace(" ", "_").replace(",", "") + ("_all" if "all)" in name else "")
        key += f"_beta_{name.split('beta ')[1].rstrip(')')}" if "beta" in name else ""
        metrics |= {
            f"network_{key}_clean": clean[name],
            f"network_{key}_robust": robust[name],
            f"network_{key}_recovered": back,
            f"network_{key}_points_lost": 100 * (clean["none"] - clean[name]),
        }
    show(
        f"Ad-score network: pairwise accuracy on significant pairs, clean and under PGD (eps {EPS} sd, feasible)",
        ["defence", "clean", "under PGD", "gap recovered", "points lost", "fit CPU s"],
        rows,
    )

    attack_part(pair_network(plain), both, clusters, single, metrics)

    # Certificates.
    rows = []
    moves = np.where(single.budget > 0, 1.0, 0.0) * (single.step <= single.budget)
    radii = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5]
    curves: dict[str, tuple[list[float], list[float]]] = {}
    part = both[:100]
    for name in ("none", "Gaussian augmentation", "adversarial training (PGD)"):
        judge = pair_network(networks[name][0])
        certificate, cpu = timed(
            lambda j=judge: certify(
                lambda q: (j(q) > 0).astype(int), part, sigma=SIGMA, rng=np.random.default_rng(3), scale=moves, draws=300, alpha=0.001
            )
        )
        positive, median = float((certificate.radius > 0).mean()), float(np.median(certificate.radius))
        accuracies = certificate.accuracy(np.ones(len(part), dtype=int), radii)
        fine = np.linspace(0, 0.8, 81)
        curves[name] = (fine.tolist(), certificate.accuracy(np.ones(len(part), dtype=int), fine.tolist()))
        rows.append([f"smoothing, {name}", f"{positive:.3f}", f"{median:.3f}", *(f"{a:.2f}" for a in accuracies), f"{cpu:.1f}"])
        key = name.split(" (")[0].replace(" ", "_")
        metrics |= {f"certified_{key}_share_positive": positive, f"certified_{key}_median_radius": median}
        metrics |= {f"certified_{key}_accuracy_{r:g}": a for r, a in zip(radii, accuracies, strict=True)}
        box, cpu = timed(lambda j=judge: j.certified_radius(part, moves, most=0.5))
        right = judge(part) > 0
        rows.append(
            [f"CROWN (each input), {name}", f"{float((box > 0).mean()):.3f}", f"{float(np.median(box)):.3f}"]
            + [f"{float(np.mean(right & (box >= r))):.2f}" for r in radii]
            + [f"{cpu:.1f}"]
        )
        metrics[f"crown_{key}_median_radius"] = float(np.median(box))
    if options.plot is not None:
        options.plot.write_bytes(certified_plot(curves, title="Ad-score network, smoothed", unit="Euclidean radius in standard deviations"))
    bound = median_bounds(judge, part[:50], sigma=SIGMA, radius=0.1, rng=np.random.default_rng(4), scale=moves, draws=300)
    metrics["median_smoothing_width_0.1"] = float(np.median(bound.high - bound.low))
    show(
        f"Certified (smoothing: Euclidean radius in sd, sigma {SIGMA}; CROWN: largest change of every input in sd)",
        ["model", "share > 0", "median", *(f"acc {r:g}" for r in radii), "CPU s"],
        rows,
    )


# ART asks these row by row, so it sees the first few pairs.
BY_ROW = ("Boundary", "HopSkipJump")
OUR_ATTACKS = ("FGSM", "PGD", "Auto-PGD", "DeepFool", "Carlini-Wagner", "Boundary", "Square (tables)", "HopSkipJump")


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


def keyword_weeks(folder: Path) -> pl.DataFrame:
    """Keyword weeks: counts of the last seven and twenty-eight days, and whether click-through rate falls by a fifth in the next seven."""
    daily = pl.read_csv(folder / "adwords_daily.csv.gz", try_parse_dates=True).select(
        pl.col("date").cast(pl.Date), pl.col("id").cast(pl.String), "impressions", "clicks"
    )
    first: date = daily["date"].min()
    parts = []
    for week in range(5, 51):
        origin = first + timedelta(days=7 * week)
        ages = (pl.lit(origin) - pl.col("date")).dt.total_days()
        windows = {"7": ages.is_between(1, 7), "28": ages.is_between(1, 28), "next": ages.is_between(-6, 0)}
        sums = {f"{m}_{w}": pl.col(m).filter(inside).sum() for w, inside in windows.items() for m in ("impressions", "clicks")}
        parts.append(daily.group_by("id").agg(**sums).with_columns(week=pl.lit(week)))
    table = pl.concat(parts).filter((pl.col("clicks_28") >= 20) & (pl.col("impressions_next") >= 50) & (pl.col("impressions_7") >= 50))
    usual = pl.col("clicks_28") / pl.col("impressions_28")
    return table.with_columns(falls=(pl.col("clicks_next") / pl.col("impressions_next") < 0.8 * usual).cast(pl.Int64)).sort("week", "id")


def tree_part(options, metrics: dict[str, float]) -> None:
    """Boosted trees on counts: attacks inside whole, consistent numbers; exact verification beside veritas; monotone trees and a guard."""
    import xgboost

    table = keyword_weeks(options.data)
    names = ["impressions_7", "clicks_7", "impressions_28", "clicks_28"]
    x, y = table.select(names).to_numpy().astype(float), table["falls"].to_numpy()
    late = table["week"].to_numpy() >= 35
    if options.test_data is not None:
        other = keyword_weeks(options.test_data)
        x, y = np.concatenate([x, other.select(names).to_numpy().astype(float)]), np.concatenate([y, other["falls"].to_numpy()])
        late = np.arange(len(x)) >= table.height
    shared = {"n_estimators": 60, "max_depth": 4, "learning_rate": 0.1, "n_jobs": 1, "random_state": options.seed}
    models = {
        "trees": xgboost.XGBClassifier(**shared).fit(x[~late], y[~late]),
        "monotone trees": xgboost.XGBClassifier(**shared, monotone_constraints=(-1, 1, 1, -1)).fit(x[~late], y[~late]),
    }
    rng = np.random.default_rng([options.seed, 9])
    chosen = np.sort(rng.permutation(np.flatnonzero(late))[:200])
    points, labels = x[chosen], y[chosen]
    guard = Guard.learn(x[~late])
    rows = []
    for name, model in models.items():
        trees = TreeEnsemble.of_xgboost(model)
        for clicks in (1, 3):
            # A few clicks and two per cent of the impressions, whole, clicks within impressions, the week within the month.
            views = 10 * clicks
            feasible = FeasibleSet.of([views, clicks, views, clicks], lower=0, step=1, pairs=[(1, 0), (3, 2), (0, 2), (1, 3)])
            victim = classifier_victim(trees, labels)
            (worst, _), cpu = timed(
                lambda v=victim, f=feasible, t=trees: strongest(
                    v, points, f, rng=np.random.default_rng(1), thresholds=t.thresholds(), queries=200
                )
            )
            assert feasible.contains(worst.x, points).all()
            by_threshold, _ = timed(
                lambda v=victim, f=feasible, t=trees: threshold_search(
                    v, points, f, thresholds=t.thresholds(), rng=np.random.default_rng(1)
                )
            )
            certified, cpu_exact = timed(lambda t=trees, f=feasible: t.certified(points, labels, f.budget))
            right = (trees(points) > 0) == (labels > 0)
            robust = float((worst.margin > 0).mean())
            rows.append(
                [name, f"{clicks} clicks, {views} impressions", f"{right.mean():.3f}", f"{robust:.3f}", f"{by_threshold.holds:.3f}",
                 f"{float((certified & right).mean()):.3f}", f"{cpu:.1f}", f"{cpu_exact:.1f}"]
            )  # fmt: skip
            assert not (certified & right & (worst.margin <= 0)).any(), "a certified row was broken"
            key = name.replace(" ", "_")
            metrics |= {
                f"{key}_{clicks}_clean": float(right.mean()),
                f"{key}_{clicks}_robust": robust,
                f"{key}_{clicks}_certified": float((certified & right).mean()),
            }
    show(
        "Trees on keyword weeks: accuracy clean, under the strongest attack, certified (box without whole numbers), 200 rows",
        ["model", "budget", "clean", "robust", "after threshold search", "certified", "attack CPU s", "exact CPU s"],
        rows,
    )
    caught, wrong = guard.outside(x[late] * np.array([1, 1, 100, 1]))[:, 2].mean(), guard.outside(x[late]).any(axis=1).mean()
    print(f"guard: impressions x100 are stopped at the door in {caught:.0%} of rows, true rows in {wrong:.1%}")
    metrics |= {"guard_caught_x100": float(caught), "guard_false": float(wrong)}
    decision_tree_part(x[~late], y[~late], points, metrics, seed=options.seed)
    veritas_part(models["trees"], points[:100], labels[:100], metrics)


def decision_tree_part(x: np.ndarray, y: np.ndarray, points: np.ndarray, metrics: dict[str, float], *, seed: int) -> None:
    """One scikit-learn tree under ART's decision-tree attack, which knows no budget, and under ours, which searches inside one."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=20, random_state=seed).fit(x, y)
    answer = tree.predict(points)
    split = tree.tree_.feature >= 0
    # What falls on the threshold goes left, so right begins just above it, in the tree's 32 bits.
    just_above = np.nextafter(tree.tree_.threshold.astype(np.float32), np.float32(np.inf)).astype(float)
    thresholds = [np.unique(just_above[split & (tree.tree_.feature == column)]) for column in range(x.shape[1])]
    logit = lambda q: tree.predict_proba(q)[:, 1] - 0.5
    sure = np.abs(logit(points)) > 1e-9
    points, answer = points[sure], answer[sure]
    rows = []
    for clicks in (1, 3, 10):
        views = 10 * clicks
        feasible = FeasibleSet.of([views, clicks, views, clicks], lower=0, step=1, pairs=[(1, 0), (3, 2), (0, 2), (1, 3)])
        found, cpu = timed(
            lambda f=feasible: threshold_search(
                classifier_victim(logit, answer), points, f, thresholds=thresholds, rng=np.random.default_rng(1)
            )
        )
        success, text = rate(found.broken, np.arange(len(points)))
        inside = float(feasible.contains(found.x, points).mean())
        budget = f"{clicks} clicks, {views} impressions"
        rows.append(["ours", budget, text, f"{inside:.0%}", f"{1000 * cpu / len(points):.1f}", ""])
        metrics[f"decision_tree_ours_{clicks}_success"] = success
        metrics[f"decision_tree_ours_{clicks}_cpu_per_case"] = cpu / len(points)
        theirs = art_tree(tree, points)
        if theirs is None:
            rows.append(["ART", "not installed", "", "", "", ""])
            continue
        moved, cpu = theirs
        turned = tree.predict(moved) != answer
        near = (np.abs(moved - points) <= feasible.budget + 1e-9).all(axis=1)
        success, text = rate(turned & near, np.arange(len(points)))
        inside = float(feasible.contains(moved, points).mean())
        rows.append(["ART", budget, text, f"{inside:.0%}", f"{1000 * cpu / len(points):.1f}", f"{float(turned.mean()):.3f}"])
        metrics[f"decision_tree_art_{clicks}_success"] = success
        metrics[f"decision_tree_art_{clicks}_cpu_per_case"] = cpu / len(points)
        metrics["decision_tree_art_any_distance"] = float(turned.mean())
    show(
        f"One decision tree, {len(points)} rows: answers turned within the budget, 95 % intervals",
        ["from", "budget", "success", "feasible", "CPU ms a row", "turned at any distance"],
        rows,
    )


def art_tree(tree, points: np.ndarray) -> tuple[np.ndarray, float] | None:
    """(what ART's decision-tree attack makes of the rows, CPU seconds); None where ART is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.attacks.evasion import DecisionTreeAttack
            from art.estimators.classification.scikitlearn import ScikitlearnDecisionTreeClassifier
    except ImportError:
        return None
    return timed(lambda: DecisionTreeAttack(ScikitlearnDecisionTreeClassifier(tree), verbose=False).generate(points))


def veritas_part(model, points: np.ndarray, labels: np.ndarray, metrics: dict[str, float]) -> None:
    """The same least and largest sums by dtai-veritas, and the CPU seconds of both."""
    try:
        import veritas
    except ImportError:
        print("dtai-veritas: not installed")
        return
    trees = TreeEnsemble.of_xgboost(model)
    ensemble = veritas.get_addtree(model, silent=True)
    budget = np.array([10.0, 1.0, 10.0, 1.0])

    def least_of(row: np.ndarray) -> float:
        config = veritas.Config(veritas.HeuristicType.MIN_OUTPUT)
        box = [
            veritas.Interval(float(a), float(np.nextafter(np.float32(b), np.float32(np.inf))))
            for a, b in zip(row - budget, row + budget, strict=True)
        ]
        search = config.get_search(ensemble, box)
        search.steps(1000)
        while search.num_solutions() == 0 or not search.is_optimal():
            if search.steps(1000) != veritas.StopReason.NONE:
                break
        return float(search.get_solution(0).output)

    ours, cpu_ours = timed(lambda: np.array([trees.minimum(row - budget, row + budget).value for row in points]))
    theirs, cpu_theirs = timed(lambda: np.array([least_of(row) for row in points]))
    difference = float(np.abs(ours - theirs).max())
    print(f"least sum in the box, 100 rows: ours {cpu_ours:.2f} CPU s, veritas {cpu_theirs:.2f}; largest difference {difference:.2g}")
    metrics |= {"exact_cpu_ours": cpu_ours, "exact_cpu_veritas": cpu_theirs, "exact_difference": difference}


def main() -> None:
    """Both parts."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--plot", type=Path, default=None, help="write certified accuracy against radius to this PNG")
    parser.add_argument("--words", dest="encoder", action="store_false", help="words instead of meanings: faster, without the encoder")
    names = [name.split(" ")[0] for name in OUR_ATTACKS]
    parser.add_argument("--attacks", nargs="+", choices=names, default=[], help="these on the undefended network, and nothing else")
    options = parser.parse_args()
    metrics: dict[str, float] = {}
    network_part(options, metrics)
    if not options.attacks:
        tree_part(options, metrics)
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
