"""Proof by mutation: replace a gate, a detector or a test of significance by a constant, and a law fails.

Each law takes the implementation as an argument and asserts what must hold of it. The real one passes; every mutant must fail. A law that
a constant could satisfy would be no law."""

from __future__ import annotations

import io
import math
import shutil
import tempfile
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
from tests.prediction.laws import PREDICTORS
from within_pipelines import fairness, monitoring, quality, robustness, stats, validation
from within_pipelines.monitoring import DriftState
from within_pipelines.pipeline.drift_reference import drift_baseline_verdict
from within_pipelines.pipeline.fairness_audit import gate_verdict
from within_pipelines.prediction import AccountHealthPredictor
from within_pipelines.prediction.account_health.support import Ranges, support_reasons
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


def law_health_support(reasons) -> None:
    rng = np.random.default_rng(61)
    ranges = Ranges.learn(rng.normal(size=(2000, 3)))
    inside, beyond = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
    beyond[:, 1] = 16.0
    assert np.mean([bool(told) for told in reasons(ranges, ["a", "b", "c"], inside)]) < 0.02
    assert all(any(reason.startswith("b ") for reason in told) for told in reasons(ranges, ["a", "b", "c"], beyond))


def law_health_range(clip) -> None:
    rng = np.random.default_rng(62)
    ranges = Ranges.learn(rng.normal(size=(2000, 2)))
    x = rng.normal(size=(200, 2))
    kept = np.clip(x, ranges.low, ranges.high)
    np.testing.assert_array_equal(clip(ranges, x), kept)
    np.testing.assert_array_equal(clip(ranges, np.full((1, 2), 99.0)), [ranges.high])
    np.testing.assert_array_equal(clip(ranges, np.full((1, 2), -99.0)), [ranges.low])


def law_health_answerable(predictor) -> None:
    """A model answers rows like its own, and neither a target that it never saw nor a last week that nobody reported."""
    from tests.prediction.worlds import feature_rows

    rows = feature_rows()
    model = predictor(kind="persistence").fit(rows)
    asked = rows.filter(pl.col("origin") == pl.col("origin").min())
    unseen = asked.with_columns(target=pl.lit("ctr"))
    unreported = asked.with_columns(recent_efficiency=pl.lit(None, pl.Float64))
    for table, state in ((asked, "scored"), (unseen, "insufficient_data"), (unreported, "insufficient_data")):
        reports = model.predict(table)
        assert {report.state for report in reports} == {state}
        assert all((report.score is None) == (state != "scored") for report in reports)


def health_mutants() -> list[Callable[..., Any]]:
    """Predictors for which every target was seen, none was, or every last week is known."""

    class AnyTarget(AccountHealthPredictor):
        def _unseen(self, target: pl.Series) -> pl.Series:
            return pl.Series(np.zeros(target.len(), dtype=bool))

    class NoTarget(AccountHealthPredictor):
        def _unseen(self, target: pl.Series) -> pl.Series:
            return pl.Series(np.ones(target.len(), dtype=bool))

    class AnyWeek(AccountHealthPredictor):
        def _enough(self) -> pl.Expr:
            return pl.col("clicks_28") >= self.minimum_clicks

    return [AnyTarget, NoTarget, AnyWeek]


def law_drift_baseline(judge) -> None:
    from within_pipelines.pipeline.drift_reference import schema_version
    from within_pipelines.prediction import write_artifact

    rows = pl.DataFrame({"cluster": ["a"], "platform": ["p"], "day": [date(2026, 6, 1)], "x": [1.0]})
    content = io.BytesIO()
    rows.write_parquet(content)
    files = {f"{name}.parquet": content.getvalue() for name in ("rows", "said", "judged", "texts")}
    with tempfile.TemporaryDirectory() as home:
        artifacts = Path(home)
        ws = SimpleNamespace(settings=SimpleNamespace(artifacts=artifacts))

        def ask(schema: str = schema_version("anomaly"), data: str = "d1", model: str = "anomaly", kept: bool = True) -> Status:
            manifest = {"model": model, "loss": "", "schema_version": schema, "profile": {}, "data_version": data}
            sha256 = write_artifact(artifacts / "new", files, manifest)
            place = artifacts / "drift_reference" / sha256
            place.parent.mkdir(exist_ok=True)
            if place.exists():
                shutil.rmtree(place)
            (artifacts / "new").replace(place)
            details = {"drift_reference": f"drift_reference/{sha256}"} if kept else {}
            version = SimpleNamespace(model="anomaly", version=1, data_version="d1", evaluation={"details": details})
            sound = status_of(judge(ws, version))
            (place / "said.parquet").write_bytes(b"changed")
            assert not kept or status_of(judge(ws, version)) is Status.FAILED
            shutil.rmtree(place)
            assert status_of(judge(ws, version)) is Status.FAILED
            return sound

        assert ask() is Status.PASSED
        wrong: list[dict[str, Any]] = [{"schema": "metric_series/0"}, {"data": "d2"}, {"model": "ad_score"}, {"kept": False}]
        for option in wrong:
            assert ask(**option) is Status.FAILED


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


def law_shadow(compare) -> None:
    """The shadow that is better is found better, the worse one worse, and what it did not answer is counted."""
    from tests.validation.test_shadow import world

    for noise, sign in (({"noise_a": 0.3}, 1), ({"noise_b": 0.3}, -1)):
        found = compare(world(**noise), champion_sha256="a", shadow_sha256="b")
        assert sign * found.brier_gain.value > 0
        assert not found.brier_gain.low <= 0 <= found.brier_gain.high
    silent = world().filter((pl.col("role") != "shadow") | (pl.col("prediction_id").cast(pl.Int64) % 2 == 0))
    assert compare(silent, champion_sha256="a", shadow_sha256="b").pairs == 300


def shadows() -> list[Callable[..., Any]]:
    return [always(SimpleNamespace(brier_gain=Estimate(v, v - 0.01, v + 0.01, n=60), pairs=600)) for v in (-0.1, 0.0, 0.1)]


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


