"""Loss, calibration, relation: a flip of every label is seen, calm is called calm, and clustered rows keep the stated rate."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import DriftState, calibration_drift, loss_change, mean_shift, relation_change


def world(rng: np.random.Generator, accounts: np.ndarray, rows: int = 25) -> tuple[np.ndarray, ...]:
    labels = np.repeat(accounts, rows)
    x = rng.normal(size=(len(labels), 2))
    p = 1 / (1 + np.exp(-1.2 * x[:, 0]))
    return labels, x, p, (rng.random(len(labels)) < p).astype(float)


def test_flipped_labels_are_seen_by_every_detector() -> None:
    rng = np.random.default_rng(1)
    a, x, p, y = world(rng, np.arange(60))
    b, z, q, w = world(rng, np.arange(60, 120))
    clusters = {"reference_clusters": a, "current_clusters": b}
    assert loss_change((y - p) ** 2, (w - q) ** 2, rng=rng, **clusters).state is not DriftState.DRIFTED
    flipped = 1 - w
    assert loss_change((y - p) ** 2, (flipped - q) ** 2, rng=rng, **clusters).state is DriftState.DRIFTED
    assert calibration_drift(y, p, flipped, q, rng=rng, **clusters).state is DriftState.DRIFTED
    found = relation_change(x, y - p, z, flipped - q, ["a", "b"], rng=rng, **clusters)
    assert (found.state, found.features) == (DriftState.DRIFTED, ("a",))


@pytest.mark.parametrize("shared", [True, False])
def test_false_alarms_on_accounts_stay_at_the_stated_rate(shared: bool) -> None:
    rng = np.random.default_rng(2)
    wrong = np.zeros(2)
    for _ in range(200):
        level = rng.normal(size=60)
        a, b = np.repeat(np.arange(30), 15), np.repeat(np.arange(30) + (0 if shared else 30), 8)
        old, new = level[a] + rng.normal(size=len(a)), level[b] + rng.normal(size=len(b))
        found = mean_shift(old, new, rng=rng, reference_clusters=a, current_clusters=b, n_permutations=199)
        wrong += (found.p_value[0] <= 0.05, found.p_worse[0] <= 0.05)
    # 200 runs at .05 have a standard error of .0154.
    assert np.all(wrong / 200 <= 0.05 + 2 * 0.0154)


def test_a_relation_that_turns_is_seen_even_where_the_loss_stays() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 2))
    noise = rng.normal(size=(2, 4000))
    old, new = x[:, 1] * 0.5 + noise[0], -x[:, 1] * 0.5 + noise[1]
    assert loss_change(old**2, new**2, rng=rng).state is DriftState.STABLE
    assert relation_change(x, old, x, new, ["a", "b"], rng=rng).features == ("b",)


def test_a_rise_is_told_in_units_of_the_loss_with_its_interval() -> None:
    rng = np.random.default_rng(4)
    found = loss_change(np.full(500, 0.2) + rng.normal(0, 0.01, 500), np.full(300, 0.3) + rng.normal(0, 0.01, 300), rng=rng)
    assert found.change == pytest.approx(0.1, abs=0.005)
    assert found.low < found.change < found.high
    assert found.threshold == pytest.approx(0.02, abs=0.001)
    assert (found.n_reference, found.n_current, found.n_clusters) == (500, 300, 800)


def test_overconfidence_tilts_and_bias_shifts() -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(0.05, 0.95, 6000)
    y = rng.random(6000) < p
    tame = 0.5 + 0.4 * (p - 0.5)
    over = calibration_drift(y, p, rng.random(6000) < tame, p, rng=rng)
    assert over.state is DriftState.DRIFTED
    assert over.tilt < -0.05 < over.bias
    low = calibration_drift(y, p, rng.random(6000) < np.clip(p - 0.15, 0, 1), p, rng=rng)
    assert low.bias < -0.1


def test_few_accounts_and_unfit_input() -> None:
    rng = np.random.default_rng(6)
    few = np.repeat(np.arange(5), 40)
    assert loss_change(np.zeros(200), np.ones(200), rng=rng, reference_clusters=few, current_clusters=few).state is DriftState.INSUFFICIENT
    with pytest.raises(SampleError, match="same columns"):
        mean_shift([], [1.0], rng=rng)
    with pytest.raises(SampleError, match="1 of 4 values are not finite"):
        mean_shift([1.0, np.nan], [1.0, 2.0], rng=rng)
    with pytest.raises(SampleError, match="both windows or of neither"):
        mean_shift([1.0], [1.0], rng=rng, reference_clusters=[1])
    with pytest.raises(SampleError, match="1 and 1 cluster labels"):
        mean_shift([1.0, 2.0], [1.0], rng=rng, reference_clusters=[1], current_clusters=[1])
    with pytest.raises(SampleError, match="between 0 and 1"):
        calibration_drift([1.0], [1.5], [1.0], [0.5], rng=rng)
    with pytest.raises(SampleError, match="2 names came"):
        relation_change(np.zeros((3, 1)), [0.0] * 3, np.zeros((3, 1)), [0.0] * 3, ["a", "b"], rng=rng)
