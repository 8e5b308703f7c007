"""Account health on real ads: rolling origins with an embargo, beside calibrated persistence and other simple rivals on the same rows.

Panels: `adwords` (keyword-days of one shop, one year: click-through rate falls by a fifth, clicks fall by three tenths, against the usual
28 days) and `online`, `online_engagement` (campaign x banner x placement, and with user engagement in the unit, 10 weeks of one advertiser:
conversions or revenue per cost fall by a fifth against the usual 14 days). Horizon 7 days. Every model is `AccountHealthPredictor` or made
of its parts. At each fold it is fitted on units whose labels ended before the fold began, and answers the days of the fold; the band learns
from outcomes as they become known, a horizon late. With `--test-data`, what is fitted comes from `--data` and what is judged from the other
folder; a test unit's features use its own history (and what `--data` knows of the same unit before the test folder's first day)."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, own_cpu, show, write_json

from within_pipelines.exceptions import SampleError
from within_pipelines.features import account_features, account_labels
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.inputs import daily_facts
from within_pipelines.prediction.account_health.model import fit_logistic, fit_trees, open_trees, tree_log_odds
from within_pipelines.prediction.account_health.stability import leading_overlap
from within_pipelines.prediction.calibration import calibration_slope, sigmoid
from within_pipelines.prediction.frames import matrix
from within_pipelines.prediction.metrics import auroc, brier_skill, debiased_ece, spearman
from within_pipelines.stats import Estimate, two_way_rows
from within_pipelines.stats.bootstrap import _interval

HORIZON = 7
# About one click a day. Below that, a week's ratio is noise; at this volume calibrated persistence is about as good as it is known to be.
MINIMUM_CLICKS = 30.0
ENTITY = ("platform", "account_id", "campaign_id")
MONTHS = {name: number for number, name in enumerate(calendar.month_name) if name}
RESAMPLES = 200
# A week with fewer rows says too little about coverage.
LEAST_IN_WEEK = 30


@dataclass(frozen=True)
class Panel:
    """One data set at one grain: how often an origin is taken, how long a fold is, how many days of origins come before the first."""

    name: str
    read: Callable[[Path], pl.DataFrame]
    targets: tuple[tuple[str, str, float], ...]  # key, target, drop
    usual_days: int
    step: int
    fold: int
    warm_up: int


@dataclass
class Answers:
    """Rows that were judged, and what each model said about them."""

    y: list[np.ndarray] = field(default_factory=list)
    unit: list[np.ndarray] = field(default_factory=list)
    day: list[np.ndarray] = field(default_factory=list)
    fold: list[np.ndarray] = field(default_factory=list)
    ratio: list[np.ndarray] = field(default_factory=list)
    said: dict[str, list[np.ndarray]] = field(default_factory=dict)
    covered: dict[str, list[np.ndarray]] = field(default_factory=dict)
    width: dict[str, list[np.ndarray]] = field(default_factory=dict)
    centre: dict[str, list[np.ndarray]] = field(default_factory=dict)
    overlap: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    outside: list[np.ndarray] = field(default_factory=list)


def adwords(folder: Path) -> pl.DataFrame:
    """One shop as an account, its keywords as campaigns."""
    path = next((p for p in (folder / "adwords_daily.csv.gz", folder / "adwords_daily.csv") if p.is_file()), None)
    if path is None:
        return pl.DataFrame()
    frame = pl.read_csv(path, schema_overrides={"id": pl.String})
    frame = frame.group_by("id", "date").agg(pl.col("impressions").sum(), pl.col("clicks").sum())
    return daily_facts(
        frame.select("date", "impressions", "clicks", platform=pl.lit("google_ads"), account_id=pl.lit("shop"), campaign_id="id")
    )


def online(folder: Path, *, engagement: bool) -> pl.DataFrame:
    """Each campaign as an account (they convert too differently to be pooled), banner x placement (x engagement) as its campaigns."""
    path = folder / "online_advertising.csv"
    if not path.is_file():
        return pl.DataFrame()
    frame = pl.read_csv(path)
    key = ["campaign_number", "banner", "placement"] + (["user_engagement"] if engagement else [])
    frame = frame.with_columns(pl.col(key).fill_null(""))
    # The file names no year; any one without 29 February will do.
    day = pl.date(2017, pl.col("month").replace_strict(MONTHS, return_dtype=pl.Int32), pl.col("day"))
    frame = frame.with_columns(date=day).group_by(*key, "date").agg(
        impressions=pl.col("displays").sum(), clicks=pl.col("clicks").sum(), spend=pl.col("cost").sum(),
        conversions=pl.col("post_click_conversions").sum().cast(pl.Float64), revenue=pl.col("post_click_sales_amount").sum(),
    )  # fmt: skip
    unit = pl.concat_str(key, separator=" | ")
    return daily_facts(frame.with_columns(platform=pl.lit("display"), account_id="campaign_number", campaign_id=unit))


_DAILY = (("ctr", "ctr", 0.2), ("clicks", "clicks", 0.3))
_SALES = (("cpa", "conversions_per_cost", 0.2), ("roas", "revenue_per_cost", 0.2))
PANELS = (
    Panel("adwords", adwords, _DAILY, usual_days=28, step=3, fold=28, warm_up=126),
    Panel("online", lambda f: online(f, engagement=False), _SALES, usual_days=14, step=1, fold=7, warm_up=21),
    Panel("online_engagement", lambda f: online(f, engagement=True), _SALES, usual_days=14, step=1, fold=7, warm_up=21),
)


def labelled(facts: pl.DataFrame, panel: Panel, target: str, drop: float, *, first: date | None = None) -> pl.DataFrame:
    """Features and labels of every `step`-th origin (from `first` on), rows of enough volume with a known label."""
    begin, end = facts["event_date"].min(), facts["event_date"].max()
    assert isinstance(begin, date)
    assert isinstance(end, date)
    earliest = max(begin + timedelta(days=panel.usual_days), first or begin)
    span = (end - timedelta(days=HORIZON) - earliest).days
    origins = [end - timedelta(days=HORIZON + back) for back in range(0, span + 1, panel.step)][::-1]
    if not origins:
        return pl.DataFrame()
    known = {"origins": origins, "entity": ENTITY, "target": target, "usual_days": panel.usual_days}
    features = account_features(facts, **known)
    labels = account_labels(facts, **known, horizon=HORIZON, drop=drop, as_of=datetime(2100, 1, 1, tzinfo=UTC))
    joined = features.join(labels, on=[*ENTITY, "origin"], how="inner", suffix="_label")
    return joined.filter(pl.col("mature") & pl.col("degraded").is_not_null() & (pl.col("clicks_28") >= MINIMUM_CLICKS))


def with_history(test: pl.DataFrame, data: pl.DataFrame) -> pl.DataFrame:
    """Test facts with what `data` knows of the same units from before the test folder's first day."""
    begin = test["event_date"].min()
    units = test.select(ENTITY).unique()
    earlier = data.filter(pl.col("event_date") < begin).join(units, on=list(ENTITY), how="semi")
    return pl.concat([earlier, test])


