"""Laws of the past without incidents: what is usual is neither cut off nor left with what is not."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.monitoring.quiet_past import episodes, incident_days, thinned, usual_probability


def test_a_stretch_is_one_episode_across_a_day_that_is_not_known() -> None:
    statistic = np.array([[2.0, np.nan, 3.0, 0.5, 4.0], [0.0, 1.0, 0.0, np.nan, 1.5]])
    peaks, which = episodes(statistic, calm=1.0)
    # The second account's 1.0 is calm, not above it.
    assert sorted(peaks) == [1.5, 3.0, 4.0]
    assert (which[0, :3] == which[0, 0]).all()
    assert which[0, 3] == -1
    assert peaks[which[0, 0]] == 3.0
    assert (which[1, :4] == -1).all()
    none, nowhere = episodes(np.zeros((2, 3)), calm=1.0)
    assert len(none) == 0
    assert (nowhere == -1).all()


def mixture(rng: np.random.Generator, usual: int, incidents: int) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of usual episodes (exponential), and of incidents (around 5), and which are usual."""
    peaks = np.concatenate([1.0 + rng.exponential(0.4, usual), np.maximum(1.0, rng.normal(5.0, 1.0, incidents))])
    return peaks, np.arange(len(peaks)) < usual


@pytest.mark.parametrize("incidents", [20, 150, 500])
def test_as_many_usual_episodes_are_kept_beyond_a_height_as_there_were(incidents: int) -> None:
    kept, true, cut_off = [], [], []
    for seed in range(8):
        peaks, usual = mixture(np.random.default_rng(seed), 4000, incidents)
        probability = usual_probability(peaks, cut=3.5)
        # In expectation: 4000 exp(-2 / .4) = 27 reach 3, eight times.
        kept.append(probability[peaks >= 3.0].sum())
        true.append((usual & (peaks >= 3.0)).sum())
        cut_off.append(((peaks >= 3.0) & (peaks <= 3.5)).sum())
    # Of 216 the standard error is 15; what is estimated has about that of its own.
    assert abs(sum(kept) - sum(true)) <= 0.25 * sum(true)
    if incidents == 500:
        # Everything below the cut for usual, nothing above it: that is wrong by more.
        assert abs(sum(cut_off) - sum(true)) > 0.25 * sum(true)


def test_the_probability_falls_with_height_and_is_one_without_plain_incidents() -> None:
    peaks, _ = mixture(np.random.default_rng(1), 3000, 100)
    assert (usual_probability(peaks, cut=np.inf) == 1).all()
    probability = usual_probability(peaks, cut=3.5)[np.argsort(peaks)]
    assert (np.diff(probability) <= 1e-9).all()
    assert probability[0] == 1.0
    assert probability[-1] == 0.0


def test_the_order_and_the_scale_of_peaks_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    peaks, _ = mixture(rng, 2000, 80)
    order = rng.permutation(len(peaks))
    found = usual_probability(peaks, cut=3.5)
    assert usual_probability(peaks[order], cut=3.5) == pytest.approx(found[order], abs=1e-9)
    assert usual_probability(peaks * 7, cut=24.5) == pytest.approx(found, abs=1e-6)


def test_few_episodes_are_told_apart_at_the_cut() -> None:
    assert usual_probability(np.array([1.0, 2.0, 9.0]), cut=3.0).tolist() == [1.0, 1.0, 0.0]
    assert usual_probability(np.full(30, 1.0), cut=3.0).tolist() == [1.0] * 30
    assert usual_probability(np.array([*[1.0] * 30, 9.0]), cut=3.0).tolist() == [*[1.0] * 30, 0.0]


def test_thinning_keeps_as_many_as_the_probabilities_add_up_to() -> None:
    rng = np.random.default_rng(3)
    values, probability = rng.normal(size=1000), rng.random(1000)
    kept = thinned(values, probability)
    assert abs(len(kept) - probability.sum()) <= 0.5
    for height in (-1.0, 0.0, 1.0, 2.0):
        assert abs((kept >= height).sum() - probability[values >= height].sum()) <= 1.0
    assert np.array_equal(thinned(values, np.ones(1000)), np.sort(values))
    assert len(thinned(values, np.zeros(1000))) == 0


def test_days_beyond_every_tail_are_incidents_and_a_quiet_past_has_none() -> None:
    rng = np.random.default_rng(4)
    statistic = rng.exponential(0.4, (500, 60))
    assert not incident_days(statistic).any()
    statistic[3, 10:13] = [5.0, 20.0, 4.0]
    found = incident_days(statistic)
    assert found[3, 10:13].all()
    assert found.sum() <= 5
