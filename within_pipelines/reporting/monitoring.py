"""What monitoring found, as tables and as plots over days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from within_pipelines.monitoring import DriftState, MonitorFinding
from within_pipelines.reporting.plots import _BLUE, _GREY, _RED, _figure, _floats, _plain, _png

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLOURS: Mapping[str, str] = {
    DriftState.DRIFTED.value: _RED,
    DriftState.STABLE.value: _BLUE,
    DriftState.INSUFFICIENT.value: _GREY,
    DriftState.MEASUREMENT_CHANGE.value: "#d9a400",
}


def findings_table(findings: Sequence[MonitorFinding]) -> pl.DataFrame:
    """A row per finding: what drifted first."""
    order = list(DriftState)
    rows: list[dict[str, Any]] = [
        {
            "model": f.model, "monitor": f.monitor, "day": f.day, "state": f.state.value, "statistic": f.statistic, "p_value": f.p_value,
            "effect": f.effect, "threshold": f.threshold, "features": ", ".join(f.features[:5]), "loss_change": f.loss_change,
            "money_at_risk": ", ".join(f"{amount:,.0f} {currency}" for currency, amount in sorted(f.money_at_risk.items())),
            "reason": f.reason,
        }
        for f in sorted(findings, key=lambda f: (order.index(f.state), f.model, f.monitor))
    ]  # fmt: skip
    numbers = ("statistic", "p_value", "effect", "threshold", "loss_change")
    text = ("model", "monitor", "state", "features", "money_at_risk", "reason")
    schema: dict[str, Any] = {"model": pl.String, "monitor": pl.String, "day": pl.Date, "state": pl.String}
    schema |= dict.fromkeys(numbers, pl.Float64) | dict.fromkeys(text, pl.String)
    names = list(rows[0]) if rows else list(schema)
    return pl.DataFrame(rows, schema={name: schema[name] for name in names})


def monitor_plot(history: pl.DataFrame, monitor: str) -> bytes:
    """The effect of one monitor over days, a line per model, each day coloured by its state; the dashed line is the effect that matters."""
    figure, axes = _figure()
    rows = history.filter((pl.col("monitor") == monitor) & pl.col("effect").is_not_null()).sort("day")
    for (model,), part in sorted(rows.partition_by("model", as_dict=True).items(), key=lambda entry: str(entry[0])):
        at = part["day"].cast(pl.Datetime("us")).to_numpy()
        line = axes.plot(at, part["effect"].to_numpy(), linewidth=1, label=_plain(str(model)))[0]
        colours = [_COLOURS[state] for state in part["state"]]
        axes.scatter(at, part["effect"].to_numpy(), c=colours, s=25, zorder=3, edgecolors=line.get_color())
    thresholds = rows["threshold"].drop_nulls().unique().sort().to_list()
    for threshold in thresholds[:3]:
        axes.axhline(threshold, color=_GREY, linewidth=1, linestyle="--")
    axes.set_title(_plain(monitor.replace("_", " ")), parse_math=False)
    axes.set_ylabel("effect")
    if rows.height:
        axes.legend(loc="best", fontsize=8, frameon=False)
    figure.autofmt_xdate(rotation=30)
    return _png(figure)


_QUANTILES = ("p10", "p50", "p90")
_FEATURES_DRAWN = 6


def feature_history(findings: Sequence[MonitorFinding]) -> pl.DataFrame:
    """A row per day and feature from the `data_drift` findings of one model: where its values lay, and how far that is from training.

    Columns: `day`, `feature`, `kind`, `state`, `effect`, `missing`, `p10`, `p50`, `p90` of the day's window, and with the ending
    `_reference` those of training. Days that were monitored before distributions were kept have no rows."""
    numbers = ("effect", "missing", *_QUANTILES, "missing_reference", *(f"{name}_reference" for name in _QUANTILES))
    schema: dict[str, Any] = {"day": pl.Date} | dict.fromkeys(("feature", "kind", "state"), pl.String) | dict.fromkeys(numbers, pl.Float64)
    rows = [
        {name: found.day if name == "day" else row.get(name) for name in schema}
        for found in sorted(findings, key=lambda f: f.day)
        for row in found.evidence.get("distributions", ())
    ]
    return pl.DataFrame(rows, schema=schema)


def feature_days(history: pl.DataFrame, *, last: int = 14) -> pl.DataFrame:
    """`feature_history` as a table of features by days, those that moved farthest first: each cell is the median with p10 and p90 (of a
    category its effect), and `*` where it drifted; `training` is the newest reference."""
    days = history["day"].unique().sort().to_list()[-last:]
    shown = history.filter(pl.col("day").is_in(days))
    by_feature = shown.partition_by("feature", as_dict=True)
    rows = []
    for feature in _farthest(shown):
        part = by_feature[(feature,)].to_dicts()
        cells = {row["day"].isoformat(): _cell(row, "") for row in part}
        rows.append({"feature": feature, "training": _cell(part[-1], "_reference"), **cells})
    return pl.DataFrame(rows, schema=dict.fromkeys(("feature", "training", *(d.isoformat() for d in days)), pl.String))


def _farthest(history: pl.DataFrame) -> list[str]:
    """Features by their largest effect, largest first; one that is gone or broken has no effect and comes before all."""
    broken = (pl.col("state") == DriftState.DRIFTED.value) & pl.col("effect").is_null()
    effect = pl.when(broken).then(float("inf")).otherwise(pl.col("effect").fill_null(0.0)).max()
    ranked = history.group_by("feature").agg(effect.alias("effect")).sort(["effect", "feature"], descending=[True, False])
    return ranked["feature"].to_list()


def _cell(row: Mapping[str, Any], end: str) -> str:
    low, middle, high = (row[f"{name}{end}"] for name in _QUANTILES)
    mark = " *" if row["state"] == DriftState.DRIFTED.value and not end else ""
    if middle is not None:
        return f"{middle:.3g} [{low:.3g}, {high:.3g}]{mark}"
    if row["effect"] is None or end:
        return "" if end else f"no value{mark}"
    return f"effect {row['effect']:.2f}{mark}"


def feature_plot(history: pl.DataFrame, *, title: str = "") -> bytes:
    """The numeric features that moved farthest over days: median and p10 to p90 of each day's window, days coloured by their state; dashed
    lines are the same three of training."""
    numeric = history.filter(pl.col("p50").is_not_null())
    names = _farthest(numeric)[:_FEATURES_DRAWN]
    figure, _ = _figure(axes=False)
    figure.suptitle(_plain(title), fontsize=10, parse_math=False)
    if not names:
        return _png(figure)
    across = 1 if len(names) == 1 else 2
    grid = figure.subplots(-(-len(names) // across), across, squeeze=False, sharex=True).flatten()
    for axes, name in zip(grid, names, strict=False):
        part = numeric.filter(pl.col("feature") == name).sort("day")
        at = part["day"].cast(pl.Datetime("us")).to_numpy()
        axes.fill_between(at, _floats(part, "p10"), _floats(part, "p90"), color=_BLUE, alpha=0.15, linewidth=0)
        axes.plot(at, _floats(part, "p50"), color=_BLUE, linewidth=1)
        axes.scatter(at, _floats(part, "p50"), c=[_COLOURS[state] for state in part["state"]], s=12, zorder=3)
        for quantile in _QUANTILES:
            trained = part[f"{quantile}_reference"][-1]
            if trained is not None:
                axes.axhline(trained, color=_GREY, linewidth=0.8, linestyle="--" if quantile == "p50" else ":")
        axes.set_title(_plain(name), fontsize=8, parse_math=False)
        axes.tick_params(labelsize=6)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.autofmt_xdate(rotation=30)
    return _png(figure)


def performance_plot(table: pl.DataFrame, *, loss: str = "loss", title: str = "") -> bytes:
    """Estimated beside realised performance, a panel per measure and one for money (`performance_table`, or its rows as they are stored).

    The line is what is expected of all answers of a day, the points what came of those whose labels are known, both with their intervals;
    a forecast's error has a panel of its own, and so has money at risk a week, a line per currency (they are never summed)."""
    rows = table.with_columns(pl.col("day").cast(pl.String).str.to_date()).sort("day")
    at = rows["day"].cast(pl.Datetime("us")).to_numpy()
    measures = [(loss, "estimated", "realised")]
    if "error_estimated" in rows.columns:
        measures.append(("forecast's error", "error_estimated", "error_realised"))
    money = [name for name in rows.columns if name.startswith(("misjudged_", "misplanned_"))]
    figure, _ = _figure(axes=False)
    figure.suptitle(_plain(title), fontsize=10, parse_math=False)
    panels = figure.subplots(len(measures) + bool(money), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (label, estimated, realised) in zip(panels, measures, strict=False):
        axes.fill_between(at, _floats(rows, f"{estimated}_low"), _floats(rows, f"{estimated}_high"), color=_BLUE, alpha=0.15, linewidth=0)
        axes.plot(at, _floats(rows, estimated), color=_BLUE, linewidth=1, label="estimated")
        came, low, high = (_floats(rows, f"{realised}{end}") for end in ("", "_low", "_high"))
        # Bootstrap ends can lie a rounding error on the wrong side of the mean.
        reach = np.nan_to_num(np.maximum(np.stack([came - low, high - came]), 0.0))
        axes.errorbar(at, came, yerr=reach, fmt="o", color=_RED, markersize=3, elinewidth=0.8, label="realised")
        axes.set_ylabel(_plain(label), fontsize=7, parse_math=False)
    for name in money:
        what, currency = name.split("_", 1)
        style = "-" if what == "misjudged" else "--"
        panels[-1].plot(at, _floats(rows, name), style, linewidth=1, label=_plain(f"{what} {currency}"))
    if money:
        panels[-1].set_ylabel("spend a week", fontsize=7)
    for axes in panels:
        axes.tick_params(labelsize=6)
        axes.legend(loc="best", fontsize=6, frameon=False)
    figure.autofmt_xdate(rotation=30)
    return _png(figure)
