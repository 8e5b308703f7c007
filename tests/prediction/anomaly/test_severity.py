"""Laws of the severity: what it counts, what an hour is used to, and that a stream may be cut anywhere."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from within_pipelines.prediction.anomaly import AnomalyDetector
from within_pipelines.prediction.anomaly.series import Floats, Rhythm
from within_pipelines.prediction.anomaly.severity import geometric_mean, severity_points, sizes, smoothed
from within_pipelines.prediction.anomaly.stream import unlearned
from within_pipelines.prediction.artifact import read_artifact, write_artifact

HOURLY, DAILY = Rhythm(3_600_000_000, 0), Rhythm(86_400_000_000, 0)
LOGARITHM = np.array([True])


def far_out(deviation: Floats, start: int = 0) -> Floats:
    far, _ = sizes(deviation[None, None], np.ones((1, 1, len(deviation))), LOGARITHM, unlearned(1, 1, 24), start=start)
    result: Floats = far[0, 0]
    return result


def test_an_hour_that_is_always_wild_counts_less_than_one_that_never_is() -> None:
    rng = np.random.default_rng(1)
    wild = np.arange(24 * 30) % 24 == 3
    deviation = 0.1 * rng.normal(size=24 * 30) * np.where(wild, 20, 1)
    deviation[-24:] = -1.5  # a fall, so that its logarithm counts
    last = far_out(deviation)[-24:]
    assert last[3] < 0.5 * np.delete(last, 3).min()


def test_the_width_of_an_hour_agrees_with_a_hand_calculation() -> None:
    deviation = np.zeros(72)
    deviation[[5, 29, 53]] = [-2.0, -6.0, -3.0]
    # 4 counts as it is, 36 as 16: after the first day the mean square is 4 of one, after the second 10 of two; four cycles more at 1.
    assert far_out(deviation)[[5, 29, 53]] == pytest.approx([2.0, 6 / np.sqrt((4 + 4) / 5), 3 / np.sqrt((4 + 20) / 6)])


def test_a_rise_counts_by_its_multiple_and_a_fall_by_its_logarithm_in_logarithms_only() -> None:
    deviation = np.log([[[5.0]], [[0.2]], [[5.0]]])
    out, _ = sizes(deviation, np.full((3, 1, 1), 0.5), np.array([True, True, False]), unlearned(3, 1, 24), start=0)
    assert out.ravel() == pytest.approx([8.0, 2 * np.log(5), 2 * np.log(5)])


def test_a_forecaster_that_errs_alone_is_held_down_by_the_others() -> None:
    assert geometric_mean(np.array([[[8.0], [1.0], [1.0]]]))[0, 0] == pytest.approx(2.0)
    assert geometric_mean(np.array([[[8.0], [0.0], [1.0]]]))[0, 0] > 0
    assert np.isnan(geometric_mean(np.array([[[8.0], [np.nan]]]))[0, 0])


def test_a_missing_value_teaches_nothing_and_has_no_severity() -> None:
    deviation = np.array([1.0, np.nan, 1.0])
    far, learned = sizes(deviation[None, None], np.ones((1, 1, 3)), LOGARITHM, unlearned(1, 1, 24), start=0)
    assert learned[0, 0, :3, 1].tolist() == [1.0, 0.0, 1.0]
    severity, energy = smoothed(far[:, 0], np.zeros(1), HOURLY)
    assert np.isnan(severity[0, 1])
    assert energy[0] == pytest.approx(severity[0, 2] ** 2)


def test_one_ordinary_day_brings_severity_about_a_lifetime_closer_to_one() -> None:
    severity, _ = smoothed(np.ones((1, 24)), np.zeros(1), HOURLY)
    assert severity[0, -1] ** 2 == pytest.approx(1 - (23 / 24) ** 24)
    assert (severity_points(HOURLY), severity_points(DAILY)) == (24.0, 3.0)


@pytest.mark.parametrize("cut", [1, 23, 24, 25, 70])
def test_a_stream_may_be_cut_anywhere(cut: int) -> None:
    rng = np.random.default_rng(2)
    deviation, scale = rng.normal(size=(5, 4, 100)), rng.uniform(0.1, 1, size=(5, 4, 100))
    deviation[rng.random(deviation.shape) < 0.1] = np.nan
    logarithm, blank = np.array([True, False, True, True, False]), unlearned(5, 4, 24)
    whole, end = sizes(deviation, scale, logarithm, blank, start=7)
    head, middle = sizes(deviation[..., :cut], scale[..., :cut], logarithm, blank, start=7)
    tail, last = sizes(deviation[..., cut:], scale[..., cut:], logarithm, middle, start=7 + cut)
    np.testing.assert_array_equal(np.concatenate([head, tail], axis=2), whole)
    np.testing.assert_array_equal(last, end)
    assert not blank.any()
    both, energy = smoothed(geometric_mean(whole), np.ones(5), HOURLY)
    first, between = smoothed(geometric_mean(head), np.ones(5), HOURLY)
    second, after = smoothed(geometric_mean(tail), between, HOURLY)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), both)
    np.testing.assert_array_equal(after, energy)


def test_a_detector_saved_before_hours_were_known_still_loads(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    times = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 2, 9, 23), "1h", eager=True)
    frame = pl.DataFrame({"timestamp": times, "metric": "cpc", "value": np.exp(0.2 * rng.normal(size=len(times)))})
    past, new = frame[:-48], frame[-48:]
    detector = AnomalyDetector().fit(past)
    detector.save(tmp_path / "now")
    artifact = read_artifact(tmp_path / "now")
    names = [name for name in artifact.manifest["files"] if name.endswith(".npy")]
    taught = np.load(io.BytesIO(artifact.bytes(next(name for name in names if "by_slot" in name))))
    assert taught[..., 1].max() == 8
    files = {name: artifact.bytes(name) for name in artifact.manifest["files"] if "by_slot" not in name}
    write_artifact(tmp_path / "before", files, {key: artifact.manifest[key] for key in ("model", "kind", "sensitivity")})
    old = AnomalyDetector.load(tmp_path / "before")
    columns = ["score", "alarm", "expected"]
    mine, theirs = detector.score_series(new), old.score_series(new)
    assert_frame_equal(mine.select(columns), theirs.select(columns), check_exact=True)
    assert theirs["severity"].is_not_null().all()
    assert theirs["severity"].to_list() != mine["severity"].to_list()
