from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prediction.anomaly.metrics import FIRST, daily, steady
from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.anomaly import AnomalyDetector, Level, decompose
from within_pipelines.prediction.anomaly.cause import PARTS

SPLIT = FIRST + timedelta(days=120)
amounts = st.floats(0.01, 1e6)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PARTS)), st.lists(st.tuples(amounts, amounts, st.floats(0, 1e4)), min_size=1, max_size=6), st.data())
def test_totals_and_segments_add_up_to_the_change(metric: str, parts: list[tuple[float, float, float]], data: st.DataObject) -> None:
    names = list(PARTS[metric])
    segments = {
        f"campaign {i}": {name: Level(actual if data.draw(st.booleans()) else other, expected) for name in names}
        for i, (actual, expected, other) in enumerate(parts)
    }
    totals = {
        name: Level(sum(s[name].actual for s in segments.values()) + 1.0, sum(s[name].expected for s in segments.values()) + 1.0)
        for name in names
    }
    cause = decompose(metric, totals, segments)
    assert cause is not None
    assert sum(cause.by_total.values()) == cause.log_change
    assert sum(share.log_change for share in cause.shares) == pytest.approx(cause.log_change, abs=1e-9)
    for name in names:
        assert sum(share.by_total[name] for share in cause.shares) == pytest.approx(cause.by_total[name], abs=1e-9)
    rest = next(share for share in cause.shares if share.name == "(rest)")
    assert abs(rest.log_change) < 1e-6  # the two parts that belong to no campaign did not move


def test_a_hand_calculation() -> None:
    totals = {"spend": Level(200.0, 100.0), "clicks": Level(50.0, 100.0)}
    segments = {
        "new": {"spend": Level(100.0, 0.0), "clicks": Level(0.0, 0.0)},
        "old": {"spend": Level(100.0, 100.0), "clicks": Level(50.0, 100.0)},
    }
    cause = decompose("cpc", totals, segments)
    assert cause is not None
    assert cause.log_change == pytest.approx(np.log(4))
    assert cause.by_total == pytest.approx({"spend": np.log(2), "clicks": np.log(2)})
    assert [(share.name, share.by_total) for share in cause.shares if share.name != "(rest)"] == [
        ("new", pytest.approx({"spend": np.log(2), "clicks": 0})),
        ("old", pytest.approx({"spend": 0, "clicks": np.log(2)})),
    ]
    assert decompose("cpc", {"spend": Level(1.0, 1.0)}) is None
    assert decompose("cpa", {"spend": Level(1.0, 1.0), "conversions": Level(0.0, 3.0)}) is None
    with pytest.raises(SampleError, match="'likes' has no known parts"):
        decompose("likes", {})


def accounts() -> pl.DataFrame:
    """Spend and clicks of an account, its cost per click, and two campaigns that make it up."""
    spend, clicks = steady(1, series=2, days=150), steady(2, series=2, days=150)
    clicks[1, 140:] *= 0.2  # the second campaign loses its clicks
    parts = []
    for campaign, (s, c) in {"": (spend.sum(axis=0), clicks.sum(axis=0)), "A": (spend[0], clicks[0]), "B": (spend[1], clicks[1])}.items():
        for metric, values in (("spend", s), ("clicks", c), ("cpc", s / c)):
            parts.append(daily(values[None], metric=metric).with_columns(campaign_id=pl.lit(campaign)))
    return pl.concat(parts)


def test_a_finding_names_the_total_and_the_campaign_that_moved_it() -> None:
    frame = accounts()
    detector = AnomalyDetector(0.99).fit(frame.filter(pl.col("timestamp") < SPLIT))
    found = detector.detect(frame.filter(pl.col("timestamp") >= SPLIT))
    cpc = next(f for f in found if f["metric"] == "cpc" and f["campaign_id"] == "" and f["timestamp"] == FIRST + timedelta(days=140))
    cause = cpc["cause"]
    assert cause["by_total"]["clicks"] > 4 * abs(cause["by_total"]["spend"])
    assert cause["log_change"] == sum(cause["by_total"].values())
    assert cause["shares"][0]["name"] == "B"
    assert sum(share["log_change"] for share in cause["shares"]) == pytest.approx(cause["log_change"])
    own = next(f for f in found if f["metric"] == "cpc" and f["campaign_id"] == "B")
    assert own["cause"]["shares"] == ()
    clicks = next(f for f in found if f["metric"] == "clicks" and f["campaign_id"] == "")
    assert clicks["cause"]["shares"][0]["name"] == "B"


def test_conversions_that_have_not_arrived_are_no_cause() -> None:
    rng = np.random.default_rng(3)
    spend, conversions = (100 * np.exp(0.1 * rng.standard_normal((1, 150))) for _ in range(2))
    spend[0, 149] *= 3
    conversions[0, 149] *= 0.6
    frame = pl.concat(
        [
            daily(values, metric=metric).with_columns(
                maturity=pl.when((pl.col("timestamp") == FIRST + timedelta(days=149)) & late).then(0.6).otherwise(1.0)
            )
            for metric, values, late in (
                ("spend", spend, pl.lit(value=False)),
                ("conversions", conversions, pl.lit(value=True)),
                ("cpa", spend / conversions, pl.lit(value=False)),
            )
        ]
    )
    detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < SPLIT))
    last = FIRST + timedelta(days=149)
    found = {f["metric"]: f for f in detector.detect(frame.filter(pl.col("timestamp") >= SPLIT)) if f["timestamp"] == last}
    assert "conversions" not in found
    assert abs(found["cpa"]["cause"]["by_total"]["conversions"]) < 0.5 < found["cpa"]["cause"]["by_total"]["spend"]
    hardly = frame.with_columns(maturity=pl.when(pl.col("maturity") < 1).then(0.2).otherwise("maturity"))
    found = {f["metric"]: f for f in detector.detect(hardly.filter(pl.col("timestamp") >= SPLIT)) if f["timestamp"] == last}
    assert "cause" not in found["cpa"]