def folds_of(data: pl.DataFrame, test: pl.DataFrame, panel: Panel) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """(rows to fit on, rows to judge) per fold; a horizon's embargo lies between them in time."""
    start = data["origin"].min() + timedelta(days=panel.warm_up)
    last = test["origin"].max()
    found = []
    while start <= last:
        end = start + timedelta(days=panel.fold)
        older = data.filter(pl.col("origin") < start - timedelta(days=HORIZON))
        block = test.filter((pl.col("origin") >= start) & (pl.col("origin") < end))
        if older.height and block.height:
            found.append((older, block))
        start = end
    # A test folder from before the first fold can only be judged on its other units.
    return found or [(data, test)]


def rivals(older: pl.DataFrame, block: pl.DataFrame, features: list[str], *, seed: int) -> dict[str, np.ndarray]:
    """Simple models on the same rows, as probabilities: the rate so far, a stiff logistic regression on every feature, boosted trees."""
    y = older["degraded"].cast(pl.Float64).to_numpy()
    x, z = matrix(older, features), matrix(block, features)
    booster = open_trees(fit_trees(x, y, seed=seed, threads=1))
    return {
        "rate so far": np.full(len(z), y.mean()),
        "logistic, all features": sigmoid(fit_logistic(x, y, ridge=30.0)(z)),
        "xgboost": sigmoid(tree_log_odds(booster, z)),
    }


