"""Laws of the gaps between groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import (
    calibration_gap,
    calibration_within_groups,
    consistency,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equal_opportunity_ratio,
    equalized_odds_difference,
    equalized_odds_ratio,
    exposure_parity,
    group_means,
    predictive_parity_difference,
    predictive_parity_ratio,
    score_gap,
)

rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abcd")), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(rows)
@pytest.mark.filterwarnings("ignore")
def test_both_equal_fairlearns(drawn: list[tuple[int, str]]) -> None:
    from fairlearn.metrics import demographic_parity_difference as theirs
    from fairlearn.metrics import demographic_parity_ratio as their_ratio

    selected, groups = [s for s, _ in drawn], [g for _, g in drawn]
    ours = demographic_parity_difference(selected, groups)
    assert ours == pytest.approx(theirs(selected, selected, sensitive_features=groups), abs=1e-9)
    if any(selected):
        ratio = demographic_parity_ratio(selected, groups)
        assert ratio == pytest.approx(their_ratio(selected, selected, sensitive_features=groups), abs=1e-9)


labelled = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from("abc")), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(labelled)
@pytest.mark.filterwarnings("ignore")
def test_conditional_rates_equal_fairlearns(drawn: list[tuple[int, int, str]]) -> None:
    from fairlearn import metrics as theirs

    y, d, g = [row[0] for row in drawn], [row[1] for row in drawn], [row[2] for row in drawn]
    same = [
        (equal_opportunity_difference, theirs.equal_opportunity_difference),
        (equalized_odds_difference, theirs.equalized_odds_difference),
    ]
    for ours, reference in same:
        assert ours(y, d, g) == pytest.approx(reference(y, d, sensitive_features=g), abs=1e-9)
    ratio = theirs.equal_opportunity_ratio(y, d, sensitive_features=g)
    assert equal_opportunity_ratio(y, d, g) == pytest.approx(1.0 if ratio != ratio else ratio, abs=1e-9)
    odds = theirs.equalized_odds_ratio(y, d, sensitive_features=g)
    if odds == odds:
        assert equalized_odds_ratio(y, d, g) == pytest.approx(odds, abs=1e-9)
    frame = theirs.MetricFrame(metrics=theirs.selection_rate, y_true=y, y_pred=d, sensitive_features=g)
    assert demographic_parity_difference(d, g) == pytest.approx(frame.difference(), abs=1e-9)


def test_precision_calibration_and_scores_by_hand() -> None:
    assert predictive_parity_difference([1, 0, 1, 1, 0], [1, 1, 1, 0, 0], ["a", "a", "b", "b", "c"]) == 1.0
    # Precision is 1/2 among a, 1 among b; among c nobody is selected.
    assert predictive_parity_ratio([1, 0, 1], [1, 1, 1], ["a", "a", "b"]) == 0.5
    assert predictive_parity_ratio([1, 0, 1, 0], [1, 1, 1, 0], ["a", "a", "b", "c"]) == 0.0
    assert calibration_gap([1, 0, 0, 0], [0.5, 0.5, 0.3, 0.3], ["a", "a", "b", "b"]) == pytest.approx(0.3)
    assert score_gap([1, 2, 9], ["a", "a", "b"]) == 7.5
    assert exposure_parity([60, 40], ["a", "b"], merit=[60, 40]) == pytest.approx({"a": 1.0, "b": 1.0})


def test_probabilities_that_are_too_bold_in_one_group_have_the_right_mean_and_are_found() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(["a", "b"], 4000)
    truth = rng.uniform(0.3, 0.7, size=8000)
    y = (rng.random(8000) < truth).astype(float)
    bold = np.where(g == "b", np.clip(0.5 + 2.4 * (truth - 0.5), 0, 1), truth)
    assert calibration_gap(y, bold, g) < 0.03
    found = calibration_within_groups(y, bold, g)
    assert found["a"] < 0.03
    # Bold by 1.4 times a uniform spread of .4 / sqrt(12).
    assert found["b"] == pytest.approx(1.4 * 0.4 / 12**0.5, abs=0.03)
    with pytest.raises(SampleError, match=r"Too few rows for 5 bins of ten: b \(2\)"):
        calibration_within_groups(np.ones(52), np.ones(52), ["a"] * 50 + ["b"] * 2)
    with pytest.raises(SampleError, match=r"in \[0, 1\]"):
        calibration_within_groups([1, 0], [0.5, 7.0], ["a", "a"], bins=1)


def test_alike_rows_scored_apart_are_inconsistent() -> None:
    x = [[0.0], [0.01], [0.02], [9.0], [9.01], [9.02]]
    assert consistency(x, [0.1, 0.1, 0.1, 0.8, 0.8, 0.8], neighbours=2) == 1.0
    assert consistency(x, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0], neighbours=2) < 0.5
    assert consistency([[1.0]] * 6, [1.0] * 6, neighbours=2) == 1.0


def test_nobody_selected_is_parity() -> None:
    assert demographic_parity_ratio([0, 0], ["a", "b"]) == 1.0
    assert group_means([1.0, 3.0, 5.0], [1, 1, 2]) == {"1": 2.0, "2": 5.0}


def test_refusals() -> None:
    with pytest.raises(SampleError, match="1 of 2 selections are neither 0 nor 1"):
        demographic_parity_difference([0.5, 1], ["a", "b"])
    with pytest.raises(SampleError, match="1 of 2 values are not finite"):
        group_means([float("nan"), 1], ["a", "b"])
    with pytest.raises(SampleError, match="1 of 2 outcomes"):
        equal_opportunity_difference([0.5, 1], [1, 1], ["a", "b"])
    with pytest.raises(SampleError, match="adds up to nothing"):
        exposure_parity([0, 0], ["a", "b"])
    with pytest.raises(SampleError, match="more than 5"):
        consistency([[1.0]], [0.5])
    with pytest.raises(SampleError, match=r"outside \[0, 1\]"):
        consistency([[1.0]] * 9, [50.0] * 9)
    with pytest.raises(SampleError, match="one of each per row"):
        calibration_gap([1], [0.5, 0.5], ["a", "b"])
    with pytest.raises(SampleError, match="one of each per row"):
        group_means([1.0], ["a", "b"])
