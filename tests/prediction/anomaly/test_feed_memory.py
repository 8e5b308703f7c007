"""A stream tells stopped feeds as a table would: each once, as soon as it is known, however the rows are cut."""

from __future__ import annotations

import json
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction.anomaly.metrics import FIRST, daily, steady
from tests.prediction.anomaly.test_stream import assert_same
from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction import write_artifact
from within_pipelines.prediction.anomaly import AnomalyDetector

SPLIT = FIRST + timedelta(days=100)
LAST = FIRST + timedelta(days=139)


def day(number: int) -> date:
    """The day so many days behind the split."""
    return SPLIT + timedelta(days=number)


def world(seed: int) -> pl.DataFrame:
    """Two accounts with three metrics; feeds stop, stay away, come back, repeat."""
    rng = np.random.default_rng(seed)
    values = [daily(steady(seed + i, series=2, days=140), metric=metric) for i, metric in enumerate(("spend", "clicks", "impressions"))]
    frame = pl.concat([*values, daily(steady(seed + 9, series=2, days=140), metric="cpc")])
    first, length = (int(n) for n in (rng.integers(2, 20), rng.integers(3, 8)))
    stops = (pl.col("metric") == "clicks") & (pl.col("account_id") == "account-000")
    gone = stops & pl.col("timestamp").is_between(day(first), day(first + length - 1))
    ratio = (pl.col("metric") == "cpc") & pl.col("timestamp").is_between(day(5), day(15))
    stuck = (pl.col("metric") == "spend") & (pl.col("account_id") == "account-001") & pl.col("timestamp").is_between(day(25), day(32))
    ends = (pl.col("metric") == "impressions") & (pl.col("account_id") == "account-001") & (pl.col("timestamp") > day(30))
    silent = (pl.col("account_id") == "account-000") & pl.col("timestamp").is_between(day(27), day(33))
    wild = pl.Series(rng.random(frame.height) < 0.01)
    frame = frame.with_columns(value=pl.when(stuck).then(77.0).when(wild).then(pl.col("value") * 8).otherwise("value"))
    return frame.filter(~(gone | ends | silent)).with_columns(value=pl.when(ratio).then(None).otherwise("value")).sort("timestamp")


def fitted(frame: pl.DataFrame) -> tuple[AnomalyDetector, pl.DataFrame]:
    return AnomalyDetector(0.99).fit(frame.filter(pl.col("timestamp") < SPLIT)), frame.filter(pl.col("timestamp") >= SPLIT)


def feeds(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in found if finding["kind"] != "anomaly"]


def named(found: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(finding, default=str, sort_keys=True) for finding in found)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 39), max_size=6), st.booleans())
def test_any_batches_saved_in_between_or_not_tell_the_same(tmp_path_factory: Any, seed: int, cuts: list[int], ends_now: bool) -> None:
    frame = world(seed)
    whole, new = fitted(frame)
    parts, _ = fitted(frame)
    now = LAST + timedelta(days=2) if ends_now else None
    everything = whole.update(new, now=now)
    assert {"missing", "stalled", "anomaly"} <= {finding["kind"] for finding in everything}
    found: list[dict[str, Any]] = []
    edges = [day(n) for n in sorted({0, 40, *cuts})]
    for first, last in pairwise(edges):
        batch = new.filter(pl.col("timestamp").is_between(first, last, closed="left"))
        found += parts.update(batch, now=now if last == edges[-1] else None)
        folder = tmp_path_factory.mktemp("saved") / "model"
        parts.save(folder)
        parts = AnomalyDetector.load(folder)
    assert found == everything
    assert_same(parts, whole)


def test_one_row_at_a_time_in_any_order_within_a_day_tells_the_same() -> None:
    frame = world(3)
    whole, new = fitted(frame)
    stream, _ = fitted(frame)
    expected = feeds(whole.update(new))
    assert len(expected) >= 3
    shuffled = new.sample(fraction=1.0, shuffle=True, seed=4).sort("timestamp", maintain_order=True)
    found = [finding for row in range(shuffled.height) for finding in stream.update(shuffled[row])]
    assert named(feeds(found)) == named(expected)


def test_what_detect_tells_of_a_table_the_stream_has_told_earlier_and_once() -> None:
    detector, new = fitted(world(1))
    said = feeds(detector.detect(new.filter(pl.col("timestamp") <= day(35))))
    told: list[tuple[date, dict[str, Any]]] = []
    for number in range(36):
        told += [(day(number), finding) for finding in feeds(detector.update(new.filter(pl.col("timestamp") == day(number))))]
    same = ("kind", "account_id", "metric", "timestamp", "value")
    at_the_end = [{name: finding[name] for name in same} for finding in said]
    assert len(at_the_end) == 1  # impressions of account-001; the stalled spend is back by then
    ends = [(when, f) for when, f in told if {name: f[name] for name in same} == at_the_end[0]]
    assert [f["points"] for _, f in ends] == [3]
    assert said[0]["points"] == 5
    stuck = [(when, f["timestamp"], f["points"]) for when, f in told if f["kind"] == "stalled"]
    assert stuck == [(day(28), day(25), 3)]
    assert "cpc" not in {f["metric"] for _, f in told}  # its totals are there: it may lack a denominator
    returned = [f["timestamp"] for _, f in told if (f["kind"], f["metric"]) == ("missing", "clicks")]
    assert len(returned) == len(set(returned)) == 1