def run(panel: Panel, data: pl.DataFrame, test: pl.DataFrame | None, target: str, drop: float, seed: int) -> Answers:
    """Fit and judge every fold."""
    rows = labelled(data, panel, target, drop)
    if test is None:
        judged = rows
    else:
        judged = labelled(with_history(test, data), panel, target, drop, first=test["event_date"].min() - timedelta(days=1))
    answers = Answers()
    if rows.is_empty() or judged.is_empty():
        return answers
    # Outcomes that the band may learn from: those of the fitted units, and of the judged ones where the others have ended.
    newest = rows["origin"].max()
    outcomes = rows if test is None else pl.concat([rows, judged.filter(pl.col("origin") > newest).select(rows.columns)])
    settings = {"horizon": HORIZON, "drop": drop, "usual_days": panel.usual_days, "minimum_clicks": MINIMUM_CLICKS}
    previous: AccountHealthPredictor | None = None
    for number, (older, block) in enumerate(folds_of(rows, judged, panel)):
        try:
            models = {
                kind: AccountHealthPredictor(kind=kind, **settings).fit(older, seed=seed) for kind in ("logistic_xgboost", "persistence")
            }
        except SampleError as error:
            print(f"{panel.name} {target}: fold {number} is left out: {error}")
            continue
        block = block.sort("origin", *ENTITY)
        own = models["logistic_xgboost"]
        answers.y.append(block["degraded"].cast(pl.Float64).to_numpy())
        answers.unit.append(block["campaign_id"].to_numpy())
        answers.day.append(block["origin"].to_physical().to_numpy().astype(np.int64))
        answers.fold.append(np.full(block.height, number))
        answers.ratio.append(block["log_ratio"].to_numpy())
        answers.share.append(own.share)
        beyond = own.out_of_support(block)
        assert beyond is not None
        answers.outside.append(beyond)
        for kind, model in models.items():
            answers.said.setdefault(kind, []).append(model.probability(block))
            low, high = bands(model, block, outcomes)
            actual = block["log_ratio"].to_numpy()
            inside = ((actual >= low) & (actual <= high)).astype(float)
            answers.covered.setdefault(kind, []).append(np.where(np.isfinite(low), inside, np.nan))  # a fold too short for a band has none
            answers.width.setdefault(kind, []).append(high - low)
            answers.centre.setdefault(kind, []).append((low + high) / 2)
        for name, said in rivals(older, block, own.features, seed=seed).items():
            answers.said.setdefault(name, []).append(said)
        if previous is not None:
            x = matrix(block, own.features)
            both = (previous.published_groups, own.published_groups)
            answers.overlap.append(leading_overlap(previous.contributions(x), own.contributions(x), own.features, published=both))
        previous = own
    return answers


