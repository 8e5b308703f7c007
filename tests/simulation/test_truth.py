"""What was planted can be read back, and covers what the issue of trust asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulation.reading import SMALL, Agency, read_rows
from within_pipelines.exceptions import SchemaError
from within_pipelines.simulation import AgencySpec, load_truth, write_agency
from within_pipelines.simulation.account import GERMAN_ACCOUNT


def test_the_truth_names_everything_that_was_planted(agency: Agency) -> None:
    truth = agency.truth
    assert truth.spec == SMALL
    assert truth.last_day == SMALL.end
    assert truth.drift_date == SMALL.drift_date
    assert truth.first_day == SMALL.first_day
    assert truth.first_daily_day == SMALL.first_daily_day
    known = {(a.platform, a.account_id) for a in truth.accounts}
    assert truth.incidents
    assert truth.degraded
    assert truth.word_effects
    for incident in truth.incidents:
        assert (incident.platform, incident.account_id) in known
        assert truth.first_day <= incident.first_day <= truth.last_day
        assert incident.first_day <= incident.last_day
    for spell in truth.degraded:
        assert 0.25 <= spell.depth <= 0.5
        assert spell.warning_day <= truth.last_day
        assert spell.warning_day < spell.first_day < spell.lowest_day < spell.recovery_day < spell.last_day


def test_the_demo_has_enough_of_everything(tmp_path: Path) -> None:
    truth = load_truth(write_agency(tmp_path / "landing", AgencySpec(end=SMALL.end, daily_days=0)).truth_path)
    assert {"spend", "ctr", "cvr", "cpc", "conversions"} <= {incident.metric for incident in truth.incidents}
    assert len(truth.degraded) >= 24
    assert len({d.account_id for d in truth.degraded}) >= 12
    assert truth.first_day < truth.drift_date < truth.last_day


def test_days_of_a_stalled_feed_arrive_late(tmp_path: Path) -> None:
    spec = replace(SMALL, accounts=12, days=150, daily_days=100)
    truth = load_truth(write_agency(tmp_path / "landing", spec).truth_path)
    stalls = [i for i in truth.incidents if i.metric == "feed" and i.last_day < truth.last_day and i.first_day > truth.first_daily_day]
    assert stalls
    for stall in stalls:
        folder = tmp_path / "landing" / stall.platform / stall.account_id
        german = stall.account_id == truth.accounts[GERMAN_ACCOUNT].account_id

        def newest(after: int, folder: Path = folder, stall=stall, german: bool = german) -> str:
            morning = stall.last_day + timedelta(days=after + 1)
            (path,) = folder.glob(f"*{stall.account_id}_asof_{morning:%Y%m%d}T*.csv")
            return max(row.day for row in read_rows(path, german=german))

        assert newest(0) == (stall.first_day - timedelta(days=1)).isoformat()
        assert newest(1) == (stall.last_day + timedelta(days=1)).isoformat()


def test_another_file_is_no_truth(agency: Agency, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text("[]")
    with pytest.raises(SchemaError, match="not the truth of a simulated agency"):
        load_truth(path)
    content = json.loads(agency.summary.truth_path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(SchemaError, match="truth format 99, this version reads 1"):
        load_truth(path)
    path.write_text(json.dumps(content | {"last_day": "yesterday"}))
    with pytest.raises(SchemaError, match="incomplete or edited"):
        load_truth(path)
    with pytest.raises(FileNotFoundError):
        load_truth(tmp_path / "none.json")
