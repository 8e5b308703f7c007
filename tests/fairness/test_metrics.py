"""Laws of the gaps between groups."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import demographic_parity_difference, demographic_parity_ratio, group_means

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


def test_nobody_selected_is_parity() -> None:
    assert demographic_parity_ratio([0, 0], ["a", "b"]) == 1.0
    assert group_means([1.0, 3.0, 5.0], [1, 1, 2]) == {"1": 2.0, "2": 5.0}


def test_refusals() -> None:
    with pytest.raises(SampleError, match="1 of 2 selections are neither 0 nor 1"):
        demographic_parity_difference([0.5, 1], ["a", "b"])
    with pytest.raises(SampleError, match="1 of 2 values are not finite"):
        group_means([float("nan"), 1], ["a", "b"])
    with pytest.raises(SampleError, match="one of each per row"):
        group_means([1.0], ["a", "b"])