def bands(model: AccountHealthPredictor, block: pl.DataFrame, outcomes: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The band of each row, origin by origin; before each, the model learns the outcomes whose last day had passed by then."""
    low, high = [], []
    for (origin,), rows in block.group_by("origin", maintain_order=True):
        learned = model.learned_until or date.min
        model.update(outcomes.filter((pl.col("origin") <= origin - timedelta(days=HORIZON)) & (pl.col("origin") > learned)))
        band = model.band(rows)
        empty = np.full(rows.height, np.nan)
        low.append(empty if band is None else band[0])
        high.append(empty if band is None else band[1])
    return np.concatenate(low), np.concatenate(high)


def mean_known(values: np.ndarray) -> float:
    """Mean of what is known; NaN when nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def within_fold(y: np.ndarray, said: np.ndarray, fold: np.ndarray) -> float:
    """Mean AUROC of the folds, weighted by rows; folds with one outcome are left out."""
    parts = [(auroc(y[fold == f], said[fold == f]), int((fold == f).sum())) for f in np.unique(fold)]
    kept = [(value, n) for value, n in parts if np.isfinite(value)]
    return float(np.average([v for v, _ in kept], weights=[n for _, n in kept])) if kept else float("nan")


def lift(y: np.ndarray, said: np.ndarray) -> float:
    """Rate of drops among the riskiest tenth over the rate among all."""
    worst = np.argsort(-said, kind="stable")[: max(1, round(0.1 * y.size))]
    return float(y[worst].mean() / y.mean()) if y.any() else float("nan")


def expected_calibration_error(y: np.ndarray, said: np.ndarray) -> float:
    """Mean absolute gap between predicted and observed rate over ten equally filled bins."""
    order = np.argsort(said, kind="stable")
    return float(sum(abs(said[part].mean() - y[part].mean()) * len(part) for part in np.array_split(order, 10)) / len(y))


def judge(answers: Answers, rng: np.random.Generator) -> tuple[dict[str, Estimate], list[str]]:
    """Every metric of every model with its two-way interval (units x weeks), and notes."""
    y, unit, day, fold, ratio = (np.concatenate(part) for part in (answers.y, answers.unit, answers.day, answers.fold, answers.ratio))
    week = day // 7
    said = {name: np.concatenate(parts) for name, parts in answers.said.items()}
    covered = {name: np.concatenate(parts) for name, parts in answers.covered.items()}
    centre = {name: np.concatenate(parts) for name, parts in answers.centre.items()}
    statistics: dict[str, Callable[[np.ndarray], float]] = {}
    for name, p in said.items():
        statistics |= {
            f"{name}:auroc": lambda i, p=p: auroc(y[i], p[i]),
            f"{name}:within_fold_auroc": lambda i, p=p: within_fold(y[i], p[i], fold[i]),
            f"{name}:brier_skill": lambda i, p=p: brier_skill(y[i], p[i]),
            f"{name}:ece": lambda i, p=p: expected_calibration_error(y[i], p[i]),
            f"{name}:lift_10": lambda i, p=p: lift(y[i], p[i]),
        }
    for name in covered:
        c, m, p = covered[name], centre[name], said[name]
        statistics |= {
            f"{name}:coverage_90": lambda i, c=c: mean_known(c[i]),
            f"{name}:spearman": lambda i, m=m: spearman(m[i], ratio[i]) if np.isfinite(m).all() else float("nan"),
            f"{name}:debiased_ece": lambda i, p=p: debiased_ece(y[i], p[i]),
            f"{name}:calibration_slope": lambda i, p=p: calibration_slope(y[i], p[i]),
        }
    a, b = said["logistic_xgboost"], said["persistence"]
    statistics |= {
        "difference:auroc": lambda i: auroc(y[i], a[i]) - auroc(y[i], b[i]),
        "difference:within_fold_auroc": lambda i: within_fold(y[i], a[i], fold[i]) - within_fold(y[i], b[i], fold[i]),
        "difference:brier_skill": lambda i: brier_skill(y[i], a[i]) - brier_skill(y[i], b[i]),
    }
    found = intervals(statistics, unit, week, rng)
    notes = []
    for name, c in covered.items():
        weeks = [float(c[week == w].mean()) for w in np.unique(week) if np.isfinite(c[week == w]).sum() >= LEAST_IN_WEEK]
        weeks = [share for share in weeks if np.isfinite(share)]
        if weeks:
            found[f"{name}:worst_week_coverage"] = Estimate(min(weeks), min(weeks), min(weeks), n=len(weeks), level=0.95)
        width = mean_known(np.concatenate(answers.width[name]))
        found[f"{name}:band_width"] = Estimate(width, width, width, n=y.size, level=0.95)
    if answers.overlap:
        value = float(np.mean(answers.overlap))
        found["logistic_xgboost:overlap"] = Estimate(value, min(answers.overlap), max(answers.overlap), n=len(answers.overlap), level=0.95)
    beyond = np.concatenate(answers.outside).astype(float)
    rate = float(beyond.mean())
    found["logistic_xgboost:out_of_support"] = Estimate(rate, rate, rate, n=y.size, level=0.95)
    notes.append(
        f"{y.size} rows, {len(np.unique(unit))} units, {len(np.unique(week))} weeks, {len(np.unique(fold))} folds, "
        f"rate of drops {y.mean():.3f}, share of the richer parts by fold {[round(s, 2) for s in answers.share]}, "
        f"out of the training support {rate:.1%} of rows"
    )
    return found, notes


def intervals(
    statistics: dict[str, Callable[[np.ndarray], float]], unit: np.ndarray, week: np.ndarray, rng: np.random.Generator
) -> dict[str, Estimate]:
    """All statistics on the same two-way resamples; without two units and weeks, values alone."""
    everything = np.arange(len(unit))
    values = {name: float(statistic(everything)) for name, statistic in statistics.items()}
    n = min(len(np.unique(unit)), len(np.unique(week)))
    if n < 2:
        return {name: Estimate(value, value, value, n=n, level=0.95) for name, value in values.items()}
    draws: dict[str, list[float]] = {name: [] for name in statistics}
    for rows in two_way_rows(unit, week, rng=rng, n_resamples=RESAMPLES):
        for name, statistic in statistics.items():
            draws[name].append(statistic(rows))
    result = {}
    for name, value in values.items():
        defined = np.array([draw for draw in draws[name] if np.isfinite(draw)])
        result[name] = _interval(value, defined, n, 0.95) if defined.size > 20 else Estimate(value, value, value, n=n, level=0.95)
    return result


def main() -> None:
    """Judge every panel and target, print tables, write the flat metrics."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    metrics: dict[str, float] = {}
    columns = ["auroc", "within_fold_auroc", "brier_skill", "ece", "lift_10", "spearman", "coverage_90", "worst_week_coverage"]
    for panel in PANELS:
        data = panel.read(options.data)
        test = None if options.test_data is None else panel.read(options.test_data)
        if data.is_empty() or (test is not None and test.is_empty()):
            print(f"{panel.name}: no file in {options.data if data.is_empty() else options.test_data}; left out")
            continue
        for number, (key, target, drop) in enumerate(panel.targets):
            began = own_cpu()
            answers = run(panel, data, test, target, drop, options.seed)
            if not answers.y:
                print(f"{panel.name} {key}: no fold could be judged; left out")
                continue
            found, notes = judge(answers, np.random.default_rng([options.seed, number]))
            spent = own_cpu() - began
            table = [
                [name, *(_shown(found.get(f"{name}:{column}")) for column in columns)]
                for name in ("logistic_xgboost", "persistence", "logistic, all features", "xgboost", "rate so far")
            ]
            table.append(["difference to persistence", *(_shown(found.get(f"difference:{column}")) for column in columns)])
            show(f"{panel.name} {key}: a drop of {drop:.0%} in 7 days against the usual {panel.usual_days}", ["model", *columns], table)
            print(f"{notes[0]}; overlap of leading groups {_shown(found.get('logistic_xgboost:overlap'))}; {spent:.0f} CPU s\n")
            prefix = f"{panel.name}_{key}_"
            for name, estimate in found.items():
                model, metric = name.split(":")
                start = {"logistic_xgboost": "", "persistence": "persistence_", "difference": "difference_"}.get(model)
                if start is None:
                    continue
                metrics |= {
                    f"{start}{prefix}{metric}": estimate.value,
                    f"{start}{prefix}{metric}_low": estimate.low,
                    f"{start}{prefix}{metric}_high": estimate.high,
                }
            metrics |= {f"{prefix}rows": float(sum(part.size for part in answers.y)), f"{prefix}cpu_seconds": spent}
    metrics["cpu_seconds"] = own_cpu()
    print(f"{own_cpu():.0f} CPU seconds in all")
    write_json(options.json, {name: value for name, value in metrics.items() if np.isfinite(value)})


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.low == estimate.high:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


if __name__ == "__main__":
    main()
