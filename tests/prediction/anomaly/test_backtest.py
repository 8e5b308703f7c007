from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.prediction.anomaly.metrics import FIRST, daily, steady
from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction import Evaluation
from within_pipelines.prediction.anomaly import AnomalyDetector, evaluate_anomaly, split_anomaly, train_anomaly
from within_pipelines.prediction.anomaly.backtest import tail_reliability
from within_pipelines.prediction.anomaly.incidents import draw_incidents, inject


def agency(seed: int = 1, *, accounts: int = 14) -> pl.DataFrame:
    """Noisy spend and steadier clicks of several accounts."""
    parts = [
        daily(steady(seed + i, series=accounts, days=180, spread=s), metric=m) for i, (m, s) in enumerate((("spend", 0.2), ("cpc", 0.1)))
    ]
    return pl.concat(parts)


def evaluated(frame: pl.DataFrame, seed: int = 5) -> Evaluation:
    _, _, test = split_anomaly(frame)
    candidate, baseline = train_anomaly(frame), train_anomaly(frame, kind="trailing_z")
    return evaluate_anomaly(candidate, baseline, test, rng=np.random.default_rng(seed), rounds=2)


def test_planted_incidents_are_found_within_the_budget() -> None:
    evaluation = evaluated(agency())
    assert (evaluation.model, evaluation.model_kind, evaluation.baseline) == ("anomaly", "ensemble_tail", "trailing_z")
    recall = evaluation.metrics["incident_recall_at_budget"]
    assert recall.low > 0.8
    assert recall.low <= recall.value <= recall.high
    assert 0.3 < evaluation.metrics["false_alarm_ratio"].value < 2  # about ten are expected
    assert evaluation.metrics["precision"].value > 0.6
    assert evaluation.metrics["delay_days"].value < 1
    assert evaluation.n["units"] == recall.n == 14
    assert evaluation.n["incidents"] == 2 * 28
    shapes = evaluation.tables["recall_by_shape"]
    assert shapes["incidents"].sum() == 56
    assert evaluation.tables["alarms_by_metric"]["series_months"].sum() == pytest.approx(28 * 54 / 30)
    assert (evaluation.first_day, evaluation.last_day) == (FIRST + timedelta(days=126), FIRST + timedelta(days=179))
    assert Evaluation.from_dict(evaluation.to_dict()).difference == evaluation.difference


def test_stated_tail_probabilities_come_as_often_as_stated_and_forecasters_add_up() -> None:
    evaluation = evaluated(agency(accounts=8))
    tails = evaluation.tables["tail_reliability"]
    assert tails["nominal"].to_list() == [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]
    assert tails["points"].to_list() == [16 * 54] * 6
    told = tails.filter(pl.col("nominal") >= 0.1)
    # 864 points of 8 accounts: a standard error of .010 at .1 and .016 at .3; fitting on 126 days adds about as much.
    assert np.abs(told["measured"] - told["nominal"]).to_numpy() == pytest.approx([0, 0], abs=0.06)
    assert (tails["low"] <= tails["measured"]).all()
    assert (tails["measured"] <= tails["high"]).all()
    assert tails["measured"].is_sorted()
    parts = evaluation.tables["importance"]
    assert parts.height == 4
    assert parts["importance"].min() > 0  # type: ignore[operator]
    assert parts["importance"].sum() > 1.0  # the one in twenty begins near -log10 0.05 = 1.3


@pytest.mark.parametrize(("p", "measured"), [(0.6, [0.0, 0.0]), (1e-6, [1.0, 1.0])])
def test_a_constant_p_value_is_seen_to_be_none(p: float, measured: list[float]) -> None:
    rows = [np.arange(50), np.arange(50, 100)]
    found = tail_reliability(np.full(100, p), rows, ["a", "b"], rng=np.random.default_rng(1), nominal=(0.01, 0.1))
    assert found["measured"].to_list() == measured


