"""A finding survives JSON unchanged and refuses what it cannot be."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import numpy as np
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring import DriftState, MonitorFinding, MonitorReport

FOUND = MonitorFinding(
    monitor="concept_drift", model="account_health", day=date(2026, 6, 30), state=DriftState.DRIFTED, statistic=np.float64(0.2),
    p_value=0.01, effect=0.2, threshold=0.1, sizes={"reference": np.int64(900), "accounts": 40}, features=("roas_7d", "ctr_7d"),
    loss_change=0.03, money_at_risk={"USD": 1200.0, "EUR": 90.5}, reason="The loss rose.", evidence={"null": "sign flips", "days": [1, 2]},
)  # fmt: skip


def test_a_report_survives_json() -> None:
    report = MonitorReport(FOUND.day, (FOUND, FOUND.explained_by("attribution window changed")), datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert MonitorReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert report.of("concept_drift", "account_health") == report.findings
    assert report.of("data_drift") == report.of("concept_drift", "ad_score") == ()


def test_what_is_not_finite_is_stored_as_nothing() -> None:
    found = MonitorFinding("data_drift", "ad_score", FOUND.day, DriftState.INSUFFICIENT, statistic=float("inf"), effect=float("nan"))
    assert found.statistic is None
    assert found.effect is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_explained_shift_is_no_drift_any_more() -> None:
    explained = FOUND.explained_by("view-through conversions joined on 2026-06-20")
    assert explained.state is DriftState.MEASUREMENT_CHANGE
    assert FOUND.drifted
    assert not explained.drifted
    assert "view-through" in explained.reason


def test_an_unknown_monitor_field_or_state_is_refused() -> None:
    with pytest.raises(SchemaError, match="'weather' is no monitor"):
        MonitorFinding("weather", "ad_score", FOUND.day, DriftState.STABLE)
    with pytest.raises(SchemaError, match="missing or unknown: reason"):
        MonitorFinding.from_dict({k: v for k, v in FOUND.to_dict().items() if k != "reason"})
    with pytest.raises(SchemaError, match="state 'fine' cannot be read"):
        MonitorFinding.from_dict(FOUND.to_dict() | {"state": "fine"})
    with pytest.raises(SchemaError, match="this one has day"):
        MonitorReport.from_dict({"day": "2026-06-30"})
