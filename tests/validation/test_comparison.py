"""Laws of the paired comparison."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import Status
from within_pipelines.validation import compare_paired, mcnemar_exact


def judged(rng: np.random.Generator, gain: float, *, margin: float = 0.05, lower: bool = False) -> Status:
    clusters = np.repeat(np.arange(80), 5)
    champion = rng.normal(size=400)
    challenger = champion + gain + rng.normal(scale=0.1, size=80)[clusters] + rng.normal(scale=0.3, size=400)
    verdict = compare_paired(challenger, champion, clusters, margin=margin, rng=rng, higher_is_better=not lower, n_resamples=300)
    return verdict.status


def test_a_challenger_at_the_margin_passes_at_most_at_the_nominal_rate_and_an_equal_one_passes() -> None:
    # One-sided 2.5 %: 400 repetitions, + three standard errors (.0078) = .048 with the bootstrap's own error.
    rng = np.random.default_rng(61)
    outcomes = [judged(rng, -0.05) for _ in range(400)]
    assert np.mean([o is Status.PASSED for o in outcomes]) <= 0.05
    assert np.mean([o is Status.FAILED for o in outcomes]) <= 0.05
    assert np.mean([judged(rng, 0.03) is Status.PASSED for _ in range(60)]) >= 0.9
    assert np.mean([judged(rng, -0.2) is Status.FAILED for _ in range(60)]) >= 0.9


def test_a_loss_is_better_when_it_is_lower() -> None:
    rng = np.random.default_rng(62)
    assert judged(rng, -0.3, lower=True) is Status.PASSED
    assert judged(rng, 0.3, lower=True) is Status.FAILED


def test_few_clusters_are_insufficient_and_a_champion_is_not_inferior_to_itself() -> None:
    rng = np.random.default_rng(63)
    few = compare_paired(np.ones(100), np.zeros(100), np.arange(100) % 5, margin=0.1, rng=rng)
    assert few.status is Status.INSUFFICIENT
    same = compare_paired(np.arange(50.0), np.arange(50.0), np.arange(50), margin=0.0, rng=rng)
    assert same.passed
    assert same.evidence["rows"] == 50
    assert same.gate == "champion_comparison"


answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(answers)
def test_mcnemar_equals_statsmodels(pairs: list[tuple[bool, bool]]) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    ours = mcnemar_exact(a, b)
    if ours.only_challenger + ours.only_champion == 0:
        assert ours.p_value == 1.0
        return
    table = [[0, ours.only_challenger], [ours.only_champion, 0]]
    assert ours.p_value == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)
    assert mcnemar_exact(b, a).p_value == pytest.approx(ours.p_value)


def test_mcnemar_keeps_its_size() -> None:
    rng = np.random.default_rng(64)
    p_values = [mcnemar_exact(rng.random(80) < 0.7, rng.random(80) < 0.7).p_value for _ in range(500)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.06
    assert mcnemar_exact(np.ones(30), np.zeros(30)).p_value < 1e-8


def test_refusals() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(SampleError, match="margin is -1"):
        compare_paired([1.0, 2.0], [1.0, 2.0], [1, 2], margin=-1, rng=rng)
    with pytest.raises(SampleError, match="same rows in both"):
        mcnemar_exact([1], [1, 0])
    with pytest.raises(SampleError, match="something else than 0 and 1"):
        mcnemar_exact([0.5], [1])