def test_the_same_randomness_gives_the_same_evaluation() -> None:
    frame = agency(accounts=3)
    assert evaluated(frame).to_dict() == evaluated(frame.sample(fraction=1.0, shuffle=True, seed=1)).to_dict()


class Deaf(AnomalyDetector):
    """Scores every value alike."""

    def score_series(self, frame: pl.DataFrame, *, limits: bool = True) -> pl.DataFrame:
        """No alarm, ever."""
        return super().score_series(frame, limits=limits).with_columns(p_value=pl.lit(0.6), alarm=pl.lit(False))


def test_a_constant_detector_finds_nothing_and_loses() -> None:
    frame = agency(accounts=4)
    train, calibrate, test = split_anomaly(frame)
    assert calibrate.is_empty()
    deaf, real = Deaf().fit(train), AnomalyDetector().fit(train)
    evaluation = evaluate_anomaly(deaf, real, test, rng=np.random.default_rng(1), rounds=1)
    assert evaluation.metrics["incident_recall_at_budget"].value == 0
    assert evaluation.metrics["recall"].value == 0
    assert not {"precision", "f1", "delay_days"} & set(evaluation.metrics)
    assert evaluation.difference.high < -0.4


def test_a_detector_compared_with_itself_gains_nothing() -> None:
    frame = agency(accounts=3).drop("platform").rename({"account_id": "series_id"})
    detector = train_anomaly(frame)
    evaluation = evaluate_anomaly(detector, detector, split_anomaly(frame)[2], rng=np.random.default_rng(2), rounds=1)
    assert (evaluation.difference.low, evaluation.difference.value, evaluation.difference.high) == (0, 0, 0)


def test_incidents_change_only_their_rows_by_their_factor() -> None:
    frame = daily(steady(3, series=3, days=60)).with_columns(state=pl.lit("scored"))
    frame = frame.with_columns(state=pl.when(pl.col("account_id") == "account-002").then(pl.lit("warming_up")).otherwise("state"))
    rows = [np.arange(60 * i, 60 * (i + 1)) for i in range(3)]
    for seed in range(20):
        incidents = draw_incidents(frame, rows, rng=np.random.default_rng(seed))
        assert [incident.series for incident in incidents] == [0, 1]
        changed = inject(frame, incidents)["value"] / frame["value"]
        for incident in incidents:
            assert 2 <= len(incident.rows) <= 4
            assert incident.factor == 0 or 0.3 <= incident.factor <= 0.6 or 2 <= incident.factor <= 3
            assert incident.direction == ("up" if incident.factor > 1 else "down")
            assert changed.gather(incident.rows).to_list() == pytest.approx([incident.factor] * len(incident.rows))
        assert (changed != 1).sum() == sum(len(incident.rows) for incident in incidents)
    ratio = frame.with_columns(metric=pl.lit("cpc"))
    assert "zero" not in {i.shape for seed in range(20) for i in draw_incidents(ratio, rows, rng=np.random.default_rng(seed))}


def test_too_short_or_foreign_series_are_refused() -> None:
    short = daily(steady(1, days=62))
    with pytest.raises(SampleError, match="spans 62 days; give at least 63"):
        train_anomaly(short)
    with pytest.raises(SchemaError, match=r"lacks \['metric'\]"):
        split_anomaly(short.drop("metric"))
    with pytest.raises(SampleError, match="spans 0 days"):
        split_anomaly(short.clear())
    detector = AnomalyDetector().fit(daily(steady(1)))
    strange = daily(steady(1, days=20), metric="likes")
    with pytest.raises(SampleError, match="None of 60 test values can be judged"):
        evaluate_anomaly(detector, detector, strange, rng=np.random.default_rng(1))
    zeros = daily(np.zeros((2, 120)))
    quiet = AnomalyDetector().fit(zeros.filter(pl.col("timestamp") < FIRST + timedelta(days=90)))
    with pytest.raises(SampleError, match="No incident fits"):
        evaluate_anomaly(quiet, quiet, zeros.filter(pl.col("timestamp") >= FIRST + timedelta(days=90)), rng=np.random.default_rng(1))