def law_fairness_audit(audit) -> None:
    rng = np.random.default_rng(19)
    group = np.repeat(["f", "m"], 200)

    def judged(scores, threshold=1.0, role=fairness.Role.REQUIRED, clusters=range(400), labels=group) -> Status:
        measure = fairness.mean_measure("score", scores, threshold=threshold, role=role)
        options = {"clusters": clusters, "rng": rng, "n_permutations": 199, "n_resamples": 100}
        return status_of(audit([measure], {"gender": labels}, **options))

    assert judged(rng.normal(size=400) + 3 * (group == "m")) is Status.FAILED
    assert judged(rng.normal(size=400)) is Status.PASSED
    assert judged(rng.normal(0, 80, 400)) is Status.INSUFFICIENT
    assert judged(rng.normal(size=400) + 3 * (group == "m"), role=fairness.Role.WATCHED) is not Status.FAILED
    # Accounts' luck is not the attribute's doing, and looking five times is not finding.
    accounts = np.repeat(np.arange(40), 10)
    wrong = 0
    for _ in range(25):
        scores = rng.normal(size=40)[accounts]
        labels = np.array(["f", "m"])[rng.permutation(40) % 2][accounts]
        wrong += judged(scores, threshold=0.001, clusters=accounts, labels=labels) is Status.FAILED
    assert wrong <= 5
    looked, half = 0, group[::2]
    for _ in range(15):
        measures = [fairness.mean_measure(str(i), rng.normal(size=200), threshold=0.001) for i in range(6)]
        found = audit(measures, {"g": half}, clusters=range(200), rng=rng, n_permutations=199, n_resamples=100)
        looked += status_of(found) is Status.FAILED
    assert looked <= 4


def law_flip(effect) -> None:
    rows = pl.DataFrame({"g": ["women", "men"] * 20, "x": range(40)})
    swap = lambda t: t.with_columns(pl.col("g").replace({"women": "men", "men": "women"}))
    options = {"clusters": range(40), "limit": 0.05, "rng": np.random.default_rng(1)}
    assert effect(lambda t: (t["g"] == "men").cast(pl.Float64), rows, {"g": swap}, **options).status is Status.FAILED
    assert effect(lambda t: t["x"].to_numpy() / 40, rows, {"g": swap}, **options).status is Status.PASSED


def law_gap_change(change) -> None:
    rng = np.random.default_rng(20)
    group, rows = np.repeat(["a", "b"], 200), range(400)
    old = rng.normal(size=400) + 2.0 * (group == "a")
    measure = lambda values: fairness.mean_measure("s", values, threshold=1.0)
    wider = change(measure(old + 1.0 * (group == "a")), measure(old), group, clusters=rows, rng=rng)
    same = change(measure(old), measure(old), group, clusters=rows, rng=rng)
    assert wider.low > 0.5
    assert same.low == same.high == 0.0


def law_bias(detect) -> None:
    rng = np.random.default_rng(21)
    group = rng.choice(["a", "b"], 300)
    fair, unfair = rng.normal(size=300), rng.normal(size=300) + 1.5 * (group == "a")
    for values, expected in ((fair, []), (unfair, ["label"])):
        found = detect(pl.DataFrame({"y": values}), {"g": group}, clusters=range(300), rng=rng, label="y", n_resamples=100)
        assert [f.kind for f in found.biased] == expected
    luck = 0
    for _ in range(20):
        account = np.repeat(np.arange(20), 15)
        labels = np.array(["a", "b"])[rng.permutation(20) % 2][account]
        table = pl.DataFrame({"y": rng.normal(size=20)[account]})
        luck += bool(detect(table, {"g": labels}, clusters=account, rng=rng, label="y", n_permutations=99, n_resamples=100).biased)
    assert luck <= 4


def law_fairness_gate(gate) -> None:
    rng = np.random.default_rng(22)
    group = np.repeat(["a", "b"], 200)

    def audit(gap: float) -> fairness.FairnessAudit:
        scores = rng.normal(size=400) + gap * (group == "a")
        return fairness.audit_fairness([fairness.mean_measure("s", scores, threshold=1.0)], {"g": group}, clusters=range(400), rng=rng)

    # Equal in both groups, and far too noisy to tell.
    vague = fairness.mean_measure("s", np.tile(rng.normal(0, 60, 200), 2), threshold=1.0)
    young = fairness.audit_fairness([vague], {"g": group}, clusters=range(400), rng=rng)
    blind = fairness.FlipEffect({"g": Estimate(0.0, 0.0, 0.0, 40)}, 0.05)
    direct = fairness.FlipEffect({"g": Estimate(0.3, 0.2, 0.4, 40)}, 0.05)
    same, worse = {"s": (Estimate(0.0, -0.1, 0.1, 40), 1.0)}, {"s": (Estimate(0.9, 0.2, 1.6, 40), 1.0)}
    for audited, flip, first, changes, status in [
        (audit(0.0), blind, False, {}, Status.PASSED),
        (audit(3.0), blind, True, same, Status.FAILED),
        (audit(0.0), direct, True, same, Status.FAILED),
        (young, blind, False, worse, Status.INSUFFICIENT),
        (young, blind, False, same, Status.PASSED),
        (young, blind, True, {}, Status.PASSED),
    ]:
        assert status_of(gate(audited, flip, first=first, changes=changes)) is status


def law_conditional_difference(difference) -> None:
    assert difference([1, 1, 0, 0], [1, 0, 1, 1], ["a", "b", "a", "b"]) == 1.0
    assert difference([1, 1, 0, 0], [1, 1, 0, 0], ["a", "b", "a", "b"]) == 0.0


def law_precision_difference(difference) -> None:
    assert difference([1, 0, 1, 1], [1, 1, 1, 1], ["a", "a", "b", "b"]) == 0.5
    assert difference([1, 1], [1, 1], ["a", "b"]) == 0.0


def law_calibration_gap(difference) -> None:
    assert difference([1.0, 0.0], [0.5, 0.5], ["a", "b"]) == 1.0
    assert difference([1.0, 0.0], [1.0, 0.0], ["a", "b"]) == 0.0


def law_calibration_within_groups(errors) -> None:
    y, g = np.tile([1, 0, 0, 0, 0], 40), np.repeat(["a", "b"], 100)
    found = errors(y, np.repeat([0.2, 0.8], 100), g, bins=1)
    assert found["a"] < 0.1
    assert found["b"] == pytest.approx(0.6, abs=0.05)


def law_score_gap(difference) -> None:
    assert difference([1.0, 3.0], ["a", "b"]) == 2.0
    assert difference([1.0, 1.0], ["a", "b"]) == 0.0


def law_consistency(measure) -> None:
    x = [[0.0], [0.1], [9.0], [9.1]]
    assert measure(x, [0.2, 0.2, 0.9, 0.9], neighbours=1) == 1.0
    assert measure(x, [0.0, 1.0, 0.0, 1.0], neighbours=1) == 0.0


