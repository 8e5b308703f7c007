"""Alerts over many accounts of the simulated agency: recall, precision and delay at low prevalence, beside rules per series."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl
from _common import arguments, own_cpu, show, write_json

from within_pipelines.monitoring.alert_budget import AlertBudget
from within_pipelines.prediction import AnomalyDetector
from within_pipelines.simulation import planted
from within_pipelines.simulation.account import found_account
from within_pipelines.simulation.draws import BLOCK_DAYS, blocks
from within_pipelines.simulation.figures import simulate
from within_pipelines.simulation.roster import roster
from within_pipelines.simulation.words import Copywriter
from within_pipelines.stats import benjamini_hochberg, wilson_interval

FIRST = date(2026, 1, 1)
TOTALS = ("impressions", "clicks", "spend", "conversions", "revenue")
EARLY = ("spend", "impressions", "clicks", "ctr", "cpc", "cpm")
# The detector is fitted on the days before FITTED, the budget learned on those up to PAST, and alerts are judged after it; rules that look
# back see BEFORE days more.
FITTED, PAST, BEFORE = 84, 154, 3
# An alarm so many days after an incident still reports it.
AFTERMATH = 3


@dataclass(frozen=True, slots=True)
class Incident:
    account: int
    first: int
    last: int
    kind: str


def panel(seed: int, accounts: int, days: int) -> np.ndarray:
    """Daily totals without incidents, (accounts, totals, days)."""
    writer = Copywriter(seed)
    found = np.zeros((accounts, len(TOTALS), days))
    for index in range(accounts):
        account = found_account(seed, index)
        ads = roster(account, writer, seed=seed, days=len(blocks(days)) * BLOCK_DAYS, drift_day=days * 10)
        figures = simulate(account, ads, seed=seed, days=days, first_weekday=FIRST.weekday(), drift_day=days * 10)
        for number, name in enumerate(TOTALS):
            found[index, number] = getattr(figures, name)[:days].sum(axis=1)
    return found


# (kind, rows of TOTALS, factor of each day; the last one lasts). A drop to 30 % is one that reaches it.
SHAPES = {
    "development": (
        ("delivery drop", (0, 1, 2, 3, 4), (0.3,)),
        ("delivery drop in two steps", (0, 1, 2, 3, 4), (0.55, 0.3)),
        ("click drop", (1, 2, 3, 4), (0.3,)),
        ("conversion drop", (3, 4), (0.3,)),
        ("delivery spike", (0, 1, 2, 3, 4), (3.0,)),
    ),
    "held-out": (
        ("delivery drop that fades", (0, 1, 2, 3, 4), (0.3, 0.3, 0.45, 0.6, 0.8)),
        ("click drop in two steps", (1, 2, 3, 4), (0.5, 0.3)),
        ("reach drop at the same spend", (0, 1, 3, 4), (0.3,)),
        ("conversion drop", (3, 4), (0.3,)),
        ("price rise", (2,), (2.5,)),
    ),
}


def plant(totals: np.ndarray, first_day: int, prevalence: float, rng: np.random.Generator, shapes: str = "development") -> list[Incident]:
    """Change `totals` in place: incidents of 2 to 6 days start with `prevalence` per account-day from `first_day` on."""
    accounts, _, days = totals.shape
    made = []
    for account, start in zip(*np.nonzero(rng.random((accounts, days - first_day)) < prevalence), strict=True):
        first = int(start) + first_day
        last = min(days - 1, first + int(rng.integers(1, 6)))
        kind, rows, steps = SHAPES[shapes][int(rng.integers(len(SHAPES[shapes])))]
        factor = np.array([steps[min(day, len(steps) - 1)] for day in range(last - first + 1)])
        for row in rows:
            totals[account, row, first : last + 1] *= factor
        made.append(Incident(int(account), first, last, kind))
    return made


def series(totals: np.ndarray) -> pl.DataFrame:
    """The long table of metric series, as `features.metric_series` gives it."""
    accounts, _, days = totals.shape
    wide = pl.DataFrame(
        {
            "account_id": np.repeat([f"{a:05d}" for a in range(accounts)], days),
            "timestamp": [FIRST + timedelta(days=d) for d in range(days)] * accounts,
            **{name: np.rint(totals[:, i]).ravel() for i, name in enumerate(TOTALS)},
        }
    )
    ratio = lambda above, below, scale=1.0: pl.when(pl.col(below) > 0).then(pl.col(above) / pl.col(below) * scale)
    wide = wide.with_columns(
        ctr=ratio("clicks", "impressions"), cpc=ratio("spend", "clicks"), cpm=ratio("spend", "impressions", 1000.0),
    ).with_columns(platform=pl.lit("simulated"))  # fmt: skip
    return wide.unpivot(on=list(EARLY), index=["platform", "account_id", "timestamp"], variable_name="metric").select(
        "platform", "account_id", "metric", "timestamp", "value"
    )


def surprises(detector: AnomalyDetector, table: pl.DataFrame, accounts: int, days: int) -> np.ndarray:
    """(accounts, metrics, days) of the metrics that are known on the next morning, as the daily step judges them."""
    scored = detector.score_series(table, limits=False)
    metrics = {name: i for i, name in enumerate(EARLY)}
    found = np.full((accounts, len(metrics), days), np.nan)
    day = scored.select((pl.col("timestamp") - FIRST).dt.total_days())
    account = scored["account_id"].cast(pl.Int64).to_numpy()
    metric = scored["metric"].replace_strict(metrics, return_dtype=pl.Int64).to_numpy()
    found[account, metric, day.to_series().to_numpy()] = scored["score"].fill_null(np.nan).to_numpy()
    return found


def judged(opened: np.ndarray, incidents: list[Incident], first: int) -> dict[str, float]:
    """Recall by kind, precision, false alerts a day and median delay of alerts that open from day `first` on."""
    accounts, days = opened.shape
    true = np.zeros((accounts, days), dtype=bool)
    found: dict[str, list[float]] = {}
    for incident in incidents:
        until = incident.last + AFTERMATH
        if incident.first < first or until >= days:
            true[incident.account, incident.first : until + 1] = True
            continue
        window = opened[incident.account, incident.first : until + 1]
        found.setdefault(incident.kind, []).append(float(np.argmax(window)) if window.any() else np.nan)
        true[incident.account, incident.first : until + 1] = True
    alerts = opened[:, first:]
    hits = int((alerts & true[:, first:]).sum())
    drops = np.concatenate([np.array(v) for k, v in found.items() if "drop" in k and k != "conversion drop"])
    precision = wilson_interval(hits, int(alerts.sum())) if alerts.sum() else None
    recall = wilson_interval(int(np.isfinite(drops).sum()), len(drops))
    return {
        "recall_drops": recall.value, "recall_drops_low": recall.low, "recall_drops_high": recall.high,
        "precision": precision.value if precision else float("nan"), "precision_low": precision.low if precision else float("nan"),
        "precision_high": precision.high if precision else float("nan"),
        "false_per_day": float((alerts & ~true[:, first:]).sum()) / (days - first),
        "delay_days": float(np.median(drops[np.isfinite(drops)])) if np.isfinite(drops).any() else float("nan"),
        **{f"recall_{kind.replace(' ', '_')}": float(np.isfinite(np.array(v)).mean()) for kind, v in found.items()},
    }  # fmt: skip


def events(flags: np.ndarray) -> np.ndarray:
    """First days of runs of flags."""
    before = np.zeros_like(flags)
    before[:, 1:] = flags[:, :-1]
    return flags & ~before


def alarms(chosen: argparse.Namespace, seed: int) -> tuple[dict[str, np.ndarray], list[Incident], float]:
    """One agency: on which days (accounts, days) each rule raises an alert, the incidents on the same axis, and the false alerts a day that
    the budget states. Each rule sees three days before the first that counts."""
    rng = np.random.default_rng(seed)
    totals = panel(seed, chosen.accounts, chosen.days)
    incidents = plant(totals, FITTED // 3, chosen.prevalence, rng, chosen.shapes)
    table = series(totals)
    started = own_cpu()
    detector = AnomalyDetector().fit(table.filter(pl.col("timestamp") < FIRST + timedelta(days=FITTED)))
    fitted = own_cpu()
    surprise = surprises(detector, table, chosen.accounts, chosen.days)
    scored = own_cpu()
    budget = AlertBudget.learn(surprise[:, :, FITTED:PAST])
    recent = surprise[:, :, PAST - BEFORE :]
    found = {"account budget": budget.replay(recent)}
    print(f"agency {seed}: fitted in {fitted - started:.0f}, scored in {scored - fitted:.0f}, budget in {own_cpu() - scored:.1f} CPU s")
    p = np.where(np.isfinite(recent), 10.0 ** -np.nan_to_num(recent), 1.0)
    discovered = [(benjamini_hochberg(p[:, :, d].ravel()) <= budget.alpha).reshape(p.shape[:2]).any(axis=1) for d in range(p.shape[2])]
    found["BH over series"] = events(np.stack(discovered, axis=1))
    found["each series' own alarm"] = events((p <= 0.19 / 30).any(axis=1))
    return found, incidents_from(incidents, PAST - BEFORE), budget.expected_false_per_week / 7


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--accounts", type=int, default=2000, help="of one agency")
    parser.add_argument("--agencies", type=int, default=1, help="of seeds that follow one another; each has a budget of its own")
    parser.add_argument("--days", type=int, default=224)
    parser.add_argument("--prevalence", type=float, default=0.001, help="incidents that begin per account-day")
    parser.add_argument("--shapes", choices=sorted(SHAPES), default="held-out")
    chosen = parser.parse_args()
    # The agency's own incidents are twenty times as frequent; they are left out and others planted.
    planted.INCIDENT_SHARE = 0.0
    every = [alarms(chosen, chosen.seed + agency) for agency in range(chosen.agencies)]
    incidents = [replace(i, account=i.account + a * chosen.accounts) for a, (_, agency, _) in enumerate(every) for i in agency]
    results = {name: judged(np.concatenate([found[name] for found, _, _ in every]), incidents, BEFORE) for name in every[0][0]}
    for result in results.values():
        result["false_per_day"] /= chosen.agencies
    stated = float(np.mean([stated for _, _, stated in every]))
    rows = [
        [
            name,
            f"{r['recall_drops']:.3f} [{r['recall_drops_low']:.3f}, {r['recall_drops_high']:.3f}]",
            f"{r['precision']:.3f} [{r['precision_low']:.3f}, {r['precision_high']:.3f}]",
            f"{r['false_per_day']:.2f}",
            f"{r['delay_days']:.0f}",
            f"{r.get('recall_conversion_drop', float('nan')):.2f}",
            f"{r.get('recall_price_rise', r.get('recall_delivery_spike', float('nan'))):.2f}",
        ]
        for name, r in results.items()
    ]
    columns = ["rule", "recall, drops to 30 %", "precision", "false a day", "median delay", "recall, conversions", "recall, rises"]
    days = chosen.days - PAST
    show(f"{chosen.agencies} x {chosen.accounts} accounts, {days} days, {chosen.prevalence:.2%} incidents per account-day", columns, rows)
    print(f"stated: {stated:.2f} false a day in one agency")
    metrics = {f"{name.replace(' ', '_').replace(chr(39), '')}_{key}": value for name, r in results.items() for key, value in r.items()}
    write_json(chosen.json, metrics | {"stated_false_per_day": stated})


def incidents_from(incidents: list[Incident], origin: int) -> list[Incident]:
    """Incidents on an axis that starts at day `origin`."""
    return [Incident(i.account, i.first - origin, i.last - origin, i.kind) for i in incidents if i.last >= origin]


if __name__ == "__main__":
    main()
