"""Measures of predictions agree with hand calculations and with scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.prediction.metrics import auroc, brier_skill, debiased_ece, log_loss, reliability_table, spearman

RNG = np.random.default_rng(1)
P = np.round(RNG.random(400), 2)  # rounded, so that there are ties
Y = (RNG.random(400) < P).astype(float)


def test_they_agree_with_the_reference_libraries() -> None:
    from scipy.stats import spearmanr
    from sklearn import metrics

    assert auroc(Y, P) == pytest.approx(metrics.roc_auc_score(Y, P), abs=1e-12)
    assert log_loss(Y, P) == pytest.approx(metrics.log_loss(Y, np.clip(P, 1e-12, 1 - 1e-12)), abs=1e-9)
    rate = np.full(400, Y.mean())
    assert brier_skill(Y, P) == pytest.approx(1 - metrics.brier_score_loss(Y, P) / metrics.brier_score_loss(Y, rate), abs=1e-12)
    assert spearman(P, Y) == pytest.approx(spearmanr(P, Y).statistic, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40), st.randoms())
def test_auroc_is_the_share_of_right_pairs_whatever_the_order_of_rows(rows: list[tuple[bool, int]], random: object) -> None:
    y, s = (np.array([float(r[i]) for r in rows]) for i in (0, 1))
    pairs = [(a > b) + 0.5 * (a == b) for a in s[y > 0.5] for b in s[y < 0.5]]
    found = auroc(y, s)
    if not pairs:
        assert math.isnan(found)
        return
    assert found == pytest.approx(np.mean(pairs))
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert auroc(np.array([float(r[0]) for r in rows]), np.array([float(r[1]) for r in rows])) == pytest.approx(found)
    assert auroc(y, -s) == pytest.approx(1 - found)
    assert auroc(y, np.exp(s)) == pytest.approx(found)


def test_brier_skill_of_the_truth_a_constant_and_the_opposite() -> None:
    y = np.array([0.0, 1.0, 1.0, 0.0])
    assert brier_skill(y, y) == 1
    assert brier_skill(y, np.full(4, 0.5)) == 0
    assert brier_skill(y, 1 - y) == -3
    assert brier_skill(y, np.full(4, 0.5), reference=0.25) == pytest.approx(1 - 0.25 / 0.3125)
    assert math.isnan(brier_skill(np.ones(3), np.ones(3)))


def test_a_coin_costs_log_two_and_certainty_in_the_wrong_stays_finite() -> None:
    assert log_loss(np.array([0.0, 1.0]), np.array([0.5, 0.5])) == pytest.approx(math.log(2))
    assert 20 < log_loss(np.array([0.0]), np.array([1.0])) < 40


def test_the_reliability_table_by_hand() -> None:
    table = reliability_table(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.7, 0.9]), bins=2)
    assert table["predicted"].to_list() == pytest.approx([0.15, 0.8])
    assert table["observed"].to_list() == [0.5, 1.0]
    assert table["n"].to_list() == [2, 2]


def test_the_reliability_table_counts_every_row_and_bears_a_constant() -> None:
    assert reliability_table(Y, P)["n"].sum() == 400
    constant = reliability_table(Y, np.full(400, 0.3))
    assert constant["n"].to_list() == [400]
    assert constant["observed"][0] == pytest.approx(Y.mean())


def test_calibration_error_finds_a_planted_shift_and_little_where_there_is_none() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.6, 20_000)
    honest = (rng.random(p.size) < p).astype(float)
    shifted = (rng.random(p.size) < p + 0.2).astype(float)
    assert debiased_ece(honest, p) < 0.015
    assert debiased_ece(shifted, p) == pytest.approx(0.2, abs=0.015)


def test_calibration_error_by_hand() -> None:
    # One bin: gap .5 - .25; chance .25 / 3.
    assert debiased_ece(np.array([0.0, 1.0, 0.0, 1.0]), np.full(4, 0.0), bins=2) == pytest.approx(math.sqrt(0.25 - 0.25 / 3))


def test_rank_correlation_sees_order_alone() -> None:
    x = np.array([1.0, 2.0, 3.0, 9.0])
    assert spearman(x, x**3) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    assert math.isnan(spearman(x, np.ones(4)))