def law_exposure(parity) -> None:
    assert parity([3, 1], ["a", "b"]) == {"a": 1.5, "b": 0.5}
    assert parity([1, 1], ["a", "b"]) == {"a": 1.0, "b": 1.0}


def law_proxy(strength) -> None:
    rng = np.random.default_rng(23)
    group = np.repeat(["a", "b"], 100)
    assert strength((group == "a")[:, None].astype(float), group, clusters=range(200)) > 0.95
    assert abs(strength(rng.normal(size=(200, 1)), group, clusters=range(200))) < 0.3


def law_delivery(audit) -> None:
    assert status_of(audit({"w": 3000, "m": 7000})) is Status.FAILED
    assert status_of(audit({"w": 5000, "m": 5000})) is Status.PASSED
    assert status_of(audit({"w": 90, "m": 110})) is Status.INSUFFICIENT


def law_exposure_gaps(gaps) -> None:
    """A group shown twice as often lies beyond 1, groups shown alike do not."""
    rng = np.random.default_rng(3)
    group, account = np.tile(["a", "b"], 120), np.repeat(np.arange(30), 8)
    shown = rng.gamma(3, 1, 240)
    alike = gaps(shown, group, clusters=account, rng=rng, n_resamples=100)
    assert alike["a"].low <= 1 <= alike["a"].high
    skewed = gaps(shown * np.where(group == "a", 2, 1), group, clusters=account, rng=rng, n_resamples=100)
    assert skewed["a"].low > 1 > skewed["b"].high


def law_noise_curve(curve) -> None:
    """Half of the labels wrong leave nothing of a model that believes them, and none wrong leave it whole."""
    y = np.tile([0.0, 1.0], 100)
    right = lambda scores, at: float(np.mean((scores[at] > 0.5) == y[at]))
    clean, wrong = curve(
        lambda labels: labels, y, right, clusters=range(200), rng=np.random.default_rng(4), shares=(0.0, 0.5), n_resamples=100
    )
    assert clean.quality.value == 1
    assert clean.change.value == 0
    assert wrong.quality.high < 0.7
    assert wrong.change.high < -0.3


def law_frontier(frontier) -> None:
    """Shows a planted gap and closes it, and shows none where groups are alike."""
    rng = np.random.default_rng(1)
    group = np.tile(["a", "b"], 300)
    for shift, least, most in ((0.3, 0.2, 1.0), (0.0, 0.0, 0.15)):
        p = np.clip(rng.beta(2, 2, 600) + shift * (group == "a"), 0.01, 0.99)
        y = (rng.random(600) < p).astype(float)
        plain, closed = frontier(p, y, group, clusters=range(600), rng=rng, gaps=(0.0,), strengths=(), n_resamples=100)
        assert least <= plain.gap.value <= most
        assert closed.gap.value <= 0.12
        assert plain.accuracy.value == pytest.approx(np.mean((p >= 0.5) == y))


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


def law_share_status(judge) -> None:
    for (value, low, high, n), status in {
        (0.0, 0.0, 0.1, 60): Status.PASSED,
        (0.3, 0.2, 0.4, 60): Status.FAILED,
        (0.1, 0.0, 0.3, 60): Status.INSUFFICIENT,
        (0.0, 0.0, 0.1, 6): Status.INSUFFICIENT,
    }.items():
        assert judge(Estimate(value, low, high, n=n), limit=0.1, minimum_units=12) is status


def law_door(door) -> None:
    from tests.quality.test_feeds import DAY, FAULTS, facts

    told = facts(4)
    assert door(told, day=DAY).is_empty()
    for name in ("money in micros", "stale days", "doubled day"):
        found = door(FAULTS[name].apply(told, DAY, np.random.default_rng(1)), day=DAY)
        assert found.filter("blocking")["account_id"].n_unique() == 4
    assert not door(FAULTS["missing days"].apply(told, DAY, np.random.default_rng(1)), day=DAY)["blocking"].any()


def law_feed_audit(audit) -> None:
    from tests.quality.test_feeds import DAY, facts
    from tests.robustness.test_feed_audit import FRAGILE, SOUND, door

    def judged(judge) -> Status:
        options = {"rng": np.random.default_rng(1), "tolerance": 0.002, "limit": 0.1}
        return status_of(audit("m", facts(16), [DAY], judge, robustness.fact_faults()[-4:], door, **options))

    assert judged(SOUND) is Status.PASSED
    assert judged(FRAGILE) is Status.FAILED


def attacked(attack) -> None:
    """Breaks what can be broken, inside the set, and nothing else."""
    x = np.random.default_rng(12).normal(size=(60, 3))
    weights = np.array([1.0, -2.0, 0.5])
    sign = np.sign(x @ weights)
    within = robustness.FeasibleSet.of(np.full(3, 0.4))
    victim = robustness.classifier_victim(lambda z: z @ weights, sign > 0, lambda z: np.repeat(weights[None], len(z), axis=0))
    found = attack(victim, x, within)
    possible = np.abs(x @ weights) <= 0.4 * 3.5
    assert within.contains(found.x, x).all()
    assert not (found.broken & ~possible).any()
    assert found.broken.sum() >= 0.5 * possible.sum()
    np.testing.assert_allclose(found.margin, sign * (found.x @ weights), atol=1e-9)
    constant = robustness.classifier_victim(lambda z: np.ones(len(z)), np.ones(60), np.zeros_like)
    assert attack(constant, x, within).success == 0


def law_text_attack(attack) -> None:
    """Finds what can be found, claims what the text scores, and nothing of a constant."""
    texts = ["Warm winter coats", "Seven secret reasons"]
    capitals = lambda texts, rows: [float(sum(letter.isupper() for letter in text)) for text in texts]
    rows = np.arange(2)
    for budget in (0, 1, 2):
        found = attack(capitals, texts, budget=budget, rng=np.random.default_rng(1), tries=30)
        np.testing.assert_allclose(np.subtract(capitals(found.texts, rows), capitals(texts, rows)), found.change)
        assert found.success(3.0) == (budget > 0)
    assert attack(lambda texts, rows: np.ones(len(texts)), texts, budget=3, rng=np.random.default_rng(1)).success(0.0) == 0


def law_label_noise(judge) -> None:
    y = np.tile([0.0, 1.0], 20)
    (copied,) = judge(lambda labels: labels, y, rng=np.random.default_rng(1), shares=(0.25,))
    assert copied.score_change.value == pytest.approx(0.25)
    assert 0 < copied.rank_stability.value < 0.9
    (deaf,) = judge(lambda labels: np.ones(3), y, rng=np.random.default_rng(1), shares=(0.25,))
    assert (deaf.score_change.value, deaf.rank_stability.value) == (0, 1)


