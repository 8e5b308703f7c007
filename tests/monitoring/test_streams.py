"""Detectors that read one number at a time: hand calculations, state that goes on, false alarms per thousand and delay."""

from __future__ import annotations

import json

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import ADWIN, DDM, EDDM, PageHinkley

MAKERS = {"page_hinkley": lambda: PageHinkley(delta=0.05, threshold=10), "ddm": DDM, "eddm": EDDM, "adwin": ADWIN}
# False alarms per thousand errors of a steady rate of .2, and the median delay after it doubles: what each is allowed.
BUDGET = {"page_hinkley": (0.5, 100), "ddm": (1.0, 500), "eddm": (8.0, 150), "adwin": (0.2, 250)}


@pytest.mark.parametrize("name", MAKERS)
def test_false_alarms_and_delay_stay_within_their_budget(name: str) -> None:
    rng = np.random.default_rng(1)
    calm = (rng.random((10, 1000)) < 0.2).astype(float)
    worse = (rng.random((10, 800)) < 0.4).astype(float)
    alarms, delays = 0, []
    for before, after in zip(calm, worse, strict=True):
        detector = MAKERS[name]()
        alarms += len(detector.feed(before))
        found = detector.feed(after)
        delays.append(found[0] if found else 800)
    rate, delay = BUDGET[name]
    assert alarms / 10 <= rate
    assert np.median(delays) <= delay


@pytest.mark.parametrize("name", MAKERS)
def test_a_stored_state_goes_on_as_if_nothing_had_happened(name: str) -> None:
    rng = np.random.default_rng(2)
    stream = np.r_[rng.random(700) < 0.2, rng.random(700) < 0.5].astype(float)
    whole, first = MAKERS[name](), MAKERS[name]()
    expected = whole.feed(stream)
    found = first.feed(stream[:650])
    resumed = type(first).resume(json.loads(json.dumps(first.state())))
    assert found + [650 + i for i in resumed.feed(stream[650:])] == expected
    assert expected


def test_page_hinkley_agrees_with_a_hand_calculation() -> None:
    # Means 0, 0, 1/3, 1/2; the sums of x - mean are 0, 0, 2/3, 7/6.
    detector = PageHinkley(delta=0.0, threshold=1.0, minimum=1)
    assert [detector.add(x) for x in (0, 0, 1, 1)] == [False, False, False, True]
    assert (detector.n, detector.total) == (0, 0.0)


def test_ddm_agrees_with_a_hand_calculation() -> None:
    detector = DDM(minimum=4)
    assert detector.feed([0, 1, 0, 1]) == []
    assert (detector.best_rate, detector.best_spread) == (0.5, 0.25)
    # Five errors in a row: 7 / 9 + .139 = .916 stays below .5 + 3 (.25).
    assert detector.feed([1] * 5) == []
    assert not detector.warning
    silent = DDM(minimum=2)
    assert silent.feed([0] * 50 + [1]) == []


def test_eddm_measures_distances_between_errors() -> None:
    detector = EDDM(minimum_errors=2)
    detector.feed([0, 0, 1, 0, 1])
    assert (detector.mean, detector.errors) == (2.5, 2)
    assert EDDM().feed([0] * 200) == []


def test_adwin_keeps_the_newer_part_of_the_window_and_little_memory() -> None:
    detector = ADWIN()
    detector.feed([0.0] * 500)
    assert (detector.width, detector.mean) == (500, 0.0)
    assert len(detector.buckets) <= 6 * 8
    assert detector.feed([1.0] * 300)
    assert detector.mean > 0.9
    assert detector.width < 400


def test_a_slow_drift_is_seen_in_the_end() -> None:
    rng = np.random.default_rng(3)
    rate = np.r_[np.full(500, 0.2), np.linspace(0.2, 0.6, 1500)]
    assert all(make().feed((rng.random(2000) < rate).astype(float)) for make in MAKERS.values())


def test_numbers_and_states_that_cannot_be_are_refused() -> None:
    with pytest.raises(SampleError, match="PageHinkley got nan"):
        PageHinkley().add(float("nan"))
    with pytest.raises(SampleError, match="DDM got 2; give a finite number between 0 and 1"):
        DDM().add(2)
    with pytest.raises(SampleError, match="state is of 'DDM'"):
        ADWIN.resume(DDM().state())
