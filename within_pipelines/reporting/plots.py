"""Plots as PNG bytes: equal inputs give equal bytes, and no display is needed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from within_pipelines.prediction import Evaluation

_BLUE, _GREY, _RED = "#2a6fbb", "#8a8a8a", "#c0392b"
_FEATURES_SHOWN = 15
_SIGNS_SHOWN = 30


def evaluation_plots(evaluation: Evaluation) -> dict[str, bytes]:
    """`comparison` (each metric beside the baseline's, with intervals) and, where the evaluation holds the tables, `reliability` (predicted
    against observed), `tail_reliability` (how often a stated tail probability came) and `importance` (the strongest features)."""
    plots = {"comparison": _comparison(evaluation)}
    for name, draw in (("reliability", _reliability), ("tail_reliability", _tail_reliability), ("importance", _importance)):
        table = evaluation.tables.get(name)
        if table is not None and table.height:
            plots[name] = draw(evaluation, table)
    return plots


def series_plot(frame: pl.DataFrame, *, title: str = "") -> bytes:
    """A metric over time with what was expected; anomalies are marked.

    Columns: `timestamp`, `value`, and optionally `expected`, `low`, `high`, `is_anomaly`. Several series belong into several plots.

    Raises `SchemaError` when timestamp or value is missing."""
    missing = {"timestamp", "value"} - set(frame.columns)
    if missing:
        raise SchemaError(f"A series plot needs {' and '.join(sorted(missing))}; the frame has {', '.join(frame.columns)}.")
    rows = frame.sort("timestamp")
    figure, axes = _figure()
    at = rows["timestamp"].cast(pl.Datetime("us")).to_numpy()
    if {"low", "high"} <= set(rows.columns):
        axes.fill_between(at, _floats(rows, "low"), _floats(rows, "high"), color=_BLUE, alpha=0.15, linewidth=0, label="expected range")
    if "expected" in rows.columns:
        axes.plot(at, _floats(rows, "expected"), color=_BLUE, linewidth=1, label="expected")
    value = _floats(rows, "value")
    axes.plot(at, value, color="black", linewidth=1, label="observed")
    if "is_anomaly" in rows.columns:
        odd = rows["is_anomaly"].fill_null(False).to_numpy()
        axes.plot(at[odd], value[odd], "o", color=_RED, markersize=5, label="anomaly")
    axes.set_title(_plain(title), parse_math=False)
    axes.legend(loc="best", fontsize=8, frameon=False)
    figure.autofmt_xdate(rotation=30)
    return _png(figure)


def learning_curve(curve: Sequence[float] | Mapping[str, Any], *, title: str) -> bytes:
    """Training loss by epoch, or any curve with points `x` and `y` and their `x_label` and `y_label`."""
    if not isinstance(curve, Mapping):
        curve = {"x": range(1, len(curve) + 1), "y": curve, "x_label": "epoch", "y_label": "mean training loss"}
    figure, axes = _figure()
    axes.plot(curve["x"], curve["y"], "o-", color=_BLUE, linewidth=1, markersize=4)
    axes.set_xlabel(_plain(curve["x_label"]), parse_math=False)
    axes.set_ylabel(_plain(curve["y_label"]), parse_math=False)
    axes.set_title(_plain(title), fontsize=9, parse_math=False)
    return _png(figure)


def _comparison(evaluation: Evaluation) -> bytes:
    names = [evaluation.main_metric, *sorted(set(evaluation.metrics) - {evaluation.main_metric})]
    names = [name for name in names if name in evaluation.baseline_metrics] or names[:1]
    figure, _ = _figure(axes=False)
    # Metrics live on different scales, so each has an axis of its own.
    grid = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for axes, name in zip(grid, names, strict=True):
        pairs = [
            (evaluation.model_kind, evaluation.metrics[name], _BLUE),
            (evaluation.baseline, evaluation.baseline_metrics.get(name), _GREY),
        ]
        shown = [(label, estimate, colour) for label, estimate, colour in pairs if estimate is not None and np.isfinite(estimate.value)]
        for place, (_, estimate, colour) in enumerate(reversed(shown)):
            ends = [end for end in (estimate.low, estimate.high) if np.isfinite(end)]
            axes.plot(ends, [place] * len(ends), color=colour, linewidth=2)
            axes.plot([estimate.value], [place], "o", color=colour, markersize=5)
        axes.set_yticks(range(len(shown)), [_plain(label) for label, _, _ in reversed(shown)], fontsize=7, parse_math=False)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_title(_plain(name), fontsize=8, loc="left", pad=2, parse_math=False)
    figure.suptitle(f"{_plain(evaluation.model)} beside its baseline, {evaluation.first_day} to {evaluation.last_day}", fontsize=9)
    return _png(figure)


def _reliability(evaluation: Evaluation, table: pl.DataFrame) -> bytes:
    figure, axes = _figure()
    rows = table.sort("bin")
    predicted, observed, n = _floats(rows, "predicted"), _floats(rows, "observed"), _floats(rows, "n")
    ends = [float(min(np.nanmin(predicted), np.nanmin(observed))), float(max(np.nanmax(predicted), np.nanmax(observed)))]
    axes.plot(ends, ends, color=_GREY, linewidth=1, linestyle="--", label="perfect")
    axes.plot(predicted, observed, color=_BLUE, linewidth=1, label=_plain(evaluation.model_kind))
    axes.scatter(predicted, observed, s=10 + 60 * n / max(float(n.max()), 1.0), color=_BLUE)
    axes.set_xlabel("predicted")
    axes.set_ylabel("observed")
    axes.set_title(f"Reliability of {_plain(evaluation.model)} ({int(n.sum()):,} rows)", fontsize=9, parse_math=False)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return _png(figure)


def _tail_reliability(evaluation: Evaluation, table: pl.DataFrame) -> bytes:
    figure, axes = _figure()
    rows = table.sort("nominal")
    nominal, measured, low, high = (_floats(rows, name) for name in ("nominal", "measured", "low", "high"))
    # A share of 0 has no place on a logarithmic axis; it is drawn at half a point.
    floor = 0.5 / max(float(_floats(rows, "points").max()), 1.0)
    measured, low, high = (np.maximum(part, floor) for part in (measured, low, high))
    axes.plot(nominal, nominal, color=_GREY, linewidth=1, linestyle="--", label="perfect")
    axes.vlines(nominal, low, high, color=_BLUE, linewidth=2)
    axes.plot(nominal, measured, "o-", color=_BLUE, linewidth=1, markersize=4, label=_plain(evaluation.model_kind))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("stated tail probability p")
    axes.set_ylabel("share of held-out points at or below p")
    axes.set_title(f"Tails of {_plain(evaluation.model)} ({int(_floats(rows, 'points').max()):,} points)", fontsize=9, parse_math=False)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    return _png(figure)


def _importance(evaluation: Evaluation, table: pl.DataFrame) -> bytes:
    figure, axes = _figure()
    rows = table.sort("importance", "feature", descending=[True, False]).head(_FEATURES_SHOWN).reverse()
    places = list(range(rows.height))
    axes.barh(places, _floats(rows, "importance"), color=_BLUE)
    axes.set_yticks(places, [_plain(str(name)) for name in rows["feature"]], fontsize=7, parse_math=False)
    axes.set_xlabel("mean absolute contribution")
    axes.set_title(f"What {_plain(evaluation.model)} looks at", fontsize=9, parse_math=False)
    return _png(figure)


def _figure(*, axes: bool = True) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot() if axes else None


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the software's name the bytes do not depend on matplotlib's patch release.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def robustness_plot(faults: pl.DataFrame, *, limit: float, title: str = "") -> bytes:
    """Share of units that each fault moves unnoticed, with its interval, against the limit (`RobustnessReport.to_frame`)."""
    rows = faults.filter(pl.col("unhandled").is_not_null())
    figure, axes = _figure()
    at = np.arange(rows.height)[::-1]
    share, low, high = (_floats(rows, name) for name in ("unhandled", "low", "high"))
    colours = [
        _RED if status == "failed" else _BLUE if owed == "stable" else _GREY for status, owed in rows.select("status", "owed").iter_rows()
    ]
    axes.hlines(at, low, high, color=colours, linewidth=2)
    axes.scatter(share, at, color=colours, s=25, zorder=3)
    axes.axvline(limit, color=_RED, linestyle="--", linewidth=1)
    axes.set_yticks(at, [_plain(name) for name in rows["fault"].to_list()], fontsize=8, parse_math=False)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share of units moved unnoticed (grey: reported, not judged)")
    axes.set_title(_plain(title), parse_math=False)
    return _png(figure)


def certified_plot(curves: dict[str, tuple[Sequence[float], Sequence[float]]], *, title: str = "", unit: str = "radius") -> bytes:
    """Certified accuracy against radius: one falling line per model, `curves[name] = (radii, accuracies)`."""
    figure, axes = _figure()
    for name, (radii, accuracies) in curves.items():
        axes.step(radii, accuracies, where="post", label=_plain(name))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(unit)
    axes.set_ylabel("certified accuracy")
    axes.set_title(_plain(title), parse_math=False)
    axes.legend(loc="best", fontsize=8, frameon=False)
    return _png(figure)


def _floats(frame: pl.DataFrame, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _plain(text: str) -> str:
    """Text that the built-in font can draw, shortened to fit a label."""
    drawn = "".join(sign if sign.isprintable() and ord(sign) < 0x250 else "?" for sign in text)
    return drawn if len(drawn) <= _SIGNS_SHOWN else drawn[: _SIGNS_SHOWN - 3] + "..."
