"""Evaluations and verdicts as flat tables, and any frame as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.reporting.text import markdown_escaped, number_text

if TYPE_CHECKING:
    from within_pipelines.prediction import Evaluation
    from within_pipelines.stats import Verdict
    from within_pipelines.validation import ShadowComparison

_EVALUATION: dict[str, type[pl.DataType]] = {
    "metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "n": pl.Int64,
    "baseline": pl.Float64, "baseline_low": pl.Float64, "baseline_high": pl.Float64,
}  # fmt: skip
_VERDICT: dict[str, type[pl.DataType]] = {
    "gate": pl.String, "status": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "threshold": pl.Float64, "units": pl.Int64, "reason": pl.String,
}  # fmt: skip


def evaluation_table(evaluation: Evaluation) -> pl.DataFrame:
    """One row per metric, the main one first: value, interval and units beside the baseline's value and interval.

    The baseline columns are null for a metric that the baseline was not measured on."""
    names = [evaluation.main_metric, *(name for name in evaluation.metrics if name != evaluation.main_metric)]
    rows = []
    for name in names:
        own, rival = evaluation.metrics[name], evaluation.baseline_metrics.get(name)
        beside = (None, None, None) if rival is None else (rival.value, rival.low, rival.high)
        rows.append((name, own.value, own.low, own.high, own.n, *beside))
    return pl.DataFrame(rows, schema=_EVALUATION, orient="row")


def verdict_table(verdicts: Sequence[Verdict]) -> pl.DataFrame:
    """One row per verdict, in the given order; `units` is the smallest of its sample sizes."""
    rows = [
        (
            verdict.gate,
            verdict.status.value,
            *((None, None, None) if (found := verdict.estimate) is None else (found.value, found.low, found.high)),
            verdict.threshold,
            min(verdict.sample_sizes.values(), default=None),
            verdict.reason,
        )
        for verdict in verdicts
    ]
    return pl.DataFrame(rows, schema=_VERDICT, orient="row")


def shadow_table(model: str, comparison: ShadowComparison) -> pl.DataFrame:
    """One row per number of a shadow's comparison with the champion, as text."""
    rows = [
        ("answered by both", number_text(comparison.pairs)),
        ("shadow failed", number_text(comparison.shadow_errors)),
        ("never answered by the shadow", number_text(comparison.missing)),
        ("mean absolute difference", number_text(comparison.mean_absolute_difference)),
        ("largest difference", number_text(comparison.largest_difference)),
        ("rank correlation", "" if comparison.rank_correlation is None else str(comparison.rank_correlation)),
        ("champion's milliseconds, median", number_text(comparison.champion_ms[0])),
        ("champion's milliseconds, 99 %", number_text(comparison.champion_ms[1])),
        ("shadow's milliseconds, median", number_text(comparison.shadow_ms[0])),
        ("shadow's milliseconds, 99 %", number_text(comparison.shadow_ms[1])),
        ("with outcome", number_text(comparison.with_outcome)),
        ("champion's squared error less the shadow's", "" if comparison.brier_gain is None else str(comparison.brier_gain)),
        ("champion's calibration (mean prediction less mean outcome)", number_text(comparison.champion_calibration)),
        ("shadow's calibration", number_text(comparison.shadow_calibration)),
    ]
    return pl.DataFrame([(model, *row) for row in rows], schema=["model", "what", "value"], orient="row")


def frame_markdown(frame: pl.DataFrame, *, limit: int | None = None) -> str:
    """A frame as a Markdown table, numbers with four significant digits, all text escaped.

    `limit` shows only the first rows and says how many were left out.

    >>> print(frame_markdown(pl.DataFrame({"metric": ["auroc"], "value": [0.71234]})))
    | metric | value |
    |---|---|
    | auroc | 0.7123 |
    """
    shown = frame if limit is None else frame.head(limit)
    header = "| " + " | ".join(markdown_escaped(name) for name in frame.columns) + " |"
    lines = [header, "|" + "---|" * frame.width]
    lines += ["| " + " | ".join(markdown_escaped(number_text(value)) for value in row) + " |" for row in shown.iter_rows()]
    if shown.height < frame.height:
        lines += ["", f"and {frame.height - shown.height:,} more rows"]
    return "\n".join(lines)
