"""Proof by mutation: replace a gate, a detector or a test of significance by a constant, and a law fails.

Each law takes the implementation as an argument and asserts what must hold of it. The real one passes; every mutant must fail. A law that
a constant could satisfy would be no law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.monitoring.laws import DESCRIBERS, DETECTORS
from within_pipelines import fairness, monitoring, robustness, stats, validation
from within_pipelines.monitoring import DriftState
from within_pipelines.stats import Estimate, Status, Verdict

GOLDEN = Path(__file__).resolve().parent.parent / "data" / "golden"


def always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def verdicts() -> list[Callable[..., Any]]:
    """A gate that gives the same verdict whatever it is shown, one for each verdict."""
    estimate = Estimate(0.5, 0.4, 0.6, n=1000)
    return [always(Verdict("gate", status, estimate, 0.5, {"units": 1000}, "constant")) for status in Status]


def status_of(answer: Any) -> Status:
    status: Status = (answer.verdict() if hasattr(answer, "verdict") else answer).status
    return status


def law_permutation_p_value(p_value) -> None:
    rng = np.random.default_rng(1)
    found = [p_value(rng.normal(), rng.normal(size=99)) for _ in range(400)]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.05)
    assert p_value(10.0, rng.normal(size=99)) == 0.01  # and never 0


def law_two_sample_permutation(test) -> None:
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(20), 10)
    second = clusters % 2 == 1
    found = []
    for _ in range(60):
        y = rng.normal(size=20)[clusters]
        gap = lambda mask, y=y: abs(y[mask].mean() - y[~mask].mean())
        found.append(test(gap, second, rng=rng, clusters=clusters, n_permutations=49).p_value)
    assert np.mean(np.array(found) <= 0.1) <= 0.25
    assert np.mean(np.array(found) <= 0.6) >= 0.3
    shifted = second * 9.0
    assert test(lambda mask: abs(shifted[mask].mean() - shifted[~mask].mean()), second, rng=rng, clusters=clusters).p_value < 0.01


def law_two_proportion_z(test) -> None:
    assert test(500, 1000, 500, 1000).p_value == pytest.approx(1.0)
    assert test(600, 1000, 400, 1000).p_value < 1e-9
    assert test(60, 100, 40, 100).p_value == pytest.approx(0.00468, abs=1e-4)


def law_benjamini_hochberg(adjust) -> None:
    assert adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert np.all(adjust([0.9] * 5) > 0.5)


def law_holm(adjust) -> None:
    assert adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert np.all(adjust([0.9] * 5) > 0.5)


def law_interval_of_clusters(mean) -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(12), 20)
    covered, width = 0, []
    for _ in range(150):
        values = 3 + rng.normal(size=12)[labels] + rng.normal(scale=0.1, size=240)
        estimate = mean(values, labels, rng)
        covered += estimate.low <= 3 <= estimate.high
        width.append(estimate.high - estimate.low)
    assert covered / 150 >= 0.88
    assert np.mean(width) < 2  # covering by being useless does not count


def law_two_way_interval(mean) -> None:
    rng = np.random.default_rng(31)
    unit, week = np.repeat(np.arange(12), 10), np.tile(np.arange(10), 12)
    covered = []
    for trial in range(60):
        # Now units share the most, now weeks do: both must count.
        of_unit, of_week = (1.5, 0.3) if trial % 2 else (0.3, 1.5)
        values = of_unit * rng.normal(size=12)[unit] + of_week * rng.normal(size=10)[week] + 0.3 * rng.normal(size=120)
        found = mean(values, unit, week, rng)
        covered.append(found.low <= 0 <= found.high)
        assert found.high - found.low < 6
    assert np.mean(covered) >= 0.9


def law_wilson(interval) -> None:
    rng = np.random.default_rng(4)
    ends = [interval(int(k), 60) for k in rng.binomial(60, 0.03, 600)]
    assert np.mean([e.low <= 0.03 <= e.high for e in ends]) >= 0.92
    assert np.mean([e.high - e.low for e in ends]) < 0.2
    assert interval(59, 60).low > 0.8


def law_judge_at_least(judge) -> None:
    for ends, n, status in [
        ((0.01, 0.02, 0.03), 99, Status.PASSED),
        ((-0.03, -0.02, -0.01), 99, Status.FAILED),
        ((-0.01, 0.02, 0.03), 99, Status.INSUFFICIENT),
        ((0.01, 0.02, 0.03), 9, Status.INSUFFICIENT),
    ]:
        assert judge("g", Estimate(ends[1], ends[0], ends[2], n=n), 0.0, minimum_n=30, what="gain").status is status


def law_kolmogorov_smirnov(detect) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=2000)
    assert detect(x, rng.permutation(x)).state is DriftState.STABLE
    assert detect(x, x + 50).state is DriftState.DRIFTED
    assert detect(x[:30], x[30:60]).state is DriftState.INSUFFICIENT


def law_population_stability(detect) -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=2000)
    assert detect(x, x).index == 0
    assert not detect(x, rng.normal(size=2000)).drifted
    assert detect(x, x + 50).drifted


def law_feature_drift(detect) -> None:
    rng = np.random.default_rng(7)
    before = pl.DataFrame({"account": np.repeat(np.arange(20), 50), "a": rng.normal(size=1000), "b": rng.normal(size=1000)})
    moved = before.with_columns(pl.col("b") + 50)
    for clusters in (None, "account"):
        options = {"rng": rng, "clusters": clusters, "features": ["a", "b"]}
        assert detect(before, before, **options).drifted == ()
        assert detect(before, moved, **options).drifted == ("b",)
    gone = before.with_columns(a=pl.lit(None, dtype=pl.Float64))
    assert detect(before, gone, rng=rng, features=["a", "b"]).drifted == ("a",)


def law_alert_budget(learn) -> None:
    rng = np.random.default_rng(12)
    past = rng.exponential(0.43, (200, 6, 40))
    budget = learn(past)
    today = rng.exponential(0.43, (200, 6, 3))
    assert budget.judge(today).opens.sum() <= 2
    today[5] = 8.0
    judged = budget.judge(today)
    assert judged.opens[5]
    assert judged.opens.sum() <= 4
    assert budget.judge(today, is_open=np.arange(200) == 5).opens[5] == False  # noqa: E712 - a numpy bool


def law_retraining(decide) -> None:
    state = monitoring.ModelState("ad_score", trained_at=datetime(2026, 6, 24, tzinfo=UTC), baseline_loss=0.2, artifact="ab")

    def action(*found: tuple[str, DriftState], **known: Any) -> Any:
        findings = [
            monitoring.MonitorFinding(name, "ad_score", date(2026, 6, 30), drift, p_value=0.001, loss_change=0.1) for name, drift in found
        ]
        return decide(replace(state, **known), findings, policy=monitoring.RetrainingPolicy(), now=datetime(2026, 7, 1, tzinfo=UTC)).action

    assert action() is monitoring.Action.NOTHING
    assert action(("concept_drift", DriftState.DRIFTED)) is monitoring.Action.RETRAIN
    assert action(("concept_drift", DriftState.MEASUREMENT_CHANGE)) is monitoring.Action.NOTHING
    assert action(("concept_drift", DriftState.DRIFTED), in_flight="run") is monitoring.Action.WAIT


def law_signature(holds) -> None:
    now = datetime(2026, 7, 1, tzinfo=UTC)
    header = monitoring.sign("key", b"{}", now=now)
    assert holds(header, "key", b"{}", now=now)
    for broken in ((header, "other", b"{}"), (header, "key", b"[]"), ("t=x,v1=y", "key", b"{}"), ("", "key", b"{}")):
        assert not holds(*broken, now=now)
    assert not holds(header, "key", b"{}", now=now + timedelta(minutes=6))


def law_golden_sample(check) -> None:
    sample = validation.load_golden(GOLDEN, "ad_score")
    model = lambda rows: rows["impressions"].to_numpy() / 7

    def raising(rows: pl.DataFrame) -> None:
        raise OSError("gone")

    recorded = validation.record_golden(model, sample)
    assert status_of(check(model, sample, recorded, tolerance=1e-9)) is Status.PASSED
    for broken in (raising, lambda rows: model(rows) * np.nan, lambda rows: model(rows)[1:], lambda rows: model(rows) + 1):
        assert status_of(check(broken, sample, recorded, tolerance=1e-9)) is Status.FAILED
    assert status_of(check(model, replace(sample, rows=sample.rows.clear()), recorded, tolerance=1e-9)) is Status.INSUFFICIENT


def law_champion_comparison(compare) -> None:
    rng = np.random.default_rng(8)
    champion = rng.normal(size=200)
    options = {"margin": 0.1, "rng": rng}
    assert status_of(compare(champion + 1, champion, np.arange(200), **options)) is Status.PASSED
    assert status_of(compare(champion - 1, champion, np.arange(200), **options)) is Status.FAILED
    assert status_of(compare(champion + 1, champion, np.arange(200) % 3, **options)) is Status.INSUFFICIENT


def law_mcnemar(test) -> None:
    assert test([1] * 6, [0] * 5 + [1]).p_value == pytest.approx(0.0625)
    assert test([1, 0], [0, 1]).p_value == 1.0


def law_fairness(audit) -> None:
    rng = np.random.default_rng(9)
    group = np.repeat(["f", "m"], 300)
    assert status_of(audit(100.0 * (group == "m"), group, threshold=5, rng=rng)) is Status.FAILED
    assert status_of(audit(rng.normal(50, 8, 600), group, threshold=5, rng=rng)) is Status.PASSED
    assert status_of(audit(rng.normal(50, 80, 600), group, threshold=0.5, rng=rng)) is Status.INSUFFICIENT
    # Two accounts' luck is not the attribute's doing.
    accounts = np.repeat(np.arange(40), 15)
    wrong = 0
    for _ in range(30):
        scores = rng.normal(50, 8, 40)[accounts]
        labels = np.array(["f", "m"])[accounts % 2]
        wrong += (
            status_of(
                audit(scores, labels, clusters=accounts, threshold=0.01, rng=rng, minimum_units=5, n_permutations=99, n_resamples=100)
            )
            is Status.FAILED
        )
    assert wrong <= 6


def law_delivery(audit) -> None:
    assert status_of(audit({"w": 3000, "m": 7000})) is Status.FAILED
    assert status_of(audit({"w": 5000, "m": 5000})) is Status.PASSED
    assert status_of(audit({"w": 90, "m": 110})) is Status.INSUFFICIENT


def law_parity_difference(difference) -> None:
    assert difference([1, 0, 1, 1], ["a", "a", "b", "b"]) == 0.5
    assert difference([1, 1], ["a", "b"]) == 0.0


def law_robustness(report) -> None:
    texts = ["".join(np.random.default_rng(i).permutation(list("secret shoes for people"))) + " secret" for i in range(150)]
    ads = pl.DataFrame({"headline": texts})
    perturbations = (*robustness.text_perturbations(["headline"]), *robustness.feed_faults())

    def judged(predict, rows: pl.DataFrame = ads) -> Status:
        return status_of(report(predict, rows, perturbations, rng=np.random.default_rng(10), tolerance=1.0, n_resamples=100))

    assert judged(lambda rows: np.ones(len(rows))) is Status.PASSED
    assert judged(lambda rows: [9.0 * sum(ord(c) * i for i, c in enumerate(t)) for t in rows["headline"]]) is Status.FAILED
    assert judged(lambda rows: np.arange(len(rows))) is Status.FAILED
    assert judged(lambda rows: [np.nan] * len(rows)) is Status.FAILED
    assert judged(lambda rows: np.ones(len(rows)), ads.head(9)) is Status.INSUFFICIENT


def law_rows_carry_no_order(perturbations) -> None:
    made = {p.name: p.apply(pl.DataFrame({"x": range(30)}), np.random.default_rng(1)) for p in perturbations()}
    assert made["row order"].rows["x"].to_list() != list(range(30))
    assert sorted(made["row order"].rows["x"].to_list()) == list(range(30))
    assert len(made["duplicated rows"].rows) > 30


def law_texts_change(perturbations) -> None:
    ads = pl.DataFrame({"headline": ["Shoes for every foot", "Warm coats"]})
    for perturbation in perturbations(["headline"]):
        changed = [perturbation.apply(ads, np.random.default_rng(seed)).rows["headline"].to_list() for seed in range(5)]
        assert any(texts != ads["headline"].to_list() for texts in changed), perturbation.name


def general_bootstrap(values, labels, rng) -> Estimate:
    return stats.cluster_bootstrap(lambda rows: float(values[rows].mean()), labels, rng=rng, n_resamples=200)


def two_way(values, unit, week, rng):
    return stats.two_way_bootstrap(lambda rows: float(values[rows].mean()), unit, week, rng=rng, n_resamples=120)


def units_only(values, unit, week, rng):
    return stats.cluster_mean(values, unit, rng=rng, n_resamples=200)


def weeks_only(values, unit, week, rng):
    return stats.cluster_mean(values, week, rng=rng, n_resamples=200)


def fast_bootstrap(values, labels, rng) -> Estimate:
    return stats.cluster_mean(values, labels, rng=rng, n_resamples=200)


def rows_as_clusters(values, labels, rng) -> Estimate:
    return stats.cluster_mean(values, np.arange(len(values)), rng=rng, n_resamples=200)


def idle_feed() -> list[robustness.Perturbation]:
    same = lambda rows, rng: robustness.Perturbed(rows, np.arange(len(rows)))
    return [robustness.Perturbation(name, robustness.Expectation.UNCHANGED, same) for name in ("row order", "duplicated rows")]


def idle_text(columns) -> list[robustness.Perturbation]:
    same = lambda rows, rng: robustness.Perturbed(rows, np.arange(len(rows)))
    return [robustness.Perturbation("typos", robustness.Expectation.STABLE, same)]


def states() -> list[Callable[..., Any]]:
    return [
        always(SimpleNamespace(state=state, drifted=state is DriftState.DRIFTED, index=float(state is DriftState.DRIFTED)))
        for state in DriftState
    ]


p_values = [always(SimpleNamespace(p_value=p)) for p in (0.0, 0.01, 1.0)]
adjusters = [
    lambda p: np.asarray(p),
    lambda p: np.ones(len(p)),
    lambda p: np.zeros(len(p)),
    lambda p: np.minimum(1, np.asarray(p) * len(p)),
]
CASES: dict[str, tuple[Callable[..., None], Callable[..., Any], list[Callable[..., Any]]]] = {
    "permutation_p_value": (
        law_permutation_p_value,
        stats.permutation_p_value,
        [always(p) for p in (0.0, 0.01, 1.0)] + [lambda observed, null: float(np.mean(null >= observed))],
    ),
    "two_sample_permutation": (law_two_sample_permutation, stats.two_sample_permutation, p_values),
    "two_proportion_z": (law_two_proportion_z, stats.two_proportion_z, p_values),
    "benjamini_hochberg": (law_benjamini_hochberg, stats.benjamini_hochberg, adjusters),
    "holm": (law_holm, stats.holm, adjusters),
    "cluster_bootstrap": (law_interval_of_clusters, general_bootstrap, [always(Estimate(3, -9, 9, n=12)), always(Estimate(0, 0, 0, n=12))]),
    "cluster_mean": (law_interval_of_clusters, fast_bootstrap, [rows_as_clusters, always(Estimate(3, -9, 9, n=12))]),
    "two_way_bootstrap": (law_two_way_interval, two_way, [units_only, weeks_only, always(Estimate(0, -9, 9, n=10))]),
    "wilson_interval": (law_wilson, stats.wilson_interval, [always(Estimate(0.5, 0, 1, n=60)), always(Estimate(0, 0, 0.1, n=60))]),
    "judge_at_least": (law_judge_at_least, stats.judge_at_least, verdicts()),
    "kolmogorov_smirnov": (law_kolmogorov_smirnov, monitoring.kolmogorov_smirnov, states()),
    "population_stability_index": (law_population_stability, monitoring.population_stability_index, states()),
    "feature_drift": (
        law_feature_drift,
        monitoring.feature_drift,
        [always(SimpleNamespace(drifted=names)) for names in ((), ("a",), ("b",), ("a", "b"))],
    ),
    "alert_budget": (
        law_alert_budget,
        monitoring.AlertBudget.learn,
        [always(SimpleNamespace(judge=always(SimpleNamespace(opens=np.full(200, opens))))) for opens in (False, True)],
    ),
    "retraining": (law_retraining, monitoring.decide, [always(SimpleNamespace(action=action)) for action in monitoring.Action]),
    "signature": (law_signature, monitoring.signature_holds, [always(True), always(False)]),
    "golden_sample": (law_golden_sample, validation.check_golden, verdicts()),
    "champion_comparison": (law_champion_comparison, validation.compare_paired, verdicts()),
    "mcnemar_exact": (law_mcnemar, validation.mcnemar_exact, p_values),
    "fairness": (law_fairness, fairness.group_gap, verdicts()),
    "fairness without clusters": (
        law_fairness,
        fairness.group_gap,
        [lambda scores, groups, *, clusters=None, **options: fairness.group_gap(scores, groups, **options)],
    ),
    "delivery": (law_delivery, fairness.delivery_parity, verdicts()),
    "demographic_parity_difference": (law_parity_difference, fairness.demographic_parity_difference, [always(0.0), always(0.5)]),
    "robustness": (law_robustness, robustness.stability_report, verdicts()),
    "feed_faults": (law_rows_carry_no_order, robustness.feed_faults, [idle_feed]),
    "text_perturbations": (law_texts_change, robustness.text_perturbations, [idle_text]),
    **DETECTORS,
}


@pytest.mark.parametrize("name", CASES)
def test_the_real_one_keeps_its_law(name: str) -> None:
    law, real, _ = CASES[name]
    law(real)


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, (_, _, mutants) in CASES.items() for i in range(len(mutants))])
def test_a_mutant_breaks_the_law(name: str, number: int) -> None:
    law, _, mutants = CASES[name]
    with pytest.raises(AssertionError):
        law(mutants[number])


def test_every_gate_and_test_of_significance_has_a_law() -> None:
    covered = {real for _, real, _ in CASES.values()} | {stats.cluster_bootstrap, stats.cluster_mean, stats.two_way_bootstrap}
    # Not judges themselves: they prepare, describe, or are built from what is covered.
    exempt = {
        stats: {"paired_difference", "permute_clusters", "resampled_rows", "two_way_rows"},
        monitoring: DESCRIBERS
        | {"alert_for_check", "alert_for_drift", "alert_for_run", "alert_for_verdict", "kolmogorov_smirnov_distance"}
        | {"account_evidence", "accumulate", "alert_for_finding", "alert_for_silent_sensor", "read_alert_settings", "sign"},
        validation: {"load_golden", "record_golden"},
        fairness: {"demographic_parity_ratio", "group_means"},
        robustness: {"ask", "duplicated_rows", "homoglyphs", "lower_case", "missing_column", "missing_values", "punctuation", "scaled_unit",
                     "shuffled_rows", "typos", "upper_case"},
    }  # fmt: skip
    for room, names in exempt.items():
        functions = {n for n in room.__all__ if callable(getattr(room, n)) and not isinstance(getattr(room, n), type)} - {"Predict"}
        assert {n for n in functions if getattr(room, n) not in covered} == names, room.__name__
