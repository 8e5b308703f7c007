"""Daily windows share days and a reference, so their p-values hang together: the false discovery rate is kept all the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from within_pipelines.monitoring import mean_shift
from within_pipelines.stats import lord_level

ACCOUNTS, DAYS, REFERENCE_DAYS = 24, 28, 28
WINDOWS = (7, 28)  # days of a window: account health, ad score
ALPHA, STREAMS = 0.1, 250
SIZE = 1.0  # of a real shift, in standard deviations of an account's day

# Days of the stream on which the world is shifted: never; from the third week on; for some days; for a day, twice; for the first weeks.
WORLDS: dict[str, tuple[tuple[int, int], ...]] = {
    "calm": (),
    "drift that stays": ((20, 99),),
    "drift that passes": ((6, 12),),
    "two bad days": ((2, 3), (14, 15)),
    "drift that ends": ((0, 12),),
}
Level = Callable[[list[float]], float]


def as_monitored(past: list[float]) -> float:
    """What `monitor_day` asks, at a rate that a simulation can see."""
    return lord_level(past, alpha=ALPHA, initial_share=0.9, horizon=DAYS)


def account_days(
    rng: np.random.Generator, shifted: tuple[tuple[int, int], ...], memory: float, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(reference, days of the stream, which of those are shifted): accounts with a level each, whose days remember the day before."""
    total = REFERENCE_DAYS + DAYS + window - 1
    noise = rng.normal(size=(total, ACCOUNTS))
    for day in range(1, total):
        noise[day] = memory * noise[day - 1] + np.sqrt(1 - memory**2) * noise[day]
    rows = noise + 0.5 * rng.normal(size=ACCOUNTS)
    moved = np.zeros(DAYS + window - 1, dtype=bool)
    for first, after in shifted:
        moved[first:after] = True
    return rows[:REFERENCE_DAYS], rows[REFERENCE_DAYS:] + SIZE * moved[:, None], moved


def p_values(rng: np.random.Generator, reference: np.ndarray, current: np.ndarray, window: int, signs: int = 1999) -> np.ndarray:
    """`mean_shift` of every window of so many days against the reference at once, accounts as clusters."""
    sums = np.cumsum(np.vstack([np.zeros(ACCOUNTS), current]), axis=0)
    means = (sums[window:] - sums[:-window]) / window
    change = means.mean(axis=1) - reference.mean()
    added = (means - reference.mean(axis=0)) / ACCOUNTS / np.sqrt(1 - 2 / ACCOUNTS)
    null = np.abs((rng.integers(0, 2, size=(signs, ACCOUNTS)) * 2.0 - 1.0) @ added.T)
    return (1 + np.sum(null >= np.abs(change) - 1e-12, axis=0)) / (1 + signs)


def test_the_windows_are_judged_as_mean_shift_does() -> None:
    rng = np.random.default_rng(1)
    reference, current, _ = account_days(rng, ((10, 99),), 0.5, 7)
    fast = p_values(rng, reference, current, 7, signs=20_000)
    for day in (0, 9, 12):
        window = current[day : day + 7]
        whole = mean_shift(
            reference.ravel(), window.ravel(), rng=rng, reference_clusters=np.tile(np.arange(ACCOUNTS), REFERENCE_DAYS),
            current_clusters=np.tile(np.arange(ACCOUNTS), 7), n_permutations=20_000,
        )  # fmt: skip
        # Both are counted among 20,000 random signs.
        assert fast[day] == pytest.approx(float(whole.p_value[0]), abs=4 * 0.5 / np.sqrt(20_000))


def proportions(level: Level, shifted: tuple[tuple[int, int], ...], memory: float, window: int, seed: int) -> tuple[float, float]:
    """(false discovery rate, share of streams with a true discovery). A window without a shifted day has nothing to discover."""
    rng = np.random.default_rng(seed)
    false, found = [], 0
    for _ in range(STREAMS):
        reference, current, moved = account_days(rng, shifted, memory, window)
        p = p_values(rng, reference, current, window)
        real = np.array([moved[day : day + window].any() for day in range(DAYS)])
        rejected = np.zeros(DAYS, dtype=bool)
        for day in range(DAYS):
            rejected[day] = p[day] <= level(p[:day].tolist())
        false.append((rejected & ~real).sum() / max(1, rejected.sum()))
        found += bool((rejected & real).any())
    return float(np.mean(false)), found / STREAMS


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.7])
@pytest.mark.parametrize(("world", "window"), [(world, WINDOWS[0]) for world in WORLDS] + [("drift that ends", WINDOWS[1])])
def test_overlapping_windows_keep_the_false_discovery_rate(world: str, window: int, memory: float) -> None:
    rate, found = proportions(as_monitored, WORLDS[world], memory, window, seed=5)
    # The standard error of a rate of .1 over 250 streams is at most .019.
    assert rate <= ALPHA + 2 * 0.019
    # A window of four weeks holds twelve shifted days at most, so it sees less of them.
    if world in ("drift that stays", "drift that passes", "drift that ends"):
        assert found >= (0.75 if window == 7 else 0.4)


def test_without_a_budget_calm_months_would_be_full_of_alarms() -> None:
    """The simulation can fail: the same level every day, as if days were one question each, does not keep the rate."""
    rate, _ = proportions(lambda past: ALPHA, (), 0.0, WINDOWS[0], seed=6)
    assert rate >= 0.25