def law_noised(spoil) -> None:
    y = np.tile([0.0, 1.0], 20)
    assert np.sum(spoil(y, 0.25, rng=np.random.default_rng(1)) != y) == 10


def law_masking(detect) -> None:
    x = np.random.default_rng(13).normal(size=(60, 3))
    weights = np.array([1.0, -2.0, 0.5])
    labels = x @ weights > 0
    within = robustness.FeasibleSet.of(np.full(3, 0.4))
    rng = np.random.default_rng(1)
    for slope, masked in ((lambda z: np.repeat(weights[None], len(z), axis=0), False), (np.zeros_like, True)):
        victim = robustness.classifier_victim(lambda z: z @ weights, labels, slope)
        assert detect(victim, x, within, rng=rng, queries=60)[0].masked is masked


def law_clopper_pearson(bound) -> None:
    assert bound(10, 10, alpha=0.05) == pytest.approx(0.05**0.1)
    assert bound(0, 10, alpha=0.05) == 0
    assert bound(1, 2, alpha=0.05) == pytest.approx(1 - 0.95**0.5)


def law_certify(certify) -> None:
    x = np.array([[2.0], [0.3], [-0.4], [0.0]])
    found = certify(lambda z: (z[:, 0] > 0).astype(int), x, sigma=0.5, rng=np.random.default_rng(1))
    assert found.label.tolist() == [1, 1, 0, -1]
    assert (found.radius <= np.abs(x[:, 0]) + 1e-9).all()
    assert found.radius[1] > 0.15
    assert found.radius[0] < 1.3


def law_median_bounds(bounds) -> None:
    x = np.array([[0.0], [5.0]])
    found = bounds(lambda z: z[:, 0], x, sigma=0.5, radius=0.2, rng=np.random.default_rng(1))
    assert (found.low <= x[:, 0] - 0.2).all()
    assert (found.high >= x[:, 0] + 0.2).all()
    assert (found.high - found.low < 1.2).all()


def least_in_box(trees, low, high):
    return trees.minimum(low, high).value


def law_tree_minimum(minimum) -> None:
    from tests.robustness.test_certificates import brute_force, trees_of

    trees, _, x = trees_of(1)
    for row in x[:4]:
        assert minimum(trees, row - 0.4, row + 0.4) == pytest.approx(brute_force(trees, row - 0.4, row + 0.4)[0], abs=1e-9)


def law_rows_carry_no_order(perturbations) -> None:
    made = {p.name: p.apply(pl.DataFrame({"x": range(30)}), np.random.default_rng(1)) for p in perturbations()}
    assert made["row order"].rows["x"].to_list() != list(range(30))
    assert sorted(made["row order"].rows["x"].to_list()) == list(range(30))
    assert len(made["duplicated rows"].rows) > 30


def law_texts_change(perturbations) -> None:
    ads = pl.DataFrame({"headline": ["Shoes for every foot", "Easy gifts for 'the' kids."]})
    for perturbation in perturbations(["headline"]):
        changed = [perturbation.apply(ads, np.random.default_rng(seed)).rows["headline"].to_list() for seed in range(5)]
        assert any(texts != ads["headline"].to_list() for texts in changed), perturbation.name


def law_two_means(test) -> None:
    rng = np.random.default_rng(51)
    found = [test(rng.normal(size=30), rng.normal(size=30)).p_value for _ in range(200)]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.08)
    assert test(rng.normal(2, 1, 30), rng.normal(0, 1, 30)).p_value < 1e-4


def law_sign_flips(test) -> None:
    rng = np.random.default_rng(52)
    clusters = np.repeat(np.arange(20), 8)
    null = [test(rng.normal(size=20)[clusters], rng=rng, clusters=clusters, n_permutations=99).p_value for _ in range(100)]
    assert np.mean(np.array(null) <= 0.1) <= 0.2
    assert np.mean(np.array(null) <= 0.6) >= 0.3
    assert test(3 + rng.normal(size=20)[clusters], rng=rng, clusters=clusters).p_value < 0.01


def law_delong(test) -> None:
    rng = np.random.default_rng(53)
    y = np.repeat([0, 1], 60)
    null = [test(y + rng.normal(size=120), y + rng.normal(size=120), y).p_value for _ in range(100)]
    assert np.mean(np.array(null) <= 0.1) <= 0.22
    assert np.mean(np.array(null) <= 0.6) >= 0.4
    assert test(y + 0.1 * rng.normal(size=120), rng.normal(size=120), y).p_value < 1e-4


def law_auc(area) -> None:
    rng = np.random.default_rng(54)
    y = np.repeat([0, 1], 100)
    found = [area(y + rng.normal(size=200), y) for _ in range(100)]
    assert np.mean([e.low <= 0.76025 <= e.high for e in found]) >= 0.88
    assert np.mean([e.high - e.low for e in found]) < 0.2


def law_ratio(test) -> None:
    rng = np.random.default_rng(55)
    arm = lambda rate: (rng.poisson(20 * rate * rng.gamma(4, 0.25, 100)).astype(float), np.full(100, 20.0))
    assert np.mean([test(*arm(0.2), *arm(0.2)).p_value <= 0.1 for _ in range(150)]) == pytest.approx(0.1, abs=0.09)
    assert test(*arm(0.4), *arm(0.2)).p_value < 1e-4


def law_ratio_interval(interval) -> None:
    rng = np.random.default_rng(56)
    found = [interval(rng.poisson(4 * rng.gamma(4, 0.25, 100)).astype(float), np.full(100, 20.0)) for _ in range(150)]
    assert np.mean([e.low <= 0.2 <= e.high for e in found]) >= 0.88
    assert np.mean([e.high - e.low for e in found]) < 0.1


def law_non_inferiority(test) -> None:
    rng = np.random.default_rng(57)
    arm = lambda shift: stats.welch_t(rng.normal(shift, 1, 200), rng.normal(0, 1, 200))
    assert np.mean([test(arm(-0.4), margin=0.4).shown for _ in range(100)]) <= 0.12
    assert np.mean([test(arm(0.0), margin=0.4).shown for _ in range(50)]) > 0.9


