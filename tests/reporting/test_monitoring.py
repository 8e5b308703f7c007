"""What monitoring found over days: estimated beside realised, and where each feature lay, as tables and pictures."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.monitoring import DriftState, MonitorFinding, performance_table
from within_pipelines.reporting import feature_days, feature_history, feature_plot, performance_plot

PNG = b"\x89PNG\r\n\x1a\n"
DAY = date(2026, 6, 30)


def finding(back: int, *rows: dict[str, Any]) -> MonitorFinding:
    return MonitorFinding(
        "data_drift", "ad_score", DAY - timedelta(days=back), DriftState.STABLE, evidence={"distributions": list(rows)}
    )  # fmt: skip


def row(feature: str, effect: float | None, p50: float | None = None, state: str = "stable", kind: str = "number") -> dict[str, Any]:
    ends = {"p10": None, "p50": None, "p90": None} if p50 is None else {"p10": p50 - 1, "p50": p50, "p90": p50 + 1}
    trained = dict.fromkeys(("p10_reference", "p50_reference", "p90_reference")) if p50 is None else {
        "p10_reference": -1.0, "p50_reference": 0.0, "p90_reference": 1.0
    }  # fmt: skip
    return {"feature": feature, "kind": kind, "state": state, "effect": effect, "missing": 0.0, "missing_reference": 0.0, **ends, **trained}


PAST = [
    finding(1, row("ctr", 0.1, 0.25), row("format", 0.2, kind="category"), row("age", 0.02, 3.0), row("gone", 0.01, 1.0)),
    finding(
        0, row("ctr", 0.6, 2.5, "drifted"), row("format", 0.3, kind="category"), row("age", 0.02, 3.1), row("gone", None, None, "drifted")
    ),
    MonitorFinding("data_drift", "ad_score", DAY - timedelta(days=2), DriftState.INSUFFICIENT, reason="no ad started"),
]  # fmt: skip


def test_every_feature_has_a_row_and_every_day_a_column_what_moved_first() -> None:
    history = feature_history(PAST)
    assert history.height == 8
    assert history["day"].to_list() == [DAY - timedelta(days=1)] * 4 + [DAY] * 4
    table = feature_days(history)
    assert table.columns == ["feature", "training", "2026-06-29", "2026-06-30"]
    assert table["feature"].to_list() == ["gone", "ctr", "format", "age"]
    assert table["2026-06-30"].to_list() == ["no value *", "2.5 [1.5, 3.5] *", "effect 0.30", "3.1 [2.1, 4.1]"]
    assert table["2026-06-29"].to_list()[1] == "0.25 [-0.75, 1.25]"
    assert table["training"].to_list()[1] == "0 [-1, 1]"
    assert feature_days(history, last=1).columns == ["feature", "training", "2026-06-30"]
    assert feature_days(feature_history([PAST[2]])).height == 0


def test_features_that_moved_are_drawn_over_days() -> None:
    history = feature_history(PAST)
    drawn = feature_plot(history, title="ad_score")
    assert drawn.startswith(PNG)
    assert drawn == feature_plot(history, title="ad_score")
    moved = history.with_columns(p50=pl.when(pl.col("feature") == "ctr").then(pl.col("p50") + 5).otherwise("p50"))
    assert drawn != feature_plot(moved, title="ad_score")
    assert feature_plot(history.head(0)).startswith(PNG)


@pytest.mark.parametrize("forecasts", [True, False])
def test_estimated_and_realised_and_money_are_drawn(forecasts: bool) -> None:
    rng = np.random.default_rng(3)
    days = np.repeat([DAY - timedelta(days=k) for k in range(20)], 12)
    rows = pl.DataFrame(
        {
            "day": days.tolist(), "cluster": np.tile(np.arange(12), 20), "estimated": rng.uniform(0.1, 0.3, 240),
            "realised": rng.uniform(0, 1, 240),
        }
    ).with_columns(pl.when(pl.col("day") <= DAY - timedelta(days=7)).then("realised").alias("realised"))  # fmt: skip
    if forecasts:
        rows = rows.with_columns(error_estimated=pl.col("estimated"), error_realised=pl.col("realised") / 3)
    table = performance_table(rows, rng=rng, weekly_spend={"EUR": 100.0, "USD": 40.0})
    drawn = performance_plot(table, loss="brier", title="account_health")
    assert drawn.startswith(PNG)
    # As the rows are stored: days as text.
    assert performance_plot(table.with_columns(pl.col("day").cast(pl.String)), loss="brier", title="account_health") == drawn
    for name in ("estimated", "realised", "misjudged_USD", *(["error_realised", "misplanned_EUR"] if forecasts else [])):
        assert performance_plot(table.with_columns(pl.col(name) * 1.5), loss="brier", title="account_health") != drawn
    unlabelled = table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in table.columns if name.startswith("realised"))
    assert performance_plot(unlabelled.drop("misjudged_EUR", "misjudged_USD")).startswith(PNG)
