"""Laws of the predictors' own judges for the proof by mutation: each passes for the real one and fails for every constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.prediction.ad_score.fakes import FakeEncoder
from tests.prediction.anomaly.metrics import FIRST, daily, steady
from tests.prediction.worlds import creatives
from within_pipelines.prediction.account_health.stability import group_stability, grouped
from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.support import Support
from within_pipelines.prediction.adaptive_conformal import AdaptiveConformal
from within_pipelines.prediction.anomaly import AnomalyDetector

Findings = list[dict[str, Any]]
SPLIT = FIRST + timedelta(days=130)


def detected(old: pl.DataFrame, new: pl.DataFrame) -> Findings:
    return AnomalyDetector(0.99).fit(old).detect(new)


def streamed(old: pl.DataFrame, new: pl.DataFrame) -> Findings:
    detector = AnomalyDetector(0.99).fit(old)
    return [found for _, day in new.sort("timestamp").group_by("timestamp", maintain_order=True) for found in detector.update(day)]


def always_kind(kind: str) -> Callable[..., Findings]:
    """Every row, or every series, is told."""
    return lambda old, new: [
        {**row, "kind": kind, "direction": "up", "points": 3} for row in new.unique(["account_id", "metric"]).iter_rows(named=True)
    ]


def upward(old: pl.DataFrame, new: pl.DataFrame) -> Findings:
    return [{**found, "direction": "up"} for found in detected(old, new)]


def law_anomaly(detect) -> None:
    ordinary = daily(steady(21, series=8, days=160))
    old, new = ordinary.filter(pl.col("timestamp") < SPLIT), ordinary.filter(pl.col("timestamp") >= SPLIT)
    # 8 series and 30 days at .99 false alarms each: above 16 is beyond .5 % of chance.
    assert sum(found["kind"] == "anomaly" for found in detect(old, new)) <= 16
    at = {"account-002": (SPLIT + timedelta(days=9), 5.0, "up"), "account-005": (SPLIT + timedelta(days=20), 0.1, "down")}
    planted = new
    for account, (moment, factor, _) in at.items():
        here = (pl.col("account_id") == account) & (pl.col("timestamp") == moment)
        planted = planted.with_columns(value=pl.when(here).then(pl.col("value") * factor).otherwise("value"))
    found = {(f["account_id"], f["timestamp"]): f["direction"] for f in detect(old, planted) if f["kind"] == "anomaly"}
    for account, (moment, _, direction) in at.items():
        assert found.get((account, moment)) == direction


def law_feeds(tell) -> None:
    frame = pl.concat([daily(steady(22, series=2, days=160)), daily(steady(23, series=2, days=160), metric="clicks")])
    old, new = frame.filter(pl.col("timestamp") < SPLIT), frame.filter(pl.col("timestamp") >= SPLIT)
    assert {found["kind"] for found in tell(old, new)} <= {"anomaly"}
    one = (pl.col("account_id") == "account-001") & (pl.col("metric") == "clicks") & (pl.col("timestamp") >= SPLIT + timedelta(days=24))
    gone, stuck = new.filter(~one), new.with_columns(value=pl.when(one).then(90.0).otherwise("value"))
    for broken, kind, since in ((gone, "missing", 23), (stuck, "stalled", 24)):
        told = [found for found in tell(old, broken) if found["kind"] != "anomaly"]
        assert [(f["kind"], f["account_id"], f["metric"], f["timestamp"]) for f in told] == [
            (kind, "account-001", "clicks", SPLIT + timedelta(days=since))
        ]


def law_support(reasons) -> None:
    ads = creatives(40).with_columns(headline_characters=pl.col("headline").str.len_chars().cast(pl.Float64))
    inputs = Inputs.learn(ads, features=["headline_characters"], words=True, encoder=FakeEncoder())
    support = Support.learn(inputs, ads, inputs.matrix(ads), seed=1)

    def told(**change: Any) -> tuple[str, ...]:
        row = ads.head(1).with_columns(pl.lit(value).alias(name) for name, value in change.items())
        return reasons(support, inputs, row, inputs.matrix(row))[0]

    assert np.mean([bool(own) for own in reasons(support, inputs, ads, inputs.matrix(ads))]) <= 0.05
    assert told(platform="mars_ads") == ("no training ad had this platform",)
    assert told(headline_characters=900.0) == ("headline characters beyond those of the training ads",)
    assert "0% of its words are known" in told(headline="Qwertz uiop", description="asdf")
    few = told(headline="Garden qzxw wxzq zzqk kqqz xkzw wkxx kzzx qwkk zxqq", description=None)
    assert any(reason.endswith("of its words are known") and not reason.startswith("0%") for reason in few)
    assert "its headline means something unlike the training ads" in told(headline="FAR")


def blind(**change: Any) -> Callable[..., Any]:
    """The real one with one of its limits taken away."""
    return lambda support, inputs, frame, x: replace(support, **change).reasons(inputs, frame, x)


def law_group_stability(stability) -> None:
    features = ["log_efficiency_7", "slope_efficiency_28", "log_ctr_7", "silence"]
    own = np.random.default_rng(1).normal(size=(60, 5))
    assert set(stability(own, [(own, own)], features).values()) == {1.0}
    assert set(stability(own, [(own, -own)], features).values()) == {0.0}
    # What is said loudly counts more: of 1 + 9 the nine agree.
    loud = np.array([[0, 0, 1.0, 0, 0], [0, 0, 9.0, 0, 0]])
    half = loud * [[-1], [1]]
    assert stability(loud, [(loud, half)], features)["traffic"] == pytest.approx(0.9)


def unweighted(own, pairs, features):
    return group_stability(np.sign(own), pairs, features)


def own_sign_only(own, pairs, features):
    return dict.fromkeys(grouped(own, features)[0], 1.0)


def law_adaptive_conformal(start) -> None:
    rng = np.random.default_rng(5)
    state = start(np.abs(rng.standard_normal(400)), level=0.9)
    covered, widths = [], []
    for scale in np.r_[np.ones(60), np.exp(np.linspace(0, np.log(2.5), 200))]:
        scores = scale * np.abs(rng.standard_normal(40))
        covered.append(np.mean(scores <= state.quantile()))
        widths.append(state.quantile() / scale)
        state = state.learn([scores])
    # 260 days of 40 cases: a standard error of .003; the scatter grows by half a per cent a day, so a lag of a day costs less than that.
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert np.mean(covered[-60:]) == pytest.approx(0.9, abs=0.04)
    assert np.mean(widths) < 2  # 1.64 is the half-width of a perfect band


def band(width: float) -> Callable[..., Any]:
    """A band of one width, whatever happens."""

    def start(*_: Any, **__: Any) -> Any:
        state = SimpleNamespace(quantile=lambda: width)
        state.learn = lambda days: state
        return state

    return start


def silent(*_: Any, **__: Any) -> Findings:
    return []


PREDICTORS: dict[str, tuple[Callable[..., None], Callable[..., Any], list[Callable[..., Any]]]] = {
    "anomaly detector": (law_anomaly, detected, [silent, always_kind("anomaly"), upward]),
    "stopped feeds": (law_feeds, detected, [silent, always_kind("missing"), always_kind("stalled")]),
    "stopped feeds of a stream": (law_feeds, streamed, [silent, always_kind("missing"), always_kind("stalled")]),
    "support of an ad": (
        law_support,
        Support.reasons,
        [
            lambda support, inputs, frame, x: [()] * frame.height,
            lambda support, inputs, frame, x: [("no training ad had this platform",)] * frame.height,
            blind(seen={}),
            blind(ranges={}),
            blind(known_share=-1.0),
            blind(farthest=np.inf),
        ],
    ),
    "group stability": (
        law_group_stability,
        group_stability,
        [lambda own, pairs, features, v=v: dict.fromkeys(grouped(own, features)[0], v) for v in (0.0, 0.5, 1.0)]
        + [unweighted, own_sign_only],
    ),
    "adaptive conformal": (
        law_adaptive_conformal,
        AdaptiveConformal.start,
        [band(1.645), band(0.0), band(9.0), lambda scores, *, level: AdaptiveConformal.start(scores, level=level, rate=0.0)],
    ),
}