def law_equivalence(test) -> None:
    rng = np.random.default_rng(58)
    arm = lambda shift: stats.welch_t(rng.normal(shift, 1, 200), rng.normal(0, 1, 200))
    for edge in (-0.4, 0.4):
        assert np.mean([test(arm(edge), low=-0.4, high=0.4).shown for _ in range(60)]) <= 0.15
    assert np.mean([test(arm(0.0), low=-0.4, high=0.4).shown for _ in range(50)]) > 0.9


def law_cuped(adjust) -> None:
    rng = np.random.default_rng(59)
    found = []
    for _ in range(60):
        before = rng.normal(size=120)
        y = before + 0.3 * rng.normal(size=120)
        found.append(adjust(y[:60], before[:60], y[60:], before[60:]).test.p_value)
    assert np.mean(np.array(found) <= 0.1) <= 0.25
    assert np.mean(np.array(found) <= 0.6) >= 0.35
    assert adjust(y[:60] + 0.4, before[:60], y[60:], before[60:]).test.p_value < 1e-3  # a plain test does not see it


def plain_instead_of_cuped(first, before_first, second, before_second):
    return SimpleNamespace(test=stats.welch_t(first, second))


def law_bca(interval) -> None:
    rng = np.random.default_rng(60)
    covered = []
    for _ in range(25):
        x = rng.exponential(size=40)
        found = interval(lambda rows, x=x: float(x[rows].mean()), np.arange(40), rng=rng, n_resamples=1000)
        covered.append(found.low <= 1 <= found.high)
        assert found.high - found.low < 1.6
    assert np.mean(covered) >= 0.8


