"""Laws of permutation tests."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import permutation_p_value, permute_clusters, two_sample_permutation


def mean_gap(values: np.ndarray):
    return lambda mask: abs(values[mask].mean() - values[~mask].mean())


def test_the_smallest_p_value_is_one_over_one_more_than_the_permutations() -> None:
    assert permutation_p_value(10.0, np.zeros(99)) == 0.01
    assert permutation_p_value(-10.0, np.zeros(99), alternative="less") == 0.01
    assert permutation_p_value(10.0, np.zeros(99), alternative="two-sided") == 0.02
    assert permutation_p_value(0.0, np.zeros(99)) == 1.0


def test_a_hand_calculation_of_all_alternatives() -> None:
    null = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert permutation_p_value(3.0, null) == pytest.approx(3 / 6)
    assert permutation_p_value(3.0, null, alternative="less") == pytest.approx(5 / 6)
    assert permutation_p_value(3.0, null, alternative="two-sided") == 1.0


def test_agreement_with_scipys_permutation_test() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(3)
    x, y = rng.normal(0.6, 1, 25), rng.normal(0, 1, 30)
    values, second = np.concatenate([y, x]), np.arange(55) >= 30
    ours = two_sample_permutation(lambda mask: float(values[mask].mean() - values[~mask].mean()), second, rng=rng, n_permutations=4000)
    theirs = permutation_test(
        (x, y), lambda a, b: a.mean() - b.mean(), n_resamples=4000, alternative="greater", rng=np.random.default_rng(4)
    )
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_size_is_nominal_on_clustered_rows_and_power_is_high() -> None:
    # 400 repetitions at .1: .1 +- .045 is three standard errors. Permuting rows instead of clusters rejects most of the time.
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(20), 15)
    second = clusters % 2 == 1
    rejected = {"null": 0, "effect": 0, "rows": 0}
    for _ in range(400):
        values = rng.normal(size=20)[clusters] + rng.normal(scale=0.3, size=300)
        rejected["null"] += two_sample_permutation(mean_gap(values), second, clusters=clusters, rng=rng, n_permutations=99).p_value <= 0.1
        shifted = values + 2 * second
        rejected["effect"] += (
            two_sample_permutation(mean_gap(shifted), second, clusters=clusters, rng=rng, n_permutations=99).p_value <= 0.1
        )
        if _ < 100:
            rejected["rows"] += two_sample_permutation(mean_gap(values), second, rng=rng, n_permutations=99).p_value <= 0.1
    assert 0.055 <= rejected["null"] / 400 <= 0.145
    assert rejected["effect"] / 400 > 0.9
    assert rejected["rows"] / 100 > 0.4


def test_labels_stay_in_their_stratum_and_their_counts_stay() -> None:
    rng = np.random.default_rng(9)
    clusters = np.repeat(np.arange(40), 3)
    labels, strata = clusters % 3, clusters % 2
    moved = 0
    for _ in range(20):
        permuted = permute_clusters(labels, clusters, rng=rng, strata=strata)
        moved += int(np.sum(permuted != labels))
        for stratum in (0, 1):
            assert sorted(permuted[strata == stratum].tolist()) == sorted(labels[strata == stratum].tolist())
        assert all(len(set(permuted[clusters == c].tolist())) == 1 for c in range(40))
    assert moved > 500


def test_every_arrangement_is_equally_likely() -> None:
    rng = np.random.default_rng(10)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        arrangement = tuple(permute_clusters([0, 0, 1, 1], range(4), rng=rng).tolist())
        counts[arrangement] = counts.get(arrangement, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 1000) < 120 for count in counts.values())  # four standard errors of 29


def test_the_null_quantile_is_what_chance_reaches() -> None:
    values = np.random.default_rng(1).normal(size=200)
    test = two_sample_permutation(mean_gap(values), np.arange(200) < 100, rng=np.random.default_rng(2))
    assert test.quantile(0.95) == pytest.approx(1.96 * np.sqrt(2 / 100) * values.std(), rel=0.15)
    assert test.n_units == 200


def test_refusals_name_the_numbers() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(SampleError, match="1 rows carry another label"):
        permute_clusters([0, 1, 1], ["a", "a", "b"], rng=rng)
    with pytest.raises(SampleError, match="1 rows lie in another stratum"):
        permute_clusters([0, 0, 1], ["a", "a", "b"], rng=rng, strata=[0, 1, 1])
    with pytest.raises(SampleError, match="both samples need rows"):
        two_sample_permutation(lambda mask: 0.0, [True, True], rng=rng)
    with pytest.raises(SampleError, match="non-empty flat finite null"):
        permutation_p_value(1.0, [])
