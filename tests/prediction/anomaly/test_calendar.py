from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.prediction.anomaly.metrics import FIRST, daily, steady
from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction.anomaly import AnomalyDetector, Calendar

SPLIT = FIRST + timedelta(days=120)
SALE = SPLIT + timedelta(days=10)


def calendar(**where: str) -> Calendar:
    """A sale of two days."""
    return Calendar.of({"planned": [{"first": SALE, "last": SALE + timedelta(days=1), "reason": "Sale", "where": where}]})


def sale() -> tuple[AnomalyDetector, pl.DataFrame]:
    """Series that triple on three days, one more than was planned."""
    frame = daily(steady(3, series=2))
    during = pl.col("timestamp").is_between(SALE, SALE + timedelta(days=2))
    new = frame.filter(pl.col("timestamp") >= SPLIT).with_columns(value=pl.when(during).then(500.0).otherwise("value"))
    return AnomalyDetector().fit(frame.filter(pl.col("timestamp") < SPLIT)), new


def test_planned_changes_are_kept_apart_with_their_reason_and_counted() -> None:
    detector, new = sale()
    without = [f for f in detector.detect(new) if f["value"] == 500.0]
    assert {f["timestamp"] for f in without} == {SALE}
    judged = detector.judge(new, calendar=calendar())
    # What was planned does not silence what goes on after it.
    assert {f["timestamp"] for f in judged.findings if f["value"] == 500.0} == {SALE + timedelta(days=2)}
    assert judged.suppressed_by_reason == {"Sale": 2}
    assert {(f["timestamp"], f["reason"], f["value"]) for f in judged.suppressed} == {(SALE, "Sale", 500.0)}
    assert list(judged.findings) == [f for f in detector.detect(new, calendar=calendar()) if f["kind"] == "anomaly"]


def test_a_plan_for_one_account_explains_no_other() -> None:
    detector, new = sale()
    judged = detector.judge(new, calendar=calendar(account_id="account-001", metric="spend"))
    assert [f["account_id"] for f in judged.suppressed] == ["account-001"]
    assert "account-000" in {f["account_id"] for f in judged.findings if f["timestamp"] == SALE}
    nothing = detector.judge(new, calendar=calendar(metric="clicks"))
    assert nothing.suppressed == ()
    assert nothing.findings == detector.judge(new).findings


def test_calendars_are_read_from_yaml_and_nothing_in_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "calendar.yaml"
    path.write_text(
        "planned:\n  - first: 2026-12-25\n    reason: Christmas\n  - {first: 2026-11-27, last: 2026-11-30, reason: Black Friday}\n"
    )
    loaded = Calendar.load(path)
    assert [(p.reason, (p.last - p.first).days) for p in loaded.planned] == [("Christmas", 0), ("Black Friday", 3)]
    for text, message in (
        ("planned: [", "is no valid YAML"),
        ("planned: !!python/object/apply:os.system [ls]", "is no valid YAML"),
        ("[]", "wrong at its top"),
        ("planned: [{first: tomorrow, reason: x}]", "wrong at planned.0.first"),
        ("planned: [{first: 2026-01-01}]", "wrong at planned.0.reason"),
        ("planned: [{first: 2026-01-02, last: 2026-01-01, reason: x}]", "ends on 2026-01-01, before it begins"),
        ("planned: [{first: 2026-01-02, reason: x, where: {country: DE}}]", r"asks for \['country'\]"),
        ("planned: [{first: 2026-01-02, reason: x, untill: 2026-01-03}]", "planned.0.untill"),
    ):
        path.write_text(text)
        with pytest.raises(SchemaError, match=message):
            Calendar.load(path)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Tokyo"])
def test_a_planned_day_is_that_of_the_clock_on_which_the_rows_were_counted(zone: str) -> None:
    detector, new = sale()
    away = new.with_columns(pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone(zone))
    before = daily(steady(3, series=2)).filter(pl.col("timestamp") < SPLIT)
    before = before.with_columns(pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone(zone))
    assert AnomalyDetector().fit(before).judge(away, calendar=calendar()).suppressed_by_reason == {"Sale": 2}
    assert detector.judge(new, calendar=calendar()).suppressed_by_reason == {"Sale": 2}


def test_what_is_no_calendar_is_refused_and_nothing_is_remembered() -> None:
    frame = daily(steady(1, series=1))
    before, after = frame.filter(pl.col("timestamp") < SPLIT), frame.filter(pl.col("timestamp") >= SPLIT)
    detector = AnomalyDetector().fit(before)
    for wrong in ({"planned": []}, "calendar.yaml", 3):
        for ask in (detector.judge, detector.detect, detector.update):
            with pytest.raises(
                SchemaError, match=r"is no calendar; give Calendar\.of\(\{'planned': \[\.\.\.\]\}\) or Calendar\.load\(path\)"
            ):
                ask(after, calendar=wrong)
    assert detector.detect(after) == AnomalyDetector().fit(before).detect(after)


def test_a_calendar_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "none.yaml", r"none\.yaml: .*No such file"), (tmp_path, "Is a directory"), (3, "3: expected")):
        with pytest.raises(SchemaError, match=rf"No calendar can be read from .*{told}.*give the path of a YAML file"):
            Calendar.load(path)  # type: ignore[arg-type]