def law_bca_ends(ends) -> None:
    draws = np.arange(1.0, 1000.0)
    low, high = ends(500.0, draws, [1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((25.95, 974.05), abs=0.1)
    assert ends(300.0, draws, [1.0, 2.0, 3.0])[1] < 900  # most draws lie above, so the interval moves down


def brownian(rng: np.random.Generator, drift: float) -> tuple[np.ndarray, np.ndarray]:
    n = np.arange(1, 41)
    return drift + np.cumsum(rng.normal(size=40)) / n, 1.0 / n


def law_sequential(test) -> None:
    rng = np.random.default_rng(61)
    null = [test(*brownian(rng, 0.0), scale=0.5).first_rejection is not None for _ in range(300)]
    assert np.mean(null) <= 0.05
    assert np.mean([test(*brownian(rng, 1.0), scale=0.5).first_rejection is not None for _ in range(50)]) > 0.9


def peeked_z(differences, variances, *, scale):
    p = [math.erfc(abs(d) / math.sqrt(2 * v)) for d, v in zip(differences, variances, strict=True)]
    return stats.SequentialTest(tuple(np.minimum.accumulate(p).tolist()), 0.05)


def law_confidence_sequence(sequence) -> None:
    rng = np.random.default_rng(62)
    missed, width = [], []
    for _ in range(200):
        looks = [sequence(float(d), float(v), scale=0.5, n=9) for d, v in zip(*brownian(rng, 0.7), strict=True)]
        missed.append(any(not e.low <= 0.7 <= e.high for e in looks))
        width.append(looks[-1].high - looks[-1].low)
    assert np.mean(missed) <= 0.05
    assert np.mean(width) < 1.2


def fixed_interval(difference, variance, *, scale, n):
    return Estimate(difference, difference - 1.96 * variance**0.5, difference + 1.96 * variance**0.5, n=n)


def law_bernstein(sequence) -> None:
    rng = np.random.default_rng(63)
    missed = 0
    for _ in range(60):
        low, high = sequence(rng.random(400) < 0.2)
        missed += bool(np.any((np.asarray(low) > 0.2) | (np.asarray(high) < 0.2)))
    assert missed <= 6
    assert high[-1] - low[-1] < 0.4


def law_sample_ratio(check) -> None:
    halves = {"a": 0.5, "b": 0.5}
    assert not check({"a": 5050, "b": 4950}, halves).mismatch
    assert check({"a": 5300, "b": 4700}, halves).mismatch
    assert not check({"a": 5300, "b": 4700}, {"a": 0.53, "b": 0.47}).mismatch


def ab_units(rng: np.random.Generator, spec: validation.ExperimentSpec, effect: float) -> pl.DataFrame:
    units = [f"u{n}" for n in range(2000)]
    arms = np.array([spec.arm_of(unit) for unit in units])
    return pl.DataFrame({"unit": units, "arm": arms, "y": rng.normal(size=2000) + effect * (arms == "new")})


def law_ab_test(read) -> None:
    rng = np.random.default_rng(64)
    spec = validation.ExperimentSpec(
        "e", {"new": 0.5, "old": 0.5}, "old", validation.Metric("y"), minimum_effect=0.2, planned_units=2000, key="k"
    )
    assert read(spec, ab_units(rng, spec, 0.3)).winner == "new"
    assert read(spec, ab_units(rng, spec, -0.3)).winner == "old"
    assert sum(read(spec, ab_units(rng, spec, 0.0)).winner is None for _ in range(20)) >= 16
    assert read(spec, ab_units(rng, spec, 0.3).head(300)).winner is None  # too early
    lossy = ab_units(rng, spec, 0.3).filter((pl.col("arm") == "old") | (pl.int_range(pl.len()) % 3 > 0))
    assert read(spec, lossy, ended=True).winner is None


def canary_rows(rng: np.random.Generator, spec: validation.CanarySpec, effect: float, *, n: int = 3000) -> pl.DataFrame:
    units = [f"u{number}" for number in range(n)]
    arms = np.array([spec.arm_of(unit, share=0.5) for unit in units])
    day = date(2026, 5, 1)
    won = (rng.random(n) < 0.3 * (1 + effect * (arms == "canary"))).astype(float)
    return pl.DataFrame({"unit": units, "arm": arms, "day": [day] * n, "known_on": [day] * n, "won": won})


def law_canary(read) -> None:
    rng = np.random.default_rng(65)
    spec = validation.CanarySpec("c", "m", 2, 1, (validation.CanaryMetric("won", margin=0.05),), key="k", shares=(0.5, 1.0))
    step = lambda effect, **options: (
        read(spec, canary_rows(rng, spec, effect, **options), on=date(2026, 5, 2), stage=0, stage_since=date(2026, 5, 1)).step
    )
    assert step(-0.4) is validation.Step.ROLL_BACK
    assert step(0.1, n=12000) is validation.Step.PROMOTE
    assert step(0.0, n=40) is validation.Step.HOLD
    assert sum(step(0.0) is validation.Step.ROLL_BACK for _ in range(15)) <= 2


def law_replay(run) -> None:
    rng = np.random.default_rng(66)
    spec = validation.CanarySpec("c", "m", 2, 1, (validation.CanaryMetric("won", margin=0.06),), key="k", shares=(0.5, 1.0))
    days = [date(2026, 5, 1), date(2026, 5, 2), date(2026, 5, 3)]

    def log(effect: float):
        return lambda day, share: canary_rows(rng, spec, effect, n=4000).with_columns(
            day=pl.lit(day), known_on=pl.lit(day), unit=pl.col("unit") + str(day)
        )

    assert run(spec, log(-0.4), days).state is validation.CanaryState.ROLLED_BACK
    assert run(spec, log(0.1), days).state is validation.CanaryState.PROMOTED
    assert run(spec, log(0.1), days[:1]).state is validation.CanaryState.RUNNING


def law_stratified(difference) -> None:
    rng = np.random.default_rng(67)
    day = np.repeat([0, 1], 1000)
    arm = rng.random(2000) < np.where(day == 0, 0.1, 0.8)
    found = difference(5.0 * day + 0.5 * arm + rng.normal(size=2000), arm, day, np.arange(2000))
    assert found.difference == pytest.approx(0.5, abs=0.25)
    assert 0.03 < found.variance**0.5 < 0.12
    unit = np.arange(2000) % 20
    assert difference(rng.normal(size=20)[unit], unit % 2 == 0, np.zeros(2000), unit).variance > 0.02


def pooled_over_days(values, first, strata, units):
    return validation.stratified_difference(values, first, np.zeros(len(values)), units)


def rows_as_units(values, first, strata, units):
    return validation.stratified_difference(values, first, strata, np.arange(len(values)))


def law_cases(ask) -> None:
    rows = pl.DataFrame({"x": [1.0, 2.0]})
    case = validation.GoldenCase("a", "m", validation.Part.HARD, "s", validation.Kind.ORDER, (rows,), ((0, 1), (0, 0)))

    def raising(_: pl.DataFrame) -> None:
        raise OSError("gone")

    assert ask(lambda frame: frame["x"], [case])[0].met
    for broken in (lambda frame: -frame["x"], raising, lambda frame: [np.nan, 1.0], lambda frame: [1.0]):
        assert not ask(broken, [case])[0].met


def law_slices(judge) -> None:
    rows = pl.DataFrame({"x": [0.0]})
    cases = [
        validation.GoldenCase(str(n), "m", validation.Part.HARD, "s", validation.Kind.INTERVAL, (rows,), ((0, 0),), low=n)
        for n in range(10)
    ]
    wanted = validation.SliceExpectation("m", validation.Part.HARD, "s", least_share=0.5, most_lost=1, high=8.0)
    made = validation.GoldenSet(1, "", "made", "ada", "2026-06-01", tuple(cases), (wanted,))
    asked = {x: validation.ask_cases(lambda frame, x=x: [x] * len(frame), cases) for x in (3.0, 4.0, 5.0, 6.0, 8.0, 9.0)}
    silent = (*asked[8.0][:-1], *validation.ask_cases(lambda frame: [np.nan], cases[-1:]))

    def holds(results, champion=None) -> bool:
        (found,) = judge(results, made, champion=champion)
        return found.status is Status.PASSED

    assert holds(asked[4.0])
    assert not holds(asked[3.0])
    assert holds(asked[8.0])
    assert not holds(asked[9.0])
    assert holds(asked[5.0], asked[6.0])
    assert not holds(asked[4.0], asked[6.0])
    assert not holds(silent)


def without_champion(results, golden_set, *, champion=None):
    return validation.judge_slices(results, golden_set)


def blind_to_the_set(results, golden_set, *, champion=None):
    return validation.judge_slices(results, replace(golden_set, slices=()), champion=champion)


def law_assignment(arm_of) -> None:
    arms = [arm_of(f"u{n}", experiment="e", shares={"a": 0.2, "b": 0.8}, key="k") for n in range(2000)]
    assert arms.count("a") / 2000 == pytest.approx(0.2, abs=0.05)
    grown = [arm_of(f"u{n}", experiment="e", shares={"a": 0.6, "b": 0.4}, key="k") for n in range(2000)]
    assert all(after == "a" for before, after in zip(arms, grown, strict=True) if before == "a")
    assert arms != [arm_of(f"u{n}", experiment="f", shares={"a": 0.2, "b": 0.8}, key="k") for n in range(2000)]


def law_fraction(fraction) -> None:
    found = np.array([fraction(f"u{n}", experiment="e", key="k") for n in range(2000)])
    assert found.mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean(found < 0.1) == pytest.approx(0.1, abs=0.03)


def law_matured(filtered) -> None:
    day = date(2026, 5, 1)
    rows = pl.DataFrame({"unit": ["a", "b"], "arm": ["x", "x"], "day": [day, day], "known_on": [day, None], "won": [1.0, None]})
    assert filtered(rows, ["won"], on=day, maturity_days=1).height == 0
    assert filtered(rows, ["won"], on=date(2026, 5, 2), maturity_days=1)["won"].to_list() == [1.0, 0.0]


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


def audit_of_rows(measures, groups, *, clusters, **options):
    return fairness.audit_fairness(measures, groups, clusters=range(len(clusters)), **options)


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


ATTACKS: dict[str, Callable[..., Any]] = {
    "fgsm": robustness.fgsm,
    "deepfool": robustness.deepfool,
    "carlini_wagner": robustness.carlini_wagner,
    **{
        name: lambda v, x, f, attack=getattr(robustness, name): attack(v, x, f, rng=np.random.default_rng(1))
        for name in ("pgd", "auto_pgd", "square", "threshold_search", "boundary", "hop_skip_jump")
    },
    "strongest": lambda v, x, f: robustness.strongest(v, x, f, rng=np.random.default_rng(1), queries=60)[0],
}


def idle_attack(victim, x, within):
    return robustness.AttackResult("idle", x, victim.margin(x, np.arange(len(x))), 0, victim.margin(x, np.arange(len(x))))


def noise_of(change: float, rank: float) -> robustness.LabelNoise:
    return robustness.LabelNoise(0.25, 10, *(Estimate(value, value, value, n=10) for value in (change, rank)))


def idle_text_attack(score, texts, *, budget, rng, tries=8):
    return robustness.TextAttack(tuple(texts), np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64), 0)


def lying_text_attack(score, texts, *, budget, rng, tries=8):
    return robustness.TextAttack(tuple(texts), np.full(len(texts), 9.0), np.zeros(len(texts), dtype=np.int64), 0)


def lying_attack(victim, x, within):
    return robustness.AttackResult("lying", x, np.full(len(x), -1.0), 0, np.ones(len(x)))


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
    "shadow": (law_shadow, validation.compare_shadow, shadows()),
    "golden_sample": (law_golden_sample, validation.check_golden, verdicts()),
    "champion_comparison": (law_champion_comparison, validation.compare_paired, verdicts()),
    "mcnemar_exact": (law_mcnemar, validation.mcnemar_exact, p_values),
    "fairness": (law_fairness, fairness.group_gap, verdicts()),
    "fairness without clusters": (
        law_fairness,
        fairness.group_gap,
        [lambda scores, groups, *, clusters=None, **options: fairness.group_gap(scores, groups, **options)],
    ),
    "fairness_audit": (law_fairness_audit, fairness.audit_fairness, verdicts()),
    "fairness audit without clusters": (law_fairness_audit, fairness.audit_fairness, [audit_of_rows]),
    "fairness_gate": (law_fairness_gate, gate_verdict, verdicts()),
    "flip_effect": (law_flip, fairness.flip_effect, [always(SimpleNamespace(status=status)) for status in Status]),
    "gap_change": (law_gap_change, fairness.gap_change, [always(Estimate(0, 0, 0, n=9)), always(Estimate(1, 0.8, 1.2, n=9))]),
    "detect_bias": (
        law_bias,
        fairness.detect_bias,
        [always(SimpleNamespace(biased=found)) for found in ((), (SimpleNamespace(kind="label"),))]
        + [lambda table, groups, *, clusters, **options: fairness.detect_bias(table, groups, clusters=range(len(clusters)), **options)],
    ),
    "equal_opportunity": (law_conditional_difference, fairness.equal_opportunity_difference, [always(0.0), always(1.0)]),
    "equalized_odds": (law_conditional_difference, fairness.equalized_odds_difference, [always(0.0), always(1.0)]),
    "predictive_parity": (law_precision_difference, fairness.predictive_parity_difference, [always(0.0), always(0.5)]),
    "calibration_gap": (law_calibration_gap, fairness.calibration_gap, [always(0.0), always(1.0)]),
    "calibration_within_groups": (
        law_calibration_within_groups,
        fairness.calibration_within_groups,
        [always({"a": 0.0, "b": 0.0}), always({"a": 0.5, "b": 0.5})],
    ),
    "score_gap": (law_score_gap, fairness.score_gap, [always(0.0), always(2.0)]),
    "consistency": (law_consistency, fairness.consistency, [always(0.0), always(1.0)]),
    "exposure_gaps": (
        law_exposure_gaps,
        fairness.exposure_gaps,
        [always({"a": Estimate(v, v - 0.1, v + 0.1, n=240), "b": Estimate(2 - v, 1.9 - v, 2.1 - v, n=240)}) for v in (0.6, 1.0, 1.4)],
    ),
    "noise_curve": (
        law_noise_curve,
        robustness.noise_curve,
        [always([SimpleNamespace(quality=Estimate(v, v, v, n=200), change=Estimate(v - 1, v - 1, v - 1, n=200))] * 2) for v in (0.5, 1.0)],
    ),
    "exposure_parity": (law_exposure, fairness.exposure_parity, [always({"a": 1.0, "b": 1.0})]),
    "proxy_strength": (law_proxy, fairness.proxy_strength, [always(0.0), always(1.0)]),
    "drift_baseline": (law_drift_baseline, drift_baseline_verdict, verdicts()),
    "health_support": (
        law_health_support,
        support_reasons,
        [lambda _, __, x: [()] * len(x), lambda _, __, x: [("b is 16, above",)] * len(x)],
    ),
    "health_range": (law_health_range, Ranges.clip, [lambda _, x: x, lambda ranges, x: np.full(x.shape, ranges.usual)]),
    "health_answerable": (law_health_answerable, AccountHealthPredictor, health_mutants()),
    "delivery": (law_delivery, fairness.delivery_parity, verdicts()),
    "demographic_parity_difference": (law_parity_difference, fairness.demographic_parity_difference, [always(0.0), always(0.5)]),
    "accuracy_gap_frontier": (
        law_frontier,
        fairness.accuracy_gap_frontier,
        [always([SimpleNamespace(accuracy=Estimate(0.6, 0, 1, n=9), gap=Estimate(g, 0, 1, n=9))] * 2) for g in (0.0, 0.1, 0.5)],
    ),
    "robustness": (law_robustness, robustness.stability_report, verdicts()),
    "share_status": (law_share_status, robustness.share_status, [always(status) for status in Status]),
    "faulty_feeds": (
        law_door,
        quality.faulty_feeds,
        [
            lambda told, *, day: quality.faulty_feeds(told.clear(), day=day),
            lambda told, *, day: told.select("account_id", kind=pl.lit("unit"), blocking=pl.lit(True)).unique(),
        ],
    ),
    "feed_audit": (law_feed_audit, robustness.feed_audit, verdicts()),
    **{name: (attacked, attack, [idle_attack, lying_attack]) for name, attack in ATTACKS.items()},
    "text_attack": (law_text_attack, robustness.text_attack, [idle_text_attack, lying_text_attack]),
    "label_noise": (
        law_label_noise,
        robustness.label_noise,
        [
            always((robustness.LabelNoise(0.25, 10, Estimate(c, c, c, n=10), Estimate(r, r, r, n=10)),))
            for c, r in ((0.0, 1.0), (0.25, 0.5))
        ],
    ),
    "noised": (law_noised, robustness.noised, [lambda y, *_, **__: y, lambda y, *_, **__: 1 - y]),
    "gradient_masking": (
        law_masking,
        robustness.gradient_masking,
        [always((SimpleNamespace(masked=masked), {})) for masked in (True, False)],
    ),
    "clopper_pearson_lower": (law_clopper_pearson, robustness.clopper_pearson_lower, [lambda k, n, *, alpha: k / n, always(0.0)]),
    "certify": (
        law_certify,
        robustness.certify,
        [always(SimpleNamespace(label=np.array([1, 1, 0, -1]), radius=np.full(4, radius))) for radius in (0.0, 0.2, 9.0)],
    ),
    "median_bounds": (
        law_median_bounds,
        robustness.median_bounds,
        [always(SimpleNamespace(low=np.full(2, -width), high=np.full(2, width))) for width in (0.0, 9.0)],
    ),
    "tree_minimum": (law_tree_minimum, least_in_box, [always(0.0), lambda trees, low, high: trees.bounds(low, high)[0] - 1]),
    "feed_faults": (law_rows_carry_no_order, robustness.feed_faults, [idle_feed]),
    "text_perturbations": (law_texts_change, robustness.text_perturbations, [idle_text]),
    **DETECTORS,
    **PREDICTORS,
    "welch_t": (law_two_means, stats.welch_t, p_values),
    "paired_t": (law_two_means, stats.paired_t, p_values),
    "sign_flip_permutation": (
        law_sign_flips,
        stats.sign_flip_permutation,
        [*p_values, lambda d, *, rng, clusters, n_permutations=99: stats.sign_flip_permutation(d, rng=rng, n_permutations=n_permutations)],
    ),
    "delong_test": (law_delong, stats.delong_test, p_values),
    "auc_delong": (law_auc, stats.auc_delong, [always(Estimate(0.76, 0, 1, n=9)), always(Estimate(0.5, 0.49, 0.51, n=9))]),
    "ratio_difference": (law_ratio, stats.ratio_difference, p_values),
    "ratio_delta": (law_ratio_interval, stats.ratio_delta, [always(Estimate(0.2, 0, 1, n=9)), always(Estimate(0.1, 0.1, 0.1, n=9))]),
    "non_inferiority": (law_non_inferiority, stats.non_inferiority, [always(SimpleNamespace(shown=x)) for x in (True, False)]),
    "equivalence": (
        law_equivalence,
        stats.equivalence,
        [
            *(always(SimpleNamespace(shown=x)) for x in (True, False)),
            lambda test, *, low, high: stats.non_inferiority(test, margin=high),
        ],
    ),
    "cuped_difference": (
        law_cuped,
        stats.cuped_difference,
        [plain_instead_of_cuped, *(always(SimpleNamespace(test=SimpleNamespace(p_value=p))) for p in (0.0, 1.0))],
    ),
    "bca_bootstrap": (law_bca, stats.bca_bootstrap, [always(Estimate(1, -9, 9, n=9)), always(Estimate(0, 0, 0, n=9))]),
    "bca_ends": (law_bca_ends, stats.bca_ends, [always((25.95, 974.05)), always((0.0, 0.0))]),
    "mixture_sprt": (
        law_sequential,
        stats.mixture_sprt,
        [peeked_z, *(always(stats.SequentialTest((p,), 0.05)) for p in (0.0, 1.0))],
    ),
    "confidence_sequence": (
        law_confidence_sequence,
        stats.confidence_sequence,
        [fixed_interval, always(Estimate(0.7, -9, 9, n=9))],
    ),
    "empirical_bernstein_sequence": (
        law_bernstein,
        stats.empirical_bernstein_sequence,
        [always((np.zeros(400), np.ones(400))), always((np.full(400, 0.5), np.full(400, 0.5)))],
    ),
    "sample_ratio": (law_sample_ratio, validation.sample_ratio, [always(SimpleNamespace(mismatch=x)) for x in (True, False)]),
    "ab_test": (law_ab_test, validation.analyse, [always(SimpleNamespace(winner=w)) for w in ("new", "old", None)]),
    "canary look": (law_canary, validation.look, [always(SimpleNamespace(step=step)) for step in validation.Step]),
    "canary replay": (law_replay, validation.replay, [always(SimpleNamespace(state=state)) for state in validation.CanaryState]),
    "stratified_difference": (law_stratified, validation.stratified_difference, [pooled_over_days, rows_as_units]),
    "golden cases": (law_cases, validation.ask_cases, [always([SimpleNamespace(met=x)]) for x in (True, False)]),
    "golden slices": (
        law_slices,
        validation.judge_slices,
        [always((SimpleNamespace(status=status),)) for status in Status] + [without_champion, blind_to_the_set],
    ),
    "assign": (law_assignment, validation.assign, [always("a"), always("b")]),
    "stable_fraction": (law_fraction, validation.stable_fraction, [always(0.0), always(0.5)]),
    "matured": (law_matured, validation.matured, [lambda rows, *_, **__: rows, lambda rows, *_, **__: rows.clear()]),
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
    by_seed = {getattr(robustness, name) for name in ATTACKS}
    covered = {real for _, real, _ in CASES.values()} | by_seed | {stats.cluster_bootstrap, stats.cluster_mean, stats.two_way_bootstrap}
    # Not judges themselves: they prepare, describe, or are built from what is covered.
    exempt = {
        monitoring: {"alert_for_check", "alert_for_drift", "alert_for_run", "alert_for_verdict", "kolmogorov_smirnov_distance"} | DESCRIBERS
        | {"account_evidence", "accumulate", "alert_for_finding", "alert_for_silent_sensor", "read_alert_settings", "sign"},
        stats: {
            "mixture_half_width", "mixture_wealth", "paired_difference", "permute_clusters", "power_of_means", "power_of_proportions",
            "resampled_rows", "sample_size_means", "sample_size_proportions", "sequential_power", "two_way_rows",
        },
        validation: {
            "changed_set", "compare_cases", "load_golden", "load_golden_set", "logged", "next_state", "record_golden", "set_difference",
            "slice_results", "spread", "without_golden_groups", "write_golden_set",
        },
        fairness: {"classification_measures", "declared", "demographic_parity_ratio", "equal_opportunity_ratio", "equalized_odds_ratio",
                   "fair_budget", "fair_xgboost_objective", "flipped", "group_means", "intersection", "mean_measure", "pooled",
                   "predictive_parity_ratio", "reweighing_weights"},
        robustness: {"ask", "duplicated_rows", "homoglyphs", "lower_case", "missing_column", "missing_values", "punctuation", "scaled_unit",
                     "shuffled_columns",
                     "shuffled_rows", "typos", "upper_case", "emoji", "exclamation", "invisible", "synonyms", "fact_faults",
                     "history_faults", "weeks_apart",
                     "classifier_victim", "score_victim", "ensemble", "monotone_constraints", "smoothed"},
    }  # fmt: skip
    for room, names in exempt.items():
        functions = {n for n in room.__all__ if callable(getattr(room, n)) and not isinstance(getattr(room, n), type)} - {
            "Predict",
            "Door",
            "ScoreTexts",
        }
        assert {n for n in functions if getattr(room, n) not in covered} == names, room.__name__
