"""Direct loss estimation of two windows: unbiased on the reference, follows a change of inputs, and refuses what cannot be learned from."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import DriftState, LossRegression, direct_loss, divergence


def world(rng: np.random.Generator, centre: float = 0.0, noise: float = 1.0, accounts: int = 30, rows: int = 30):
    labels = np.repeat(np.arange(accounts), rows)
    # Inputs that moved stay within the range of those before: trees do not extrapolate.
    x = np.clip(rng.normal(size=(len(labels), 3)) + 0.3 * rng.normal(size=(accounts, 3))[labels], -2 + 2.5 * centre, 2)
    loss = noise * np.abs(rng.normal(size=len(labels))) * (0.2 + np.maximum(0, x[:, 0]))
    return labels, x, x[:, 0], loss


def test_rows_of_the_reference_are_estimated_without_having_been_seen() -> None:
    rng = np.random.default_rng(1)
    labels, x, said, loss = world(rng)
    found = direct_loss(x, said, loss, x, said, rng=rng, clusters=labels)
    seen = LossRegression(seed=7).fit(x, said, loss).rows(x, said)
    assert found.reference.mean() == pytest.approx(loss.mean(), rel=0.05)
    # What was fitted on a row knows more of its loss than what was not.
    assert np.mean((loss - seen) ** 2) < np.mean((loss - found.reference) ** 2)
    assert np.corrcoef(found.reference, loss)[0, 1] > 0.3


def test_the_estimate_follows_inputs_and_its_divergence_sees_a_change_of_meaning() -> None:
    rng = np.random.default_rng(2)
    old = world(rng)
    states = []
    for centre, noise in ((1.0, 1.0), (0.0, 2.0)):
        new = world(rng, centre, noise)
        found = direct_loss(*old[1:], new[1], new[2], rng=rng, clusters=old[0])
        if centre:
            assert found.current.mean() == pytest.approx(new[3].mean(), rel=0.15)
            assert found.current.mean() > 1.2 * old[3].mean()
        holds = divergence(old[3], found.reference, new[3], found.current, rng=rng, reference_clusters=old[0], clusters=new[0])
        states.append(holds.state)
    assert states[0] is not DriftState.DRIFTED
    assert states[1] is DriftState.DRIFTED


@pytest.mark.slow
def test_a_calm_window_diverges_at_the_stated_rate() -> None:
    rng = np.random.default_rng(3)
    runs, raised = 40, 0
    for _ in range(runs):
        old, new = world(rng, accounts=16, rows=15), world(rng, accounts=16, rows=8)
        found = direct_loss(*old[1:], new[1], new[2], rng=rng, clusters=old[0])
        raised += (
            divergence(
                old[3], found.reference, new[3], found.current, rng=rng, reference_clusters=old[0], clusters=new[0], n_permutations=199
            ).p_value
            <= 0.1
        )
    # 40 runs at .1 have a standard error of .047.
    assert raised / runs <= 0.1 + 2 * 0.047


def test_too_little_is_refused() -> None:
    rng = np.random.default_rng(4)
    labels, x, said, loss = world(rng, accounts=2)
    with pytest.raises(SampleError, match="2 accounts cannot be dealt into 3 folds"):
        direct_loss(x, said, loss, x, said, rng=rng, clusters=labels)
    labels, x, said, loss = world(rng, accounts=6, rows=5)
    with pytest.raises(SampleError, match="50 finite ones are the least"):
        direct_loss(x, said, loss, x, said, rng=rng, clusters=labels)
    labels, x, said, loss = world(rng)
    assert direct_loss(x, said, loss, x[:0], said[:0], rng=rng, clusters=labels).current.shape == (0,)
