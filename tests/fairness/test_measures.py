"""Measures are ratios of sums that equal the textbook's rates."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import Measure, Role, classification_measures


def test_rates_equal_a_count_by_hand() -> None:
    outcome, selected = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 1])
    found = {m.name: m.numerator.sum() / m.denominator.sum() for m in classification_measures(outcome, selected)}
    expected = {"selection_rate": 3 / 5, "true_positive_rate": 2 / 3, "false_positive_rate": 1 / 2, "precision": 2 / 3}
    assert found == pytest.approx(expected)


def test_the_caller_says_which_measure_decides_and_at_what() -> None:
    found = classification_measures([0, 1], [1, 1], required=("precision",), thresholds={"precision": 0.3})
    assert [m.name for m in found if m.role is Role.REQUIRED] == ["precision"]
    assert {m.name: m.threshold for m in found}["precision"] == 0.3


def test_refusals() -> None:
    with pytest.raises(SampleError, match="1 of 2 outcomes are neither 0 nor 1"):
        classification_measures([0.5, 1], [1, 1])
    with pytest.raises(SampleError, match="one of each per row"):
        classification_measures([1, 1], [1])
    with pytest.raises(SampleError, match="at least one row"):
        Measure("m", np.array([]), np.array([]), 1.0)
