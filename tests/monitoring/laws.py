"""Laws of the drift detectors for the proof by mutation: what must hold of each, and constants that break it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from within_pipelines import monitoring, stats
from within_pipelines.monitoring import CalendarEvent, DriftState, MeasurementCalendar


def always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer


def clustered(rng: np.random.Generator, accounts: int, rows: int, icc: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(accounts), rows)
    return labels, np.sqrt(icc) * rng.normal(size=accounts)[labels] + np.sqrt(1 - icc) * rng.normal(size=len(labels))


def law_online_level(level) -> None:
    # No discovery without evidence: the chance of any false discovery among 40 true nulls is at most alpha (10 % here, seen 300 times).
    rng = np.random.default_rng(51)
    wrong = 0
    for _ in range(300):
        p = rng.random(40)
        wrong += any(p[t] <= level(p[:t].tolist(), alpha=0.1) for t in range(40))
    assert wrong / 300 <= 0.14
    assert level([], alpha=0.1) > 0
    # A discovery earns level.
    assert level([0.7] * 5 + [1e-9], alpha=0.1) > level([0.7] * 6, alpha=0.1)


def law_table_drift(detect) -> None:
    rng = np.random.default_rng(52)
    a, x = clustered(rng, 40, 10)
    before = pl.DataFrame({"account": a, "x": x, "y": rng.normal(size=400), "kind": rng.choice(["u", "v"], 400)})
    calm = before.with_columns(y=pl.Series(rng.normal(size=400)), kind=pl.Series(rng.choice(["u", "v"], 400)))
    for clusters in (None, "account"):
        options = {"rng": rng, "clusters": clusters, "features": ["x", "y", "kind"], "n_permutations": 499}
        assert detect(before, calm, **options).drifted == ()
        assert detect(before, calm.with_columns(pl.col("y") + 2), **options).drifted == ("y",)
        assert detect(before, calm.with_columns(kind=pl.lit("u")), **options).drifted == ("kind",)
        assert detect(before, calm.head(0), **options).state is DriftState.INSUFFICIENT


def law_two_sample(compare) -> None:
    rng = np.random.default_rng(53)
    x = rng.normal(size=300)
    assert compare(x, x).ks == 0
    p = [compare(rng.normal(size=60), rng.normal(size=60)) for _ in range(200)]
    for name in ("ks_p_value", "cvm_p_value"):
        found = np.array([getattr(each, name) for each in p])
        assert np.mean(found <= 0.1) <= 0.15
        assert np.mean(found <= 0.6) >= 0.35
    moved = compare(x, x + 3)
    assert moved.ks_p_value < 1e-9
    assert moved.cvm_p_value < 1e-9
    assert abs(moved.wasserstein - 3) < 1e-9


def law_counts(compare) -> None:
    assert compare({"a": 50, "b": 50}, {"a": 50, "b": 50}).p_value == 1.0
    assert compare({"a": 500, "b": 500}, {"a": 700, "b": 300}).p_value < 1e-9
    assert abs(compare({"a": 60, "b": 40, "c": 30}, {"a": 40, "b": 60, "c": 30}).p_value - 0.0183156) < 1e-6
    assert compare({"a": 8, "b": 2}, {"a": 1, "b": 5}).test == "fisher"


def law_fisher(test) -> None:
    assert abs(test(8, 2, 1, 5) - 0.034965) < 1e-6
    assert test(5, 5, 5, 5) > 0.99


def law_binned(detect) -> None:
    rng = np.random.default_rng(54)
    reference = pl.DataFrame({"x": rng.normal(size=3000), "kind": rng.choice(["u", "v"], 3000)})
    profile = monitoring.reference_profile(reference)
    states = lambda frame: [shift.state for shift in detect(profile, frame)]
    assert states(reference) == [DriftState.STABLE, DriftState.STABLE]
    assert states(reference.with_columns(pl.col("x") + 1, kind=pl.lit("u"))) == [DriftState.DRIFTED, DriftState.DRIFTED]
    assert states(reference.drop("x")) == [DriftState.INSUFFICIENT, DriftState.STABLE]


def law_mean_shift(compare) -> None:
    rng = np.random.default_rng(55)
    wrong, covered = 0, 0
    for _ in range(120):
        a, x = clustered(rng, 24, 12)
        b, y = clustered(rng, 24, 12)
        found = compare(x, y + 0.5, rng=rng, reference_clusters=a, current_clusters=b + 100, n_permutations=199)
        covered += bool(found.low[0] <= 0.5 <= found.high[0])
        wrong += bool(compare(x, y, rng=rng, reference_clusters=a, current_clusters=b + 100, n_permutations=199).p_value[0] <= 0.1)
    assert wrong / 120 <= 0.18
    assert covered / 120 >= 0.88
    assert compare(x, y + 5, rng=rng, reference_clusters=a, current_clusters=b).p_value[0] < 0.01


def law_loss_change(detect) -> None:
    rng = np.random.default_rng(56)
    loss = rng.exponential(0.2, size=2000)
    assert detect(loss, rng.permutation(loss), rng=rng).state is DriftState.STABLE
    assert detect(loss, loss + 0.2, rng=rng).state is DriftState.DRIFTED
    assert detect(loss, loss * 0.5, rng=rng).state is DriftState.STABLE  # better is no drift
    assert detect(loss[:20], loss[20:40], rng=rng).state is DriftState.INSUFFICIENT


def law_calibration(detect) -> None:
    rng = np.random.default_rng(57)
    p = rng.uniform(0.05, 0.95, 3000)
    y = (rng.random(3000) < p).astype(float)
    again = (rng.random(3000) < p).astype(float)
    assert detect(y, p, again, p, rng=rng).state is DriftState.STABLE
    assert detect(y, p, 1 - again, p, rng=rng).state is DriftState.DRIFTED
    assert detect(y[:20], p[:20], again[:20], p[:20], rng=rng).state is DriftState.INSUFFICIENT


def law_relation(detect) -> None:
    rng = np.random.default_rng(58)
    x = rng.normal(size=(1500, 3))
    noise = rng.normal(size=(2, 1500))
    names = ["a", "b", "c"]
    assert detect(x, noise[0], x, noise[1], names, rng=rng).state is DriftState.STABLE
    assert detect(x, noise[0], x, noise[1] + x[:, 1], names, rng=rng).features == ("b",)
    assert detect(x[:20], noise[0, :20], x[20:40], noise[1, 20:40], names, rng=rng).state is DriftState.INSUFFICIENT


def law_correlation(detect) -> None:
    rng = np.random.default_rng(59)
    x, y, z = rng.normal(size=(3, 1500))
    before = pl.DataFrame({"a": x, "b": 0.8 * x + 0.6 * y, "c": z})
    calm = pl.DataFrame({"a": y, "b": 0.8 * y + 0.6 * z, "c": x})
    assert detect(before, calm, rng=rng).state is DriftState.STABLE
    turned = detect(before, calm.with_columns(-pl.col("b"), pl.col("c") + 9), rng=rng)
    assert {(pair.first, pair.second) for pair in turned.pairs} == {("a", "b")}
    assert detect(before.head(25), calm.head(25), rng=rng).state is DriftState.INSUFFICIENT


def law_multivariate(detect) -> None:
    rng = np.random.default_rng(60)
    options = {"rng": rng, "n_permutations": 199}
    wrong = 0
    for _ in range(30):
        a, x = clustered(rng, 24, 12, icc=0.8)
        rows = np.column_stack([x, rng.normal(size=len(x))])
        b, y = clustered(rng, 24, 12, icc=0.8)
        other = np.column_stack([y, rng.normal(size=len(y))])
        wrong += detect(rows, other, reference_clusters=a, current_clusters=b + 24, minimum_effect=0.0, **options).p_value <= 0.1
        found = detect(rows, other + 9, reference_clusters=a, current_clusters=b + 24, **options)
    assert wrong <= 8
    assert found.state is DriftState.DRIFTED
    assert detect(rows, rows + 9, **options).state is DriftState.DRIFTED
    assert detect(rows, rng.permutation(rows), **options).state is not DriftState.DRIFTED
    assert detect(rows[:8], rows[8:16], **options).state is not DriftState.STABLE


def law_text(detect) -> None:
    rng = np.random.default_rng(61)
    lengths = lambda texts: np.array([[len(t), t.count("!")] for t in texts], dtype=float)
    calm = ["warm coats", "fine shoes", "a hat"] * 20
    assert detect(calm, calm[::-1], embed=lengths, rng=rng).state is not DriftState.DRIFTED
    assert detect(calm, ["BUY NOW AND SAVE!!!"] * 60, embed=lengths, rng=rng).state is DriftState.DRIFTED


def law_estimate(estimate) -> None:
    rng = np.random.default_rng(62)
    p = rng.beta(2, 3, 4000)
    y = rng.random(4000) < p
    found = estimate(p, "brier", rng=rng)
    assert abs(found.value - np.mean((y - p) ** 2)) < 0.01
    sure = np.clip(p * 3 - 1, 0.02, 0.98)
    assert estimate(sure, "brier", rng=rng).high < found.low
    assert abs(estimate(np.full(200, 0.5), "accuracy", rng=rng).value - 0.5) < 1e-9


def law_divergence(detect) -> None:
    rng = np.random.default_rng(63)
    p = rng.uniform(0.05, 0.95, 20_000)
    y = (rng.random(20_000) < p).astype(float)
    calm = (rng.random(20_000) < p).astype(float)
    told = p * (1 - p)
    assert detect((y - p) ** 2, told, (calm - p) ** 2, told, rng=rng).state is DriftState.STABLE
    assert detect((y - p) ** 2, told, (1 - calm - p) ** 2, told, rng=rng).state is DriftState.DRIFTED
    few = slice(0, 20)
    assert detect(((y - p) ** 2)[few], told[few], ((calm - p) ** 2)[few], told[few], rng=rng).state is DriftState.INSUFFICIENT


def law_direct_loss(estimate) -> None:
    rng = np.random.default_rng(66)
    labels = np.repeat(np.arange(20), 20)
    x, moved = rng.normal(size=(400, 1)), 1 + rng.normal(size=(400, 1))
    loss = np.abs(rng.normal(size=400)) * (0.2 + np.maximum(0, x[:, 0]))
    found = estimate(x, x[:, 0], loss, moved, moved[:, 0], rng=rng, clusters=labels)
    assert abs(found.reference.mean() - loss.mean()) < 0.1 * loss.mean()
    assert found.current.mean() > 1.3 * loss.mean()
    # Rows whose account was seen would be known better: noise that belongs to accounts must not be learned.
    own = rng.normal(size=20)[labels] ** 2
    blind = estimate(labels[:, None].astype(float), labels, own, moved, moved[:, 0], rng=rng, clusters=labels).reference
    assert np.corrcoef(blind, own)[0, 1] < 0.5


def law_stream(make) -> None:
    rng = np.random.default_rng(64)
    calm = (rng.random(3000) < 0.2).astype(float)
    worse = (rng.random(1000) < 0.6).astype(float)
    false_alarms = len(make().feed(calm))
    assert false_alarms <= 15
    detector = make()
    detector.feed(calm[:1000])
    found = detector.feed(worse)
    assert found
    assert found[0] <= 400
    # What it says depends on what it read.
    assert false_alarms < len(make().feed(calm)) + 1
    assert found != make().feed(calm[:1000])


def law_calendar(explanations) -> None:
    event = CalendarEvent(day=date(2026, 6, 20), what="attribution window changed", features=("*conversions*",))
    when = {"model": "m", "reference_end": date(2026, 6, 1), "window_start": date(2026, 6, 24), "window_end": date(2026, 6, 30)}
    calendar = MeasurementCalendar((event,))
    assert explanations(calendar, features=["log_conversions_7"], **when) == (event,)
    assert explanations(calendar, features=["log_conversions_7", "log_ctr_7"], **when) == ()
    assert explanations(calendar, features=["log_conversions_7"], **{**when, "reference_end": date(2026, 6, 25)}) == ()
    assert explanations(calendar, features=["log_conversions_7"], **{**when, "window_end": date(2026, 6, 10)}) == ()


class _Silent:
    def feed(self, values):
        return []


class _Loud:
    def feed(self, values):
        return list(range(len(values)))


states = [always(SimpleNamespace(state=state, features=(), drifted=(), pairs=(), p_value=0.5)) for state in DriftState]
levels = [always(level) for level in (0.0, 0.01, 0.1)]
unclustered = lambda detect: (
    lambda reference, current, *, reference_clusters=None, current_clusters=None, **options: detect(reference, current, **options)
)
calm_shift = SimpleNamespace(ks=0.0, ks_p_value=1.0, cvm_p_value=1.0, wasserstein=0.0)
loud_shift = SimpleNamespace(ks=0.0, ks_p_value=0.0, cvm_p_value=0.0, wasserstein=3.0)
wide = SimpleNamespace(p_value=np.array([0.5]), low=np.array([-9.0]), high=np.array([9.0]))
narrow = SimpleNamespace(p_value=np.array([0.0]), low=np.array([0.5]), high=np.array([0.5]))
DETECTORS: dict[str, tuple[Callable[..., None], Callable[..., Any], list[Callable[..., Any]]]] = {
    "lord_level": (law_online_level, stats.lord_level, levels),
    "saffron_level": (law_online_level, stats.saffron_level, levels),
    "addis_level": (law_online_level, stats.addis_level, levels),
    "table_drift": (
        law_table_drift,
        monitoring.table_drift,
        [*states, always(SimpleNamespace(drifted=("y",), state=DriftState.INSUFFICIENT))],
    ),
    "two_sample": (law_two_sample, monitoring.two_sample, [always(calm_shift), always(loud_shift)]),
    "compare_counts": (
        law_counts,
        monitoring.compare_counts,
        [always(SimpleNamespace(p_value=p, test="fisher")) for p in (0.0, 0.01, 1.0)],
    ),
    "fisher_exact_p_value": (law_fisher, monitoring.fisher_exact_p_value, [always(p) for p in (0.0, 0.034965, 1.0)]),
    "binned_drift": (law_binned, monitoring.binned_drift, [always([SimpleNamespace(state=s)] * 2) for s in DriftState]),
    "mean_shift": (law_mean_shift, monitoring.mean_shift, [always(wide), always(narrow), unclustered(monitoring.mean_shift)]),
    "loss_change": (law_loss_change, monitoring.loss_change, states),
    "calibration_drift": (law_calibration, monitoring.calibration_drift, states),
    "relation_change": (law_relation, monitoring.relation_change, states),
    "correlation_drift": (law_correlation, monitoring.correlation_drift, states),
    "maximum_mean_discrepancy": (
        law_multivariate,
        monitoring.maximum_mean_discrepancy,
        [*states, unclustered(monitoring.maximum_mean_discrepancy)],
    ),
    "least_squares_density_difference": (
        law_multivariate,
        monitoring.least_squares_density_difference,
        [*states, unclustered(monitoring.least_squares_density_difference)],
    ),
    "classifier_two_sample": (law_multivariate, monitoring.classifier_two_sample, states),
    "text_drift": (law_text, monitoring.text_drift, states),
    "estimate_from_probabilities": (
        law_estimate,
        monitoring.estimate_from_probabilities,
        [always(stats.Estimate(v, v - 0.01, v + 0.01, n=9)) for v in (0.2, 0.5)],
    ),
    "divergence": (law_divergence, monitoring.divergence, states),
    "direct_loss": (
        law_direct_loss,
        monitoring.direct_loss,
        [
            always(SimpleNamespace(reference=np.full(400, 0.45), current=np.full(400, 0.45))),
            lambda x, said, loss, new, new_said, **_: SimpleNamespace(
                reference=monitoring.LossRegression(seed=7).fit(x, said, loss).rows(x, said),
                current=monitoring.LossRegression(seed=7).fit(x, said, loss).rows(new, new_said),
            ),
        ],
    ),
    "ADWIN": (law_stream, monitoring.ADWIN, [_Silent, _Loud]),
    "DDM": (law_stream, monitoring.DDM, [_Silent, _Loud]),
    "EDDM": (law_stream, monitoring.EDDM, [_Silent, _Loud]),
    "PageHinkley": (law_stream, lambda: monitoring.PageHinkley(delta=0.05, threshold=12), [_Silent, _Loud]),
    "measurement_calendar": (law_calendar, MeasurementCalendar.explanations, [always(()), always((1,))]),
}
# Not judges: they describe, prepare or tabulate.
DESCRIBERS = {"hashed_words", "jensen_shannon_distance", "moved_words", "performance_table", "reference_profile", "standardised"}
