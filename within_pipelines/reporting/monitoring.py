"""What monitoring found, as a table and as a plot over days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from within_pipelines.monitoring import DriftState, MonitorFinding
from within_pipelines.reporting.plots import _BLUE, _GREY, _RED, _figure, _plain, _png

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
