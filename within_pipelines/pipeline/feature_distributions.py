"""How each feature lies on a monitored day, in a few numbers that are kept, so that a distribution can be followed over days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.monitoring import TableDrift

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}


def distributions(reference: pl.DataFrame, window: pl.DataFrame, found: TableDrift) -> list[dict[str, Any]]:
    """A row per feature: `p10`, `p50` and `p90` of the window and of the reference (None for categories and where no value is known), the
    shares that are missing, the effect, and its state. Numbers are kept to six digits, because a row is stored for every day."""
    rows = []
    for shift in found.features:
        row: dict[str, Any] = {
            "feature": shift.feature, "kind": shift.kind, "state": shift.state.value, "effect": _short(shift.effect),
            "missing": _short(shift.missing_current), "missing_reference": _short(shift.missing_reference),
        }  # fmt: skip
        for end, frame in (("", window), ("_reference", reference)):
            row |= {f"{name}{end}": value for name, value in _quantiles(frame, shift.feature).items()}
        rows.append(row)
    return rows


def _quantiles(frame: pl.DataFrame, feature: str) -> dict[str, float | None]:
    import polars as pl

    if feature not in frame.columns or not frame.schema[feature].is_numeric():
        return dict.fromkeys(QUANTILES)
    values = frame[feature].cast(pl.Float64)
    values = values.filter(values.is_finite().fill_null(False))
    return {name: _short(values.quantile(q, "linear")) for name, q in QUANTILES.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
