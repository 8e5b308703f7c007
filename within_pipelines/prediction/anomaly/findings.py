"""What a detector tells of judged points: a row of a table each, and of whatever is wrong a dict of plain values with its cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.prediction.anomaly.bank import SeriesKey
from within_pipelines.prediction.anomaly.cause import PARTS, Cause, Level, decompose
from within_pipelines.prediction.anomaly.feed_memory import Stopped
from within_pipelines.prediction.anomaly.feeds import FeedProblem
from within_pipelines.prediction.anomaly.series import KEY, MATURE, Bools, Floats, Ints, Observations

# The numbers of a judged point.
NUMBERS = ("expected", "low", "high", "z", "p_value", "severity")
# Money that one day's deviation moved; a ratio's deviation is no amount.
_AMOUNTS = ("spend", "revenue", "cost", "impressions", "clicks", "conversions")
_MONEY = ("spend", "revenue", "cost")
_TOTALS = ("spend", "impressions", "clicks", "conversions", "revenue")
# Share of a late total that must be known before it may count as a cause.
_KNOWN = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `AnomalyDetector.judge` says: stopped feeds, alarms, and what a calendar explains (each with its `reason`).

    `states` counts the rows of the table by `state` as `AnomalyDetector.score_series` has it, states that no row has left out. Without
    "scored" nothing was judged, and no alarm is no good news."""

    feeds: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    suppressed: tuple[dict[str, Any], ...]
    states: dict[str, int] = field(default_factory=dict)

    @property
    def suppressed_by_reason(self) -> dict[str, int]:
        """How many alarms each reason kept back."""
        return dict(sorted(Counter(str(finding["reason"]) for finding in self.suppressed).items()))


def scored_table(observed: Observations, numbers: dict[str, Floats], alarm: Bools, up: Bools) -> pl.DataFrame:
    """The table of `AnomalyDetector.score_series` from one number of each of `NUMBERS` per row, which are set to NaN where not judged."""
    judged = np.isfinite(numbers["p_value"])
    for name in ("low", "high"):
        numbers[name][np.isinf(numbers[name])] = np.nan
    for name in NUMBERS[1:]:  # what was expected stands also where nothing came
        numbers[name][~judged] = np.nan
    state = np.where(np.isnan(observed.value), "missing", np.where(observed.maturity < MATURE, "immature", "warming_up"))
    direction = np.where(judged, np.where(up, "up", "down"), "")
    table = observed.keys.select(*observed.ids, "metric").with_columns(
        timestamp=observed.original,
        value=pl.Series(observed.value),
        currency=pl.Series(observed.currency, dtype=pl.String),
        **{name: pl.Series(numbers[name]) for name in NUMBERS},
        score=pl.Series(-np.log10(numbers["p_value"])),
        direction=pl.Series(direction.tolist(), dtype=pl.String).replace("", None),
        alarm=pl.Series(alarm),
        state=pl.Series(np.where(judged, "scored", state).tolist(), dtype=pl.String),
    )
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def in_time(observed: Observations, which: Bools) -> Ints:
    """Rows of `which` in the order of time."""
    rows = np.nonzero(which)[0]
    ordered: Ints = rows[np.argsort(observed.time[rows], kind="stable")]
    return ordered


def alarm_findings(scored: pl.DataFrame, observed: Observations) -> tuple[dict[str, Any], ...]:
    """The alarms of a scored table with their causes, in the order of time."""
    rows = in_time(observed, scored["alarm"].to_numpy())
    if not len(rows):
        return ()
    around = _surroundings(scored, observed, rows)
    return tuple(
        _finding(row, observed.ids, around.get((*(row[name] for name in _place(observed)), row["timestamp"]), []))
        for row in scored[rows.tolist()].iter_rows(named=True)
    )


def stopped_finding(one: Stopped, key: SeriesKey, observed: Observations) -> dict[str, Any]:
    """A feed of the series `key` that stopped while a stream ran, or before a table. It names ids of the series that the table lacks."""
    ids = {name: part for name, part in zip(KEY, key, strict=True) if name in observed.ids or name == "metric" or part}
    return {"kind": one.kind, **ids, "timestamp": observed.as_given(one.time), "value": one.value, "points": one.points}


def feed_finding(problem: FeedProblem, scored: pl.DataFrame, observed: Observations) -> dict[str, Any]:
    """A feed that has stopped in the whole table."""
    row = scored.row(problem.row, named=True)
    return {"kind": problem.kind, **{name: row[name] for name in (*observed.ids, "metric", "timestamp", "value")}, "points": problem.points}


def _place(observed: Observations) -> list[str]:
    """The id columns that name an account rather than a part of it."""
    return [name for name in observed.ids if name != "campaign_id"]


def _surroundings(scored: pl.DataFrame, observed: Observations, rows: Ints) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """All totals at the account and time of each alarm."""
    place = [*_place(observed), "timestamp"]
    known = scored.with_columns(maturity=pl.Series(observed.maturity)).filter(pl.col("metric").is_in(_TOTALS))
    near = known.join(scored[rows.tolist()].select(place).unique(), on=place, how="semi", nulls_equal=True)
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in near.iter_rows(named=True):
        found.setdefault(tuple(row[name] for name in place), []).append(row)
    return found


def _finding(row: dict[str, Any], ids: Sequence[str], around: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = (*ids, "metric", "timestamp", "value", "expected", "low", "high", "score", "severity", "direction", "p_value")
    finding = {"kind": "anomaly", **{name: row[name] for name in names}}
    if row["metric"] in _AMOUNTS:
        finding["impact"] = abs(row["value"] - row["expected"])
    if row["currency"] is not None and row["metric"] in _MONEY:
        finding["currency"] = row["currency"]
    cause = _cause(row, around)
    if cause is not None:
        finding["cause"] = asdict(cause)
    return finding


def _cause(row: dict[str, Any], around: Sequence[dict[str, Any]]) -> Cause | None:
    """The cause of an alarm from the totals of the same unit, and of its campaigns where the unit is an account."""
    own = row.get("campaign_id") or ""
    totals: dict[str, Level] = {}
    segments: dict[str, dict[str, Level]] = {}
    for other in around:
        # A late total is brought to its final size; of one that is hardly known nothing can be said.
        if other["value"] is None or other["expected"] is None or other["maturity"] < _KNOWN:
            continue
        level = Level(other["value"] / min(other["maturity"], 1.0), other["expected"])
        name = other.get("campaign_id") or ""
        if name == own:
            totals[other["metric"]] = level
        elif not own:
            segments.setdefault(name, {})[other["metric"]] = level
    if row["metric"] not in PARTS or (len(PARTS[row["metric"]]) == 1 and not segments):
        return None
    return decompose(row["metric"], totals, segments)
