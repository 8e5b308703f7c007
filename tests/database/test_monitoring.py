"""Findings by day: what is stored comes back, and a day monitored again is there once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from within_pipelines.database import Database, MonitoringRepository
from within_pipelines.monitoring import DriftState, MonitorFinding

DAY = date(2026, 6, 30)
AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
FOUND = MonitorFinding(
    monitor="data_drift", model="ad_score", day=DAY, state=DriftState.DRIFTED, statistic=0.3, p_value=0.001, effect=0.3, threshold=0.1,
    sizes={"reference": 900, "current": 70}, features=("headline_words",), loss_change=None, money_at_risk={"USD": 12.5},
    reason="One feature moved.", evidence={"alpha": 0.002, "tests": [1, 2]},
)  # fmt: skip


def test_what_is_stored_comes_back(database: Database) -> None:
    repository = MonitoringRepository(database)
    assert repository.report() is None
    other = replace(FOUND, model="anomaly", state=DriftState.INSUFFICIENT, statistic=None, p_value=None, reason="Few rows.")
    assert repository.save([FOUND, other], generated_at=AT) == 2
    report = repository.report()
    assert report is not None
    assert report.findings == (FOUND, other)
    assert (report.day, report.generated_at) == (DAY, AT)
    assert repository.report(date(2026, 6, 1)) is None


def test_a_day_monitored_again_is_there_once(database: Database) -> None:
    repository = MonitoringRepository(database)
    earlier = replace(FOUND, day=date(2026, 6, 29), p_value=0.5, state=DriftState.STABLE)
    repository.save([earlier, FOUND], generated_at=AT)
    repository.save([replace(FOUND, state=DriftState.STABLE)], generated_at=AT)
    assert [f.state for f in repository.findings("data_drift", "ad_score")] == [DriftState.STABLE, DriftState.STABLE]
    assert repository.findings("data_drift", "ad_score", before=DAY) == [earlier]
    assert [f.day for f in repository.findings("data_drift", "ad_score", since=DAY)] == [DAY]
    assert repository.days() == [date(2026, 6, 29), DAY]
    assert repository.history()["p_value"].to_list() == [0.5, 0.001]
    assert repository.history(last=1).height == 1
