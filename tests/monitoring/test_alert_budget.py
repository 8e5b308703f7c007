"""Laws of account alerts: few false ones, stated beforehand, and deep drops are found within a day."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import AlertBudget, account_evidence, accumulate
from within_pipelines.monitoring.alert_budget import ALPHA
from within_pipelines.monitoring.quiet_past import incident_days
from within_pipelines.stats import benjamini_hochberg

METRICS, T = 6, 6


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """What the metrics of an account share in front, what is each one's own behind; heavy tails."""
    return 0.8 * rng.standard_t(T, (shape[0], 1, shape[2])) + 0.7 * rng.standard_t(T, shape)


def world(rng: np.random.Generator, accounts: int, days: int, prevalence: float) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Surprises as a calibrated detector gives them, and incidents (account, first day, days): drops to 30 % in three or four metrics."""
    usual = np.sort(np.abs(noise(rng, 40_000, 1, 10)).ravel())
    spread = rng.uniform(0.1, 0.22, (accounts, 1, 1))
    drop, incidents = np.zeros((accounts, METRICS, days)), []
    for account, day in zip(*np.nonzero(rng.random((accounts, days)) < prevalence), strict=True):
        length = int(rng.integers(2, 6))
        metrics = ([0, 1, 2, 3], [1, 2, 4], [0, 2, 5])[int(rng.integers(3))]
        drop[account, metrics, day : day + length] = np.log(0.3)
        incidents.append((int(account), int(day), length))
    size = np.abs(noise(rng, accounts, METRICS, days) * rng.uniform(0.95, 1.05, (accounts, METRICS, 1)) + drop / spread)
    beyond = len(usual) - np.searchsorted(usual, size)
    return -np.log10((beyond + 0.5) / (len(usual) + 1)), incidents


def outcome(opened: np.ndarray, incidents: list[tuple[int, int, int]]) -> tuple[float, float, float, float]:
    """Recall, precision, false alerts a day, median delay."""
    explained = np.zeros(opened.shape, dtype=bool)
    delays = []
    for account, day, length in incidents:
        window = opened[account, day : day + length + 1]
        delays.append(float(np.argmax(window)) if window.any() else np.inf)
        explained[account, day : day + length + 3] = True
    false = int((opened & ~explained).sum())
    recall = float(np.isfinite(delays).mean()) if delays else 1.0
    precision = 1 - false / max(1, int(opened.sum()))
    return recall, precision, false / opened.shape[1], float(np.median(delays)) if delays else 0.0


def test_evidence_is_the_mean_of_the_worst_three_and_the_unknown_is_no_evidence() -> None:
    one = [[1.0], [4.0], [2.0], [3.0], [np.nan]]
    assert account_evidence([one]) == pytest.approx(3.0)
    assert account_evidence([[[6.0], [np.nan], [np.nan]]]) == pytest.approx(2.0)
    assert np.isnan(account_evidence([[[np.nan], [np.nan]]])).all()
    with pytest.raises(SampleError, match=r"\(3,\)"):
        account_evidence([1.0, 2.0, 3.0])


def test_evidence_accumulates_over_three_days_and_no_longer() -> None:
    found = accumulate([[1.0, 1.0, 1.0, 1.0, 0.0, np.nan]], centre=0.0)[0]
    assert found[:5] == pytest.approx([1, np.sqrt(2), np.sqrt(3), np.sqrt(3), 2 / np.sqrt(3)])
    assert np.isnan(found[5])


def test_without_incidents_as_many_false_alerts_open_as_stated() -> None:
    rng = np.random.default_rng(1)
    budget = AlertBudget.learn(world(rng, 1500, 70, 0.0)[0])
    opened = budget.replay(world(rng, 1500, 84, 0.0)[0])
    assert budget.removed <= 10
    # Twelve weeks: a Poisson number, so three standard deviations either way.
    expected = budget.expected_false_per_week * 12
    assert abs(opened.sum() - expected) <= 3 * np.sqrt(expected) + 5
    assert opened.sum() / 84 <= 0.25


def test_drops_to_30_percent_at_a_tenth_of_a_percent_are_found_within_the_budget() -> None:
    rng = np.random.default_rng(2)
    budget = AlertBudget.learn(world(rng, 2000, 70, 0.001)[0])
    surprise, incidents = world(rng, 2000, 60, 0.001)
    recall, precision, false_per_day, delay = outcome(budget.replay(surprise), incidents)
    assert recall >= 0.95
    # The level says .85; of about 140 alerts its standard error is .03, and past and present have detectors of their own.
    assert precision >= 0.80
    assert false_per_day <= 1
    assert delay <= 1
    assert budget.removed > 300


def by_day(budget: AlertBudget, surprise: np.ndarray) -> np.ndarray:
    """Alerts by Benjamini and Hochberg over the accounts of each day for itself, at the same level."""
    statistic = accumulate(account_evidence(surprise), centre=budget.centre)
    p = budget.p_value(statistic)
    opened, is_open = np.zeros(p.shape, dtype=bool), np.zeros(len(p), dtype=bool)
    for day in range(p.shape[1]):
        is_open &= statistic[:, day] > budget.calm
        tested = np.nonzero(~is_open)[0]
        opened[tested, day] = benjamini_hochberg(p[tested, day]) <= ALPHA
        is_open |= opened[:, day]
    return opened


def cut_off(budget: AlertBudget, past: np.ndarray) -> AlertBudget:
    """The same with everything taken for an incident from the height on where nothing usual is plausible, and nothing below."""
    statistic = accumulate(account_evidence(past), centre=budget.centre)
    highest = statistic[~incident_days(statistic)].max()
    return replace(budget, usual=np.sort(statistic[statistic <= highest], axis=None), usual_peaks=budget.peaks[budget.peaks <= highest])


@pytest.mark.parametrize("prevalence", [0.0005, 0.002])
def test_the_share_of_false_alerts_is_the_level_however_frequent_incidents_are(prevalence: float) -> None:
    """Pooled over four worlds. Its standard error is .02 to .03: that of 300 to 1,100 alerts, and a quarter of the level in each world,
    whose past and present have detectors of their own. Without either half of the procedure it is not held: with a past that is cut off
    where incidents are plain, nor with each day for itself where incidents are rare."""
    alerts, false, stated = np.zeros(4), np.zeros(4), 0.0
    for seed in range(300, 304):
        rng = np.random.default_rng(seed)
        past, _ = world(rng, 2000, 70, prevalence)
        budget = AlertBudget.learn(past)
        surprise, incidents = world(rng, 2000, 60, prevalence)
        cut = cut_off(budget, past)
        for rule, opened in enumerate((budget.replay(surprise), cut.replay(surprise), by_day(budget, surprise), by_day(cut, surprise))):
            alerts[rule] += opened.sum()
            false[rule] += outcome(opened, incidents)[2] * 60
        stated += budget.expected_false_per_week * 60 / 7
    share = false / alerts
    # Shown by `pytest -s`, for docs/alerts-and-retraining.md: as it is, with a past cut off, each day for itself, and both.
    told = f"{prevalence:.2%}: false {share.round(3)} of {alerts.astype(int)} alerts, stated / found {stated / false[0]:.2f}"
    print(told)  # noqa: T201
    assert abs(share[0] - ALPHA) <= 0.05
    assert 0.65 <= stated / false[0] <= 1.5
    assert share[1] > ALPHA + 0.05
    assert share[2] > ALPHA + 0.05 or prevalence > 0.001
    assert share[3] > ALPHA + 0.05


def test_incidents_in_the_past_do_not_excuse_those_of_today() -> None:
    rng = np.random.default_rng(3)
    past, _ = world(rng, 1000, 70, 0.0015)
    surprise, incidents = world(rng, 1000, 40, 0.0015)
    cleaned = AlertBudget.learn(past)
    kept_in = replace(cleaned, usual_peaks=cleaned.peaks)
    assert outcome(cleaned.replay(surprise), incidents)[0] >= 0.85
    assert outcome(kept_in.replay(surprise), incidents)[0] <= 0.3


def test_an_open_account_is_no_new_discovery_and_a_calm_one_closes() -> None:
    rng = np.random.default_rng(4)
    past, _ = world(rng, 300, 60, 0.0)
    budget = AlertBudget.learn(past)
    recent = past[:, :, :3].copy()
    recent[7] = 9.0
    judged = budget.judge(recent)
    assert judged.opens[7]
    assert not judged.calm[7]
    again = budget.judge(recent, is_open=np.arange(300) == 7)
    assert not again.opens[7]
    assert np.isnan(again.adjusted[7])
    assert judged.calm.mean() > 0.9
    opened = budget.replay(np.concatenate([recent] * 4, axis=2))
    assert opened[7].sum() == 1


def test_a_smaller_budget_is_kept() -> None:
    rng = np.random.default_rng(5)
    past, _ = world(rng, 1000, 70, 0.001)
    wide, narrow = AlertBudget.learn(past), AlertBudget.learn(past, false_per_week=0.2)
    assert narrow.alpha < wide.alpha
    assert narrow.expected_false_per_week <= 0.2 < wide.expected_false_per_week


def test_the_order_of_accounts_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    past, _ = world(rng, 200, 60, 0.002)
    order = rng.permutation(200)
    a, b = AlertBudget.learn(past), AlertBudget.learn(past[order])
    assert np.array_equal(a.usual, b.usual)
    assert np.array_equal(a.replay(past)[order], b.replay(past[order]))


def test_a_short_past_says_that_it_is_short() -> None:
    rng = np.random.default_rng(7)
    with pytest.raises(SampleError, match="Only 100 past account-days"):
        AlertBudget.learn(world(rng, 10, 10, 0.0)[0])
    with pytest.raises(SampleError, match="positive budget"):
        AlertBudget.learn(np.ones((10, 6, 30)), false_per_week=0)
    budget = AlertBudget.learn(world(rng, 10, 30, 0.0)[0])
    assert budget.can_tell(10)
    assert not budget.can_tell(500)


def test_ten_thousand_accounts_take_seconds() -> None:
    rng = np.random.default_rng(8)
    surprise = rng.exponential(0.43, (10_000, METRICS, 90)).astype(np.float32)
    started = time.process_time()
    AlertBudget.learn(surprise[:, :, :-7]).judge(surprise[:, :, -3:])
    assert time.process_time() - started <= 5
