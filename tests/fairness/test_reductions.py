"""fairlearn's reductions, offered as one classifier: the planted gap goes at a stated price."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.fairness.test_mitigation import gap, world
from within_pipelines.exceptions import NotFittedError, SampleError, SettingsError
from within_pipelines.fairness import ConstrainedClassifier


@pytest.mark.parametrize("reduction", ["exponentiated_gradient", "grid_search"])
@pytest.mark.parametrize("criterion", ["demographic_parity", "equalized_odds"])
def test_a_planted_gap_goes_and_comes_back_with_the_allowance(reduction: str, criterion: str) -> None:
    x, y, group = world(n=1200)

    def found(p: np.ndarray) -> float:
        return gap(p, group) if criterion == "demographic_parity" else max(gap(p[y == one], group[y == one]) for one in (0, 1))

    def fitted(allowed: float) -> np.ndarray:
        made = ConstrainedClassifier(LogisticRegression(), gap=allowed, criterion=criterion, reduction=reduction, grid_size=21)
        return made.fit(x, y, group).probability(x)

    plain = LogisticRegression().fit(x, y).predict(x).astype(float)
    fair, loose = fitted(0.05), fitted(1.0)
    assert found(plain) > 0.15
    assert found(fair) <= min(0.1, 0.6 * found(plain))
    assert found(loose) > 0.8 * found(plain)
    right = [float(np.mean(p * y + (1 - p) * (1 - y))) for p in (fair, loose)]
    assert 0.6 < right[0] < right[1]
    assert ((fair >= 0) & (fair <= 1 + 1e-9)).all()


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, group = world(n=100)
    with pytest.raises(SampleError, match="gap is 2"):
        ConstrainedClassifier(LogisticRegression(), gap=2)
    with pytest.raises(SampleError, match="give exponentiated_gradient or grid_search"):
        ConstrainedClassifier(LogisticRegression(), reduction="boosting")  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        ConstrainedClassifier(LogisticRegression()).probability(x)
    with pytest.raises(SampleError, match="one of each per row"):
        ConstrainedClassifier(LogisticRegression()).fit(x, y[:5], group)
    with pytest.raises(SampleError, match="a gap needs two"):
        ConstrainedClassifier(LogisticRegression()).fit(x, y, np.full(100, "a"))
    monkeypatch.setitem(sys.modules, "fairlearn.reductions", None)
    with pytest.raises(SettingsError, match=r"fairlearn is not installed; pip install"):
        ConstrainedClassifier(LogisticRegression()).fit(x, y, group)
