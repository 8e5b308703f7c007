"""Laws of the stability report and its gate."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.robustness import (
    Expectation,
    Perturbation,
    Perturbed,
    StabilityReport,
    feed_faults,
    missing_column,
    shuffled_rows,
    stability_report,
    text_perturbations,
    typos,
)
from within_pipelines.robustness.stability import rank_correlation
from within_pipelines.stats import Status

WORDS = ["shoes", "winter", "coats", "people", "love", "secret", "seven", "family", "sale", "today", "never", "again"]


def ads(n: int = 120) -> pl.DataFrame:
    rng = np.random.default_rng(8)
    texts = [" ".join(rng.choice(WORDS, size=int(rng.integers(3, 8)))).capitalize() + "." for _ in range(n)]
    return pl.DataFrame({"headline": texts, "impressions": rng.integers(100, 9000, n), "group_id": [f"g{i // 4}" for i in range(n)]})


def length(rows: pl.DataFrame) -> np.ndarray:
    return rows["headline"].str.count_matches(r"\p{L}").to_numpy().astype(float)


def brittle(rows: pl.DataFrame) -> np.ndarray:
    """Knows words only as they are spelled."""
    return np.array([100.0 * sum(word in text for word in WORDS[:6]) for text in rows["headline"].to_list()])


def report_of(predict, rows: pl.DataFrame | None = None, **options) -> StabilityReport:
    made = {"perturbations": (*text_perturbations(("headline",)), *feed_faults(("impressions",), units=("impressions",))), "tolerance": 1.0}
    return stability_report(predict, ads() if rows is None else rows, rng=np.random.default_rng(9), **(made | options))


def test_a_constant_model_cannot_be_broken() -> None:
    report = report_of(lambda rows: np.full(len(rows), 42.0), tolerance=0.0)
    assert report.verdict().passed
    for result in report.results:
        assert result.largest_change == 0
        for estimate in (result.mean_change, result.p95_change):
            assert estimate is not None
            assert (estimate.low, estimate.value, estimate.high) == (0, 0, 0)
        assert result.rank_stability is not None
        assert result.rank_stability.value == 1


def test_a_model_that_only_counts_letters_is_stable_and_one_that_spells_is_not() -> None:
    sound = report_of(length, tolerance=1.5)
    assert sound.verdict().passed
    fragile = report_of(brittle).verdict()
    assert fragile.status is Status.FAILED
    assert "typos: " in fragile.reason
    assert fragile.estimate is not None
    assert fragile.estimate.low > 0.1


@pytest.mark.parametrize(
    ("cheat", "named"),
    [
        (lambda rows: np.arange(len(rows), dtype=float), "row order"),
        (lambda rows: length(rows) - length(rows).mean(), "duplicated rows"),
        (lambda rows: length(rows) / len(rows), "duplicated rows"),
    ],
)
def test_order_and_repetition_of_rows_carry_no_information(cheat, named: str) -> None:
    report = report_of(cheat, perturbations=feed_faults(), tolerance=1e9)
    verdict = report.verdict()
    assert verdict.status is Status.FAILED
    assert named in verdict.reason
    assert verdict.evidence["outcome"][named] == "failed"


def test_a_model_that_does_not_answer_fails_and_one_that_refuses_a_lost_column_does_not() -> None:
    def raising(rows: pl.DataFrame) -> np.ndarray:
        raise RuntimeError("no such model")

    broken = report_of(raising)
    assert broken.verdict().status is Status.FAILED
    assert "no such model" in broken.verdict().reason
    needs = lambda rows: length(rows) + 0 * rows["impressions"].fill_null(0).to_numpy()
    assert report_of(needs, tolerance=1.5).verdict().passed
    silent = lambda rows: np.full(len(rows), np.nan if "impressions" not in rows.columns else 1.0)
    verdict = report_of(silent).verdict()
    assert verdict.status is Status.FAILED
    assert "impressions dropped: the model answered with 120 of 120 numbers that are not finite" in verdict.reason
    nan_on_null = lambda rows: (
        length(rows) + 0 * rows["impressions"].cast(pl.Float64).to_numpy() if "impressions" in rows.columns else length(rows)
    )
    assert "impressions partly missing" in report_of(nan_on_null).verdict().reason


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(0, 10_000))
def test_planted_changes_are_measured_exactly(share: float, seed: int) -> None:
    """A perturbation that adds 1 to a known share of rows moves that share, by 1."""
    hit = np.random.default_rng(seed).random(200) < share
    planted = Perturbation(
        "plus one", Expectation.STABLE, lambda rows, rng: Perturbed(rows.with_columns(x=rows["x"] + hit), np.arange(len(rows)))
    )
    rows = pl.DataFrame({"x": np.arange(200.0)})
    report = stability_report(lambda r: r["x"], rows, [planted], rng=np.random.default_rng(1), tolerance=0.5, n_resamples=100)
    (result,) = report.results
    assert result.share_beyond is not None
    assert result.mean_change is not None
    assert result.share_beyond.value == pytest.approx(hit.mean())
    assert result.mean_change.value == pytest.approx(hit.mean())
    assert result.share_beyond.low < result.share_beyond.high


def test_the_gate_errs_at_most_at_the_nominal_rate_and_finds_what_is_certain() -> None:
    """It never fails what keeps the limit nor passes what moves twice as many; between the two it passes or asks for more."""
    rng = np.random.default_rng(70)
    outcomes = {0.1: [], 0.2: [], 0.3: [], 0.02: []}
    for share, found in outcomes.items():
        for _ in range(100):
            hit = rng.random(300) < share
            planted = Perturbation(
                "p", Expectation.STABLE, lambda rows, rng, hit=hit: Perturbed(rows.with_columns(x=rows["x"] + hit), np.arange(300))
            )
            rows = pl.DataFrame({"x": np.zeros(300)})
            report = stability_report(lambda r: r["x"], rows, [planted], rng=rng, tolerance=0.5, n_resamples=100)
            found.append(report.verdict(limit=0.1).status)
    assert np.mean([s is Status.FAILED for s in outcomes[0.1]]) <= 0.09
    assert np.mean([s is Status.PASSED for s in outcomes[0.2]]) <= 0.05
    assert np.mean([s is Status.FAILED for s in outcomes[0.3]]) >= 0.95
    assert np.mean([s is Status.PASSED for s in outcomes[0.02]]) >= 0.95


def test_few_units_and_no_question_are_insufficient() -> None:
    few = report_of(lambda rows: np.ones(len(rows)), ads(20))
    assert few.verdict().status is Status.INSUFFICIENT
    unasked = report_of(length, perturbations=[shuffled_rows()])
    assert unasked.verdict().status is Status.INSUFFICIENT
    assert "No perturbation asked" in unasked.verdict().reason
    grouped = report_of(length, clusters="group_id", tolerance=1.5)
    assert grouped.n_units == 30


def test_rank_correlation_equals_scipys() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(4)
    for _ in range(20):
        a, b = rng.integers(0, 9, 40).astype(float), rng.normal(size=40)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(np.ones(3), np.ones(3)) == 1.0
    assert rank_correlation(np.ones(3), np.arange(3.0)) == 0.0


def test_the_worst_case_in_money_is_the_dearest_row_that_moved() -> None:
    rows = pl.DataFrame({"headline": ["Shoes", "Tea", "Coats", "Read"]})
    spent = pl.DataFrame({"amount": [10.0, 40.0, 30.0, None], "currency": ["EUR", "EUR", "USD", "USD"]})
    lost = Perturbation("all but the second", Expectation.STABLE, lambda table, rng: Perturbed(
        table.with_columns(headline=pl.when(pl.col("headline") == "Tea").then("headline").otherwise(pl.lit("")))[::-1],
        np.arange(table.height)[::-1],
    ))  # fmt: skip
    report = stability_report(
        lambda t: t["headline"].str.len_chars().cast(pl.Float64), rows, [lost], rng=np.random.default_rng(1), tolerance=1.0, at_stake=spent
    )
    assert report.results[0].money == {"EUR": 10.0, "USD": 30.0}
    with pytest.raises(SampleError, match="at_stake has 1 rows for 4"):
        stability_report(lambda t: t, rows, [], rng=np.random.default_rng(1), tolerance=1.0, at_stake=spent.head(1))


def test_equal_seeds_give_equal_reports_and_the_report_is_a_table() -> None:
    assert report_of(brittle) == report_of(brittle)
    frame = report_of(brittle, perturbations=[typos(("headline",)), missing_column("headline")]).to_frame()
    assert frame["name"].to_list() == ["typos", "headline dropped"]
    assert frame["mean_change"].is_null().to_list() == [False, True]
    assert "raised ColumnNotFoundError" in frame["fault"][1]


def test_refusals() -> None:
    with pytest.raises(SampleError, match="tolerance is -1"):
        report_of(length, tolerance=-1)
    with pytest.raises(SampleError, match="different names"):
        report_of(length, perturbations=[shuffled_rows(), shuffled_rows()])
    with pytest.raises(SampleError, match="at least two units"):
        report_of(length, ads(1))
    with pytest.raises(SchemaError, match="no cluster column 'account'"):
        report_of(length, clusters="account")
