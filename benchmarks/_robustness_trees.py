"""Trees on counts of real ads: attacks inside whole, consistent numbers, and exact verification beside dtai-veritas."""

from __future__ import annotations

import warnings
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from _common import show, timed
from _robustness_attacks import rate

from within_pipelines.robustness import (
    FeasibleSet,
    Guard,
    TreeEnsemble,
    classifier_victim,
    strongest,
    threshold_search,
)


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
