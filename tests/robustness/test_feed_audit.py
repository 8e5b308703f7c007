"""Laws of the audit of wrong feeds: a sound model passes, a fragile one and a door that lies fail."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.quality.test_feeds import DAY, facts
from within_pipelines.exceptions import SchemaError
from within_pipelines.quality import faulty_feeds
from within_pipelines.robustness import RobustnessReport, fact_faults, feed_audit, share_status, weeks_apart
from within_pipelines.robustness.facts import missing_measure, unit_of_money
from within_pipelines.stats import Estimate, Status

ACCOUNT = ["platform", "account_id"]


class Level:
    """A model that answers with one number per account: `of` daily facts."""

    def __init__(self, of: pl.Expr, tolerance: float) -> None:
        self.of, self.tolerance = of, tolerance

    def observe(self, told: pl.DataFrame, day: date) -> pl.DataFrame:
        return told.group_by(ACCOUNT).agg(value=self.of.cast(pl.Float64)).sort(ACCOUNT)

    def compare(self, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
        both = before.join(after, on=ACCOUNT, how="left", suffix="_after")
        change = pl.col("value_after") - pl.col("value")
        return both.select(
            *ACCOUNT, moved=(change.abs() > self.tolerance).fill_null(True), change=change.fill_null(1e9), noticed=pl.lit(False),
            money=pl.lit(3.5), currency=pl.lit("EUR"), before="value", after="value_after",
        )  # fmt: skip


SOUND = Level(pl.col("clicks").sum() / pl.col("impressions").sum(), 0.002)
# Hangs on the last digit of what was spent.
FRAGILE = Level((pl.col("spend_micros") % 1000).sum() % 97, 1.0)


def door(told: pl.DataFrame, day: date) -> pl.DataFrame:
    return faulty_feeds(told, day=day)


def audited(judge, the_door=door, *, accounts: int = 10) -> RobustnessReport:
    days = weeks_apart(DAY, date(2026, 4, 22), most=2, step=14, history=42)
    return feed_audit(
        "level", facts(accounts), days, judge, fact_faults(), the_door, rng=np.random.default_rng(1), tolerance=0.002, limit=0.1
    )


@pytest.fixture(scope="module")
def sound() -> RobustnessReport:
    return audited(SOUND)


def test_a_sound_model_behind_an_honest_door_passes(sound: RobustnessReport) -> None:
    verdict = sound.verdict()
    assert verdict.passed, verdict.reason
    by_name = {r.name: r for r in sound.results}
    assert by_name["money x100"].noticed == 1.0
    assert by_name["noise"].noticed == 0.0
    assert by_name["row order"].worst_change == pytest.approx(0, abs=1e-12)
    assert set(sound.warnings()) <= set(by_name)


def test_a_fragile_model_fails_with_the_money_that_hung_on_it() -> None:
    report = audited(FRAGILE)
    verdict = report.verdict()
    assert verdict.status is Status.FAILED
    assert "noise: " in verdict.reason
    assert next(r for r in report.results if r.name == "noise").money == {"EUR": 3.5}


def test_a_door_that_lets_everything_in_or_nothing_fails() -> None:
    open_door = lambda told, day: door(told, day).clear()
    # Behind an open door the cost per click is a hundredfold, and nobody is told.
    cost = Level(pl.col("spend_micros").sum() / pl.col("clicks").sum(), 1e5)
    assert audited(cost, open_door).verdict().status is Status.FAILED
    assert audited(cost).statuses()["money x100"] is Status.PASSED

    def shut(told: pl.DataFrame, day: date) -> pl.DataFrame:
        everybody = told.select(ACCOUNT).unique()
        return everybody.with_columns(kind=pl.lit("unit"), event_date=pl.lit(day), blocking=pl.lit(True), detail=pl.lit("no"))

    refused = audited(SOUND, shut).verdict()
    assert refused.status is Status.FAILED
    assert "untouched feeds" in refused.reason
    assert "a real collapse" in refused.reason


def test_order_must_not_matter_and_raising_is_a_finding() -> None:
    by_order = Level(pl.col("clicks").first(), 1e9)
    assert audited(by_order).statuses()["row order"] is Status.FAILED

    class Raising(Level):
        def observe(self, told: pl.DataFrame, day: date) -> pl.DataFrame:
            if told["conversions"].null_count():
                raise ValueError("no conversions")
            return super().observe(told, day)

    report = audited(Raising(SOUND.of, 0.002))
    assert report.statuses()["no conversions"] is Status.FAILED
    assert "raised ValueError: no conversions" in report.verdict().reason


def test_few_accounts_are_insufficient() -> None:
    alone = audited(SOUND, accounts=1)
    assert alone.verdict().status is Status.INSUFFICIENT
    assert {r.mean_change for r in alone.results} == {None}


def test_a_report_survives_json_and_shows_a_row_per_fault(sound: RobustnessReport) -> None:
    import json

    again = RobustnessReport.from_dict(json.loads(json.dumps(sound.to_dict())))
    assert again == sound
    frame = sound.to_frame()
    assert frame.height == len(sound.results) == len(fact_faults()) + 2
    assert frame.filter(pl.col("fault") == "noise")["status"][0] == "passed"
    # Noise that moves answers a little leaves the order of accounts nearly as it was; no change leaves it exactly.
    order = {
        name: (low, value, high) for name, low, value, high in frame.select("fault", "rank_low", "rank_stability", "rank_high").iter_rows()
    }
    assert order["row order"] == (1.0, 1.0, 1.0)
    assert 0.5 < order["noise"][1] <= 1
    assert order["noise"][0] < order["noise"][1] <= order["noise"][2]
    assert order["untouched feeds"] == (None, None, None)
    assert frame.filter(pl.col("fault") == "noise").select(pl.col("mean_low") < pl.col("mean_change")).item()


def test_an_order_that_a_fault_turns_round_is_seen() -> None:
    class Turned(Level):
        def compare(self, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
            return super().compare(before, after).with_columns(after=-pl.col("before"))

    noise = next(r for r in audited(Turned(SOUND.of, 0.002)).results if r.name == "noise")
    assert noise.rank_stability is not None
    assert noise.rank_stability.high == pytest.approx(-1)


@pytest.mark.parametrize(
    ("share", "status"),
    [
        (Estimate(0.0, 0.0, 0.19, n=30), Status.PASSED),
        (Estimate(0.1, 0.05, 0.2, n=30), Status.PASSED),
        (Estimate(0.11, 0.05, 0.18, n=30), Status.INSUFFICIENT),
        (Estimate(0.05, 0.0, 0.21, n=30), Status.INSUFFICIENT),
        (Estimate(0.3, 0.11, 0.5, n=30), Status.FAILED),
        (Estimate(0.0, 0.0, 0.0, n=5), Status.INSUFFICIENT),
        (None, Status.INSUFFICIENT),
    ],
)
def test_a_pass_needs_a_small_share_and_evidence_against_twice_the_limit(share: Estimate | None, status: Status) -> None:
    assert share_status(share, limit=0.1, minimum_units=12) is status


def test_faults_spoil_the_newest_days_only_and_repeat() -> None:
    told = facts(2)
    for fault in fact_faults():
        first, again = (fault.apply(told, DAY, np.random.default_rng(3)) for _ in range(2))
        assert first.equals(again)
        old = pl.col("event_date") < date(2026, 6, 28)
        order = ["account_id", "ad_id", "event_date"]
        assert first.filter(old).sort(order).equals(told.filter(old).sort(order)), fault.name
        assert fault.unchanged == first.sort(order).equals(told.sort(order)), fault.name
        assert first.filter(pl.col("clicks") > pl.col("impressions")).is_empty()
    assert missing_measure("clicks").apply(told, DAY, np.random.default_rng(1))["clicks"].null_count() == 60
    with pytest.raises(SchemaError, match="lack"):
        unit_of_money(100.0, "x").apply(told.drop("spend_micros"), DAY, np.random.default_rng(1))
