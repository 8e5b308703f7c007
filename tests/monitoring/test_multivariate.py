"""Many features together: stated false alarms on accounts, the moved feature is named, and samples are said to be samples."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import (
    DriftState,
    classifier_two_sample,
    least_squares_density_difference,
    maximum_mean_discrepancy,
    standardised,
    text_drift,
)

KERNELS = [maximum_mean_discrepancy, least_squares_density_difference]


def rows(rng: np.random.Generator, accounts: np.ndarray, n: int, icc: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(accounts, n)
    level = rng.normal(size=(int(accounts.max()) + 1, 2))
    return labels, np.sqrt(icc) * level[labels] + np.sqrt(1 - icc) * rng.normal(size=(len(labels), 2))


@pytest.mark.parametrize("detect", KERNELS)
@pytest.mark.parametrize("clustered", [True, False])
def test_false_alarms_stay_at_the_stated_rate(detect, clustered: bool) -> None:
    rng = np.random.default_rng(1)
    raised = 0
    for _ in range(150):
        a, x = rows(rng, np.arange(24), 4)
        b, y = rows(rng, np.arange(24, 48), 4)
        clusters = {"reference_clusters": a, "current_clusters": b} if clustered else {}
        if not clustered:
            x, y = rng.normal(size=(2, 60, 2))
        raised += detect(x, y, rng=rng, n_permutations=99, minimum_effect=0.0, **clusters).p_value <= 0.05
    # 150 runs at .05 have a standard error of .018.
    assert raised / 150 <= 0.05 + 2 * 0.018


def test_the_classifier_keeps_its_rate_and_sees_what_one_feature_cannot_show() -> None:
    rng = np.random.default_rng(2)
    raised = 0
    for _ in range(80):
        # The same accounts in both windows, with another level in each: what is learned of one half must not answer for the other.
        a, x = rows(rng, np.arange(20), 8)
        b, y = rows(rng, np.arange(20), 8)
        raised += classifier_two_sample(x, y, rng=rng, reference_clusters=a, current_clusters=b, n_permutations=99).p_value <= 0.1
    # 80 runs at .1 have a standard error of .034.
    assert raised / 80 <= 0.1 + 2 * 0.034
    x = rng.normal(size=(300, 2))
    flipped = np.column_stack([x[:, 0], 0.9 * x[:, 0] + 0.4 * x[:, 1]])
    found = classifier_two_sample(
        np.column_stack([x[:, 0], -flipped[:, 1]]), flipped, rng=rng, boosted=True, names=["a", "b"], n_permutations=99
    )
    assert found.state is DriftState.DRIFTED
    assert found.statistic > 0.7


@pytest.mark.parametrize("detect", KERNELS)
@pytest.mark.parametrize("clustered", [True, False])
def test_a_sample_in_which_a_shift_could_hide_is_not_called_calm(detect, clustered: bool) -> None:
    rng = np.random.default_rng(7)

    def ask(n: int, shift: float, permutations: int = 199):
        clusters = {"reference_clusters": np.arange(n), "current_clusters": n + np.arange(n)} if clustered else {}
        return detect(rng.normal(size=(n, 1)), shift + rng.normal(size=(n, 1)), rng=rng, n_permutations=permutations, **clusters)

    small = [ask(8, 1.0) for _ in range(200)]
    assert DriftState.STABLE not in {found.state for found in small}
    assert all(found.detectable > found.threshold for found in small)
    large = ask(900, 0.0)
    assert (large.state, large.detectable <= large.threshold) == (DriftState.STABLE, True)
    # So few draws can never be significant.
    unseen = ask(900, 0.0, permutations=9)
    assert (unseen.state, unseen.detectable) == (DriftState.INSUFFICIENT, None)


def test_a_few_texts_are_not_called_calm() -> None:
    rng = np.random.default_rng(8)
    words = np.array(["warm", "coats", "fine", "shoes", "hats", "save"])
    few = [" ".join(rng.choice(words, 3)) for _ in range(16)]
    embed = lambda texts: np.array([[t.count(word) for word in words] for t in texts], dtype=float)
    assert text_drift(few[:8], few[8:], embed=embed, rng=rng).state is DriftState.INSUFFICIENT


@pytest.mark.parametrize("detect", [maximum_mean_discrepancy, classifier_two_sample])
def test_the_feature_that_moved_has_the_largest_share(detect) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 300, 3))
    found = detect(x, y + np.array([0, 1.0, 0]), rng=rng, names=["a", "b", "c"], n_permutations=99)
    assert found.drifted
    assert found.attribution[0][0] == "b"
    assert sum(share for _, share in found.attribution) == pytest.approx(1.0)


def test_large_windows_are_sampled_and_said_to_be() -> None:
    rng = np.random.default_rng(4)
    found = maximum_mean_discrepancy(rng.normal(size=3000), rng.normal(size=50), rng=rng, most_rows=200, n_permutations=49)
    assert (found.n_reference, found.rows_reference, found.n_current, found.rows_current) == (200, 3000, 50, 50)


def test_texts_are_compared_by_what_they_are_embedded_as() -> None:
    rng = np.random.default_rng(5)
    embed = lambda texts: np.array([[len(t), t.count("sale")] for t in texts], dtype=float)
    calm = ["winter coats", "summer shoes", "good hats"] * 15
    assert not text_drift(calm, calm[::-1], embed=embed, rng=rng).drifted
    assert text_drift(calm, [f"sale sale {t}" for t in calm], embed=embed, rng=rng).drifted
    with pytest.raises(SampleError, match=r"shape \(2, 1\) for 45 texts"):
        text_drift(calm, calm, embed=lambda texts: np.zeros((2, 1)), rng=rng)


def test_missing_values_and_constants_are_standardised_away() -> None:
    old, new = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]]), np.array([[np.nan, 9.0]])
    made = standardised(old, new)
    assert made[0][:, 0].tolist() == [-1.0, 1.0, 0.0]
    assert made[1].tolist() == [[0.0, 0.0]]


def test_unfit_windows_are_refused_and_few_accounts_insufficient() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(40, 2))
    with pytest.raises(SampleError, match="at least four rows"):
        maximum_mean_discrepancy(x, x[:2], rng=rng)
    with pytest.raises(SampleError, match="1 values are not finite"):
        maximum_mean_discrepancy(x, np.where(x == x[0, 0], np.nan, x), rng=rng)
    with pytest.raises(SampleError, match="of neither"):
        maximum_mean_discrepancy(x, x, rng=rng, reference_clusters=np.arange(40))
    with pytest.raises(SampleError, match="2 clusters cannot be halved"):
        classifier_two_sample(x, x, rng=rng, reference_clusters=np.zeros(40), current_clusters=np.ones(40))
    few = np.arange(40) % 6
    found = maximum_mean_discrepancy(x, x + 9, rng=rng, reference_clusters=few, current_clusters=few, n_permutations=49)
    assert (found.state, found.n_clusters) == (DriftState.INSUFFICIENT, 6)
    assert "Only 6 accounts" in found.reason
    assert (
        "eight" in least_squares_density_difference(x, x, rng=rng, reference_clusters=few, current_clusters=few, n_permutations=49).reason
    )
    with pytest.raises(SampleError, match="too few for centres"):
        least_squares_density_difference(x[:6], x, rng=rng)
