"""Robustness on real ads: what attacks do to the ad-score network and to trees, what defences give back and cost, what is certified.

The network (hand-made features and meanings, as in the ad score) learns which headline of an Upworthy test wins and is judged on pairs of
other stories that differ significantly (`--data`: three fifths of the stories train, the rest judges; with `--test-data` all of `--data`
trains). The attacker may move both headlines of a pair: every real-valued input by up to 0.1 standard deviations, counts by whole units
only. Trees learn from AdWords keyword weeks whether click-through rate falls; there budgets are impressions and clicks, whole and
consistent. Beside our attacks run those of the Adversarial Robustness Toolbox on the same network and on one decision tree, and
dtai-veritas on the same trees, where installed; where a rival raises, its error is its row."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, show, timed, write_json
from _robustness_attacks import EPS, OUR_ATTACKS, attack_part
from _robustness_trees import tree_part

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
    ReluNetwork,
    Trades,
    Victim,
    certify,
    classifier_victim,
    ensemble,
    median_bounds,
    pgd,
)
from within_pipelines.stats import cluster_mean

SIGMA = 0.25
MOST_PAIRS = 400
# Draws of noise that smoothing at inference averages over, the same in every step of an attack.
SMOOTHED = 16
# Defences whose certificates are shown.
CERTIFIED = ("none", "Gaussian augmentation", "adversarial training (PGD)")


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
    certificate_part({name: pair_network(networks[name][0]) for name in CERTIFIED}, both[:100], single, metrics, plot=options.plot)


def certificate_part(
    judges: dict[str, ReluNetwork], part: np.ndarray, single: FeasibleSet, metrics: dict[str, float], *, plot: Path | None
) -> None:
    """What is certified of each judge on the pairs `part`: by smoothing, by CROWN, and the width of the last one's smoothed median."""
    rows = []
    moves = np.where(single.budget > 0, 1.0, 0.0) * (single.step <= single.budget)
    radii = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5]
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for name, judge in judges.items():
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
    if plot is not None:
        plot.write_bytes(certified_plot(curves, title="Ad-score network, smoothed", unit="Euclidean radius in standard deviations"))
    bound = median_bounds(judge, part[:50], sigma=SIGMA, radius=0.1, rng=np.random.default_rng(4), scale=moves, draws=300)
    metrics["median_smoothing_width_0.1"] = float(np.median(bound.high - bound.low))
    show(
        f"Certified (smoothing: Euclidean radius in sd, sigma {SIGMA}; CROWN: largest change of every input in sd)",
        ["model", "share > 0", "median", *(f"acc {r:g}" for r in radii), "CPU s"],
        rows,
    )


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
