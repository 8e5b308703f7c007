"""What wrong training labels cost: account health and the heads of the ad score, judged on true labels of rows that no fit has seen.

Account health learns from AdWords keyword-days whether click-through rate falls; a share of its labels is flipped; AUROC on the last three
folds of 28 days, beside calibrated persistence. The heads of the ad score (ridge, trees, network, on hand-made features and words) learn
Upworthy contrasts, of which a share goes round among ads; pairs of other stories that differ significantly are ordered rightly or not.
Labels are wrong completely at random; each share is refitted `--repeats` times. 95 % intervals resample keywords and stories; the change
from no wrong label is paired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl
from _common import arguments, own_cpu, show, write_json
from account_health import HORIZON, MINIMUM_CLICKS, PANELS, labelled
from robustness import packages, samples, significant_pairs

from within_pipelines.features import CREATIVE_FEATURES, creative_features
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.ad_score.contrasts import within_group
from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.model import Sample, fit_ridge, fit_trees, open_trees, tree_values
from within_pipelines.prediction.ad_score.network import fit_network
from within_pipelines.prediction.metrics import auroc
from within_pipelines.robustness import noise_curve

SHARES = (0.0, 0.05, 0.1, 0.2)
JUDGED_DAYS = 84
# A strong ridge, not tuned.
PENALTY = 300.0


def told(name: str, curve, started: float, metrics: dict[str, float]) -> list[list[str]]:
    """A row per share of wrong labels."""
    key = name.lower().replace(": ", "_").replace(" ", "_")
    for point in curve:
        metrics |= {f"{key}_{point.share:g}": point.quality.value, f"{key}_{point.share:g}_change": point.change.value}
    cpu = own_cpu() - started
    metrics[f"{key}_cpu"] = cpu
    print(f"{name}: {curve[0].quality}; with {curve[-1].share:.0%} wrong {curve[-1].quality}, {cpu:.0f} CPU s", flush=True)
    return [
        [name if point is curve[0] else "", f"{point.share:.0%} ({point.n_wrong})", str(point.quality),
         str(point.change) if point.share else "", f"{cpu:.0f}" if point is curve[0] else ""]
        for point in curve
    ]  # fmt: skip


def account_health(options, metrics: dict[str, float]) -> list[list[str]]:
    """AUROC of both kinds on the newest weeks."""
    panel = PANELS[0]
    target, drop = panel.targets[0][1:]
    rows = labelled(panel.read(options.data), panel, target, drop).sort("origin", "campaign_id")
    if options.test_data is None:
        start = rows["origin"].max() - timedelta(days=JUDGED_DAYS)
        older, newer = rows.filter(pl.col("origin") < start - timedelta(days=HORIZON)), rows.filter(pl.col("origin") >= start)
    else:
        older, newer = rows, labelled(panel.read(options.test_data), panel, target, drop).sort("origin", "campaign_id")
    # The exact ratio would teach what the flipped label denies: here labels alone teach.
    older = older.drop("log_ratio")
    truth = newer["degraded"].cast(pl.Float64).to_numpy()
    labels = older["degraded"].cast(pl.Float64).to_numpy()
    print(f"account health: {older.height} rows train, {newer.height} of {newer['campaign_id'].n_unique()} keywords judge")
    found = []
    for kind in ("logistic_xgboost", "persistence"):
        started = own_cpu()

        def learn(y: np.ndarray, kind: str = kind) -> np.ndarray:
            model = AccountHealthPredictor(
                kind=kind, horizon=HORIZON, drop=drop, usual_days=panel.usual_days, minimum_clicks=MINIMUM_CLICKS
            )
            return model.fit(older, y.astype(int), seed=options.seed).probability(newer)

        curve = noise_curve(
            learn, labels, lambda p, at: auroc(truth[at], p[at]), clusters=newer["campaign_id"].to_numpy(),
            rng=np.random.default_rng([options.seed, 1]), shares=SHARES, repeats=options.repeats, n_resamples=200,
        )  # fmt: skip
        found += told(f"account health: {kind}", curve, started, metrics)
    return found


def ad_score(options, metrics: dict[str, float]) -> list[list[str]]:
    """Pairwise accuracy of each head."""
    ads = packages(options.data)
    if options.test_data is None:
        stories = ads["story_id"].unique().sort().to_list()
        held = np.random.default_rng(options.seed).permutation(stories)[: 2 * len(stories) // 5].tolist()
        split = ads["story_id"].is_in(sorted(held)).to_numpy()
    else:
        other = packages(options.test_data)
        split = np.repeat([False, True], [ads.height, other.height])
        ads = pl.concat([ads, other.with_columns("test|" + pl.col("group_id"))])
    frame = pl.concat([ads, creative_features(ads)], how="horizontal")
    inputs = Inputs.learn(frame.filter(pl.Series(~split)), features=CREATIVE_FEATURES.columns, words=True, encoder=None)
    x = inputs.matrix(frame)
    group, log_odds, _, weight, spread = samples(ads.filter(pl.Series(~split)))
    contrasts = within_group(log_odds, weight, group, int(group.max()) + 1)
    test = ads.filter(pl.Series(split))
    test_group, test_odds, variance, _, _ = samples(test)
    win, lose = significant_pairs(test_group, test_odds, variance)
    print(f"ad score: {len(contrasts)} ads train, {len(win)} significant pairs of other stories judge")
    fits: dict[str, Callable[[Sample], Callable[[np.ndarray], np.ndarray]]] = {
        "ridge": lambda sample: fit_ridge(sample, penalty=PENALTY),
        "trees": lambda sample: lambda z, b=open_trees(fit_trees(sample, seed=options.seed, threads=1)): tree_values(b, z),
        "network": lambda sample: fit_network(sample, spread=spread, seed=options.seed),
    }
    found = []
    for name, fit in fits.items():
        started = own_cpu()

        def learn(y: np.ndarray, fit=fit) -> np.ndarray:
            answer = fit(Sample(x[~split], y, weight, group))(x[split])
            return answer[win] - answer[lose]

        curve = noise_curve(
            learn, contrasts, lambda d, at: float(np.mean(d[at] > 0)), clusters=test["story_id"].to_numpy()[win],
            rng=np.random.default_rng([options.seed, 2]), shares=SHARES, repeats=options.repeats,
        )  # fmt: skip
        found += told(f"ad score: {name}", curve, started, metrics)
    return found


def main() -> None:
    """Both models in one table."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    metrics: dict[str, float] = {}
    columns = ["model", "wrong labels", "quality", "change", "CPU s"]
    show("Ad score: significant pairs ordered rightly by share of wrong training labels", columns, ad_score(options, metrics))
    show("Account health: AUROC by share of wrong training labels", columns, account_health(options, metrics))
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