def test_a_whole_account_is_told_only_by_the_clock() -> None:
    frame = daily(steady(5, series=2, days=140))
    detector, new = fitted(frame)
    new = new.filter((pl.col("account_id") == "account-000") | (pl.col("timestamp") < day(30)))
    assert feeds(detector.update(new)) == []
    assert feeds(detector.detect(new)) == []
    told = feeds(detector.update(new.clear(), now=LAST))
    assert [(f["kind"], f["account_id"], f["timestamp"], f["points"]) for f in told] == [("missing", "account-001", day(29), 10)]
    assert feeds(detector.detect(new, now=LAST)) == told
    assert feeds(detector.update(new.clear(), now=LAST + timedelta(days=1))) == []


def test_a_feed_that_came_back_and_stops_again_is_told_again() -> None:
    detector, new = fitted(daily(steady(6, series=1, days=140)))
    told = []
    for number in (0, 1, 20):
        row = new.filter(pl.col("timestamp") == day(number))
        told += [f["timestamp"] for f in feeds(detector.update(row, now=day(number)))]
        told += [f["timestamp"] for f in feeds(detector.update(row.clear(), now=day(number + 3)))]
    assert told == [day(0), day(1), day(20)]


def test_repeats_of_a_stalled_feed_raise_no_alarm() -> None:
    frame = daily(steady(7, series=1, days=140))
    detector, new = fitted(frame.with_columns(value=pl.when(pl.col("timestamp") >= day(10)).then(900.0).otherwise("value")))
    found = detector.update(new)
    assert [(f["kind"], f["timestamp"], f["points"]) for f in feeds(found)] == [("stalled", day(10), 3)]
    assert max(f["timestamp"] for f in found if f["kind"] == "anomaly") < day(13)
    assert found.index(feeds(found)[0]) == len(found) - 1


def test_a_corrected_value_ends_the_run_and_a_run_that_goes_on_is_told_with_its_beginning() -> None:
    frame = daily(steady(8, series=1, days=140))
    for correction, told in ((55.0, []), (77.0, [(day(10), 4)])):
        detector, new = fitted(frame)
        stuck = new.with_columns(value=pl.when(pl.col("timestamp") >= day(10)).then(77.0).otherwise("value"))
        assert feeds(detector.update(stuck.filter(pl.col("timestamp") <= day(12)))) == []
        again = stuck.filter(pl.col("timestamp").is_between(day(11), day(12)))
        detector.update(again.with_columns(value=pl.when(pl.col("timestamp") == day(12)).then(correction).otherwise("value")))
        found = [f for n in (13, 14) for f in feeds(detector.update(stuck.filter(pl.col("timestamp") == day(n))))]
        assert [(f["timestamp"], f["points"] + 1) for f in found] == told


def test_what_had_stopped_before_is_no_news() -> None:
    frame = daily(steady(9, series=2, days=140)).with_columns(account_id=pl.lit("one"), campaign_id=pl.col("account_id"))
    frame = frame.filter((pl.col("campaign_id") == "account-000") | (pl.col("timestamp") < day(-10)))
    detector, new = fitted(frame)
    assert feeds(detector.update(new)) == []


@pytest.mark.parametrize("how", ["text", "moments", "zone"])
def test_times_come_back_as_they_are_given(how: str) -> None:
    frame = daily(steady(10, series=1, days=140))
    frame = pl.concat([frame, frame.with_columns(metric=pl.lit("clicks"))])
    frame = frame.filter((pl.col("metric") == "spend") | (pl.col("timestamp") < day(20)))
    moment = pl.col("timestamp").cast(pl.Datetime("us"))
    as_given = {
        "text": pl.col("timestamp").cast(pl.String),
        "moments": moment,
        "zone": moment.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    }[how]
    detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < SPLIT).with_columns(timestamp=as_given))
    new = frame.filter(pl.col("timestamp") >= SPLIT)
    wanted = new.filter(pl.col("timestamp") == day(19)).select(as_given)["timestamp"][0]
    told = [
        f for n in range(40) for f in feeds(detector.update(new.filter(pl.col("timestamp") == day(n)).with_columns(timestamp=as_given)))
    ]
    assert [(f["metric"], f["timestamp"]) for f in told] == [("clicks", wanted)]


def test_a_now_that_is_no_moment_is_refused_and_nothing_is_remembered() -> None:
    frame = daily(steady(11, series=1, days=140))
    detector, new = fitted(frame)
    untouched, _ = fitted(frame)
    for now in ("yesterday", 7):
        with pytest.raises(SchemaError, match=f"now={now!r} is no moment; give a date, a datetime or ISO text"):
            detector.update(new, now=now)
    with pytest.raises(SchemaError, match="comes with a time zone and the table's times without a time zone"):
        detector.update(new, now="2026-06-01T00:00:00Z")
    assert_same(detector, untouched)


def test_a_detector_saved_before_feeds_were_remembered_starts_with_nothing_known(tmp_path: Path) -> None:
    frame = world(2)
    detector, new = fitted(frame)
    detector.save(tmp_path / "new")
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    old = {name: (tmp_path / "new" / name).read_bytes() for name in manifest["files"] if not name.startswith("feeds.")}
    write_artifact(tmp_path / "old", old, {name: manifest[name] for name in ("model", "kind", "sensitivity")})
    loaded = AnomalyDetector.load(tmp_path / "old")
    alarms = [f for f in detector.update(new) if f["kind"] == "anomaly"]
    found = loaded.update(new)
    assert [f for f in found if f["kind"] == "anomaly"] == alarms
    assert "missing" in {f["kind"] for f in found}
