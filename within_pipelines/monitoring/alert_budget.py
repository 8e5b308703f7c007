"""Alerts over many accounts within a budget of false ones.

Rules per series drown people: with thousands of accounts and a handful of metrics each, some series is always improbable. Here the account
is the hypothesis. Its evidence on a day is the mean of its worst three metrics' surprise (-log10 of their p-values); it accumulates over
three days; its p-value is its rank among the same statistic of all accounts on past days, with incidents removed; and the false discovery
rate over accounts is held by Benjamini and Hochberg (1995)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from within_pipelines.exceptions import SampleError
from within_pipelines.stats import benjamini_hochberg

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

WORST = 3
DAYS = 3
# The share of false alerts among alerts that people are asked to bear: a precision of .85.
ALPHA = 0.15
# An open alert closes when its evidence is again what one in twenty quiet account-days shows.
CALM_P = 0.05
# Past account-days below which there is no saying what is usual.
FEWEST = 200


def account_evidence(surprise: npt.ArrayLike, *, worst: int = WORST) -> Floats:
    """Mean of the `worst` largest surprises over metrics: shape (accounts, metrics, days) to (accounts, days).

    A metric that could not be judged (NaN) counts as no surprise, so an account of which little is known needs more from the rest; a day on
    which nothing could be judged is NaN. Raises `SampleError` for another shape.

    >>> account_evidence([[[3.0], [0.0], [1.0], [2.0]]])
    array([[2.]])
    """
    values = np.asarray(surprise, dtype=np.float64)
    if values.ndim != 3 or values.shape[1] == 0:
        raise SampleError(f"The surprises have shape {values.shape}; give (accounts, metrics, days) with at least one metric.")
    known = np.isfinite(values)
    filled = np.where(known, np.maximum(values, 0.0), 0.0)
    if filled.shape[1] > worst:
        filled = np.partition(filled, filled.shape[1] - worst, axis=1)[:, -worst:]
    return np.where(known.any(axis=1), filled.sum(axis=1) / worst, np.nan)


def accumulate(evidence: npt.ArrayLike, *, centre: float, days: int = DAYS) -> Floats:
    """The strongest of the newest one to `days` days' excess over `centre`, each sum divided by the root of its number of days.

    A sharp break shows on its first day and a weak one that lasts on its third. Unknown days add nothing; where the newest day is unknown
    the statistic is NaN.

    >>> accumulate([[0.5, 2.5, 2.5]], centre=0.5).round(2)
    array([[0.  , 2.  , 2.83]])
    """
    values = np.asarray(evidence, dtype=np.float64)
    excess = np.where(np.isfinite(values), values - centre, 0.0)
    total = excess.copy()
    best = excess.copy()
    for width in range(2, days + 1):
        total[:, width - 1 :] += excess[:, : excess.shape[1] - width + 1]
        best[:, width - 1 :] = np.maximum(best[:, width - 1 :], total[:, width - 1 :] / np.sqrt(width))
    return np.where(np.isfinite(values), best, np.nan)


@dataclass(frozen=True, slots=True)
class AccountJudgement:
    """One day of all accounts: accumulated statistic, p-value, adjusted p-value (NaN where not tested), and what follows.

    `opens` are accounts whose alert opens today, `calm` those whose evidence is usual again."""

    statistic: Floats
    p_value: Floats
    adjusted: Floats
    opens: Bools
    calm: Bools


@dataclass(frozen=True, slots=True)
class AlertBudget:
    """What is usual for an account's evidence, and how much of it is too much.

    `usual` is the statistic on past account-days without incidents, sorted. `expected_false_per_week` is how many alerts open there,
    replayed, plus the share alpha / (1 - alpha) of the alerts that incidents caused, which the false discovery rate allows besides.
    `removed` account-days were left out as incidents."""

    usual: Floats
    centre: float
    alpha: float
    expected_false_per_week: float
    incidents_per_week: float
    removed: int
    days: int
    worst: int = WORST
    accumulated: int = DAYS

    @classmethod
    def learn(
        cls, surprise: npt.ArrayLike, *, false_per_week: float | None = None, alpha: float = ALPHA, worst: int = WORST, days: int = DAYS
    ) -> AlertBudget:
        """Learn from past surprises (accounts, metrics, days).

        An incident is taken out where the statistic is so far beyond what the tail of the rest reaches that not one such value is expected
        in the whole window; the days around it go with it as long as they are unusual. `alpha` is lowered until no more than
        `false_per_week` false alerts are expected, if that is given.

        Raises `SampleError` for fewer than 200 known account-days, or a budget or level that is not positive."""
        if not 0 < alpha < 1 or (false_per_week is not None and false_per_week <= 0):
            raise SampleError(f"alpha is {alpha} and the budget {false_per_week}; give a level between 0 and 1 and a positive budget.")
        evidence = account_evidence(surprise, worst=worst)
        known = np.isfinite(evidence)
        if known.sum() < FEWEST:
            raise SampleError(f"Only {int(known.sum())} past account-days are known; give at least {FEWEST}, to say what is usual.")
        centre = float(np.median(evidence[known]))
        statistic = accumulate(evidence, centre=centre, days=days)
        incident = _incidents(statistic)
        quiet = np.where(incident, np.nan, statistic)
        usual = np.sort(quiet[np.isfinite(quiet)])
        level = alpha
        while True:
            budget = cls(usual, centre, level, 0.0, 0.0, int(incident.sum()), evidence.shape[1], worst, days)
            weeks = evidence.shape[1] / 7.0
            false = float(_opened(budget, quiet).sum()) / weeks
            true = float((_opened(budget, statistic) & _near(incident)).sum()) / weeks
            expected = false + true * level / (1.0 - level)
            if false_per_week is None or expected <= false_per_week or level < 1e-4:
                break
            level *= 0.7
        return cls(usual, centre, level, expected, true, int(incident.sum()), evidence.shape[1], worst, days)

    @property
    def quiet_days(self) -> int:
        """Past account-days that tell what is usual."""
        return len(self.usual)

    def p_value(self, statistic: npt.ArrayLike) -> Floats:
        """Share of usual account-days at least as far out, (1 + how many) / (1 + all); NaN stays NaN."""
        values = np.asarray(statistic, dtype=np.float64)
        beyond = len(self.usual) - np.searchsorted(self.usual, values, side="left")
        return np.where(np.isfinite(values), (1.0 + beyond) / (1.0 + len(self.usual)), np.nan)

    def can_tell(self, accounts: int) -> bool:
        """Whether the past is long enough for one account among so many to be found at all."""
        return 1.0 / (1.0 + len(self.usual)) <= self.alpha / max(1, accounts)

    def judge(self, surprise: npt.ArrayLike, *, is_open: npt.ArrayLike | None = None) -> AccountJudgement:
        """Judge the newest day of `surprise` (accounts, metrics, days; the newest days suffice).

        Accounts with an open alert are not tested again: they are no new discoveries."""
        statistic = accumulate(account_evidence(surprise, worst=self.worst), centre=self.centre, days=self.accumulated)[:, -1]
        open_now = np.zeros(len(statistic), dtype=bool) if is_open is None else np.asarray(is_open, dtype=bool)
        p = self.p_value(statistic)
        adjusted = _adjusted(p, ~open_now)
        return AccountJudgement(statistic, p, adjusted, adjusted <= self.alpha, p > CALM_P)

    def replay(self, surprise: npt.ArrayLike) -> Bools:
        """On which days (accounts, days) an alert would have opened, day after day, with alerts that close when their account is calm."""
        evidence = account_evidence(surprise, worst=self.worst)
        return _opened(self, accumulate(evidence, centre=self.centre, days=self.accumulated))


def _adjusted(p: Floats, tested: Bools) -> Floats:
    adjusted = np.full(len(p), np.nan)
    rows = np.nonzero(tested & np.isfinite(p))[0]
    if len(rows):
        adjusted[rows] = benjamini_hochberg(p[rows])
    return adjusted


def _opened(budget: AlertBudget, statistic: Floats) -> Bools:
    p = budget.p_value(statistic)
    opened = np.zeros(p.shape, dtype=bool)
    is_open = np.zeros(len(p), dtype=bool)
    for day in range(p.shape[1]):
        is_open &= ~(p[:, day] > CALM_P)
        opened[:, day] = _adjusted(p[:, day], ~is_open) <= budget.alpha
        is_open |= opened[:, day]
    return opened


# A tail is drawn through these quantiles: each leaves a quarter of what the one before leaves.
_QUANTILES = (0.80, 0.95, 0.9875)
# From one of them to the next, for the slowest tail of a mean of calibrated surprises: -log10 of a p-value, all metrics moving as one.
_STEEPEST = float(np.log10(4.0))
_ROUNDS = 5
_EXPLAINED_AT_FIRST, _EXPLAINED = 0.2, 0.025


def _incidents(statistic: Floats) -> Bools:
    """Account-days that the tail of the rest cannot explain, with the unusual days next to them.

    The tail is a generalised Pareto law through three quantiles, whose shape is Pickands' (1975) less one standard error and never below
    the exponential: a mean of surprises falls off faster than that. From the height on at which it explains at most one in forty of the
    days beyond, days are incidents; they are taken out and everything is judged again by the tail of the rest, because they raised its
    quantiles and its shape, which is why the first turn takes it for that of
    calibrated p-values and asks for one in five only. Cutting at a quantile instead would make the next
    value look improbable, for ever."""
    incident = np.zeros(statistic.shape, dtype=bool)
    for turn in range(_ROUNDS):
        known = np.sort(statistic[np.isfinite(statistic) & ~incident])
        first, middle, high = np.quantile(known, _QUANTILES)
        if turn == 0:
            high = min(high, middle + _STEEPEST)
        candidates = np.sort(statistic[np.isfinite(statistic) & (statistic > high)])
        explained = (
            len(known) * (1.0 - _QUANTILES[2]) * _beyond(candidates - high, first, middle, high, n=len(known), exponential=turn == 0)
        )
        share = _EXPLAINED_AT_FIRST if turn == 0 else _EXPLAINED
        out = np.nonzero(explained <= share * np.arange(len(candidates), 0, -1))[0]
        if not len(out):
            return np.zeros(statistic.shape, dtype=bool)
        grown = _spread(statistic >= candidates[out[0]], statistic > high)
        if np.array_equal(grown, incident):
            break
        incident = grown
    return incident


def _beyond(excess: Floats, first: float, middle: float, high: float, *, n: int, exponential: bool) -> Floats:
    """Share of what exceeds `high` that exceeds it by more than `excess`."""
    lower, upper = max(middle - first, 1e-9), max(high - middle, 1e-9)
    noise = 1.8 / np.sqrt(max(1.0, n * (1.0 - _QUANTILES[2])))
    shape = max(0.0, float(np.log(upper / lower) / np.log(4.0)) - noise)
    if exponential or shape < 1e-6:
        return np.asarray(np.exp(-excess * np.log(4.0) / upper))
    # The quantile at a quarter of what is left beyond `middle` lies `upper` above it; the scale at `high` has grown by 4^shape.
    scale = shape * upper * 4.0**shape / (4.0**shape - 1.0)
    return np.asarray((1.0 + shape * excess / scale) ** (-1.0 / shape))


def _spread(peak: Bools, unusual: Bools) -> Bools:
    """`peak` and the runs of `unusual` days that touch it."""
    reached = peak.copy()
    for _ in range(peak.shape[1]):
        grown = reached.copy()
        grown[:, 1:] |= reached[:, :-1] & unusual[:, 1:]
        grown[:, :-1] |= reached[:, 1:] & unusual[:, :-1]
        if np.array_equal(grown, reached):
            break
        reached = grown
    return reached


def _near(incident: Bools) -> Bools:
    near = incident.copy()
    near[:, 1:] |= incident[:, :-1]
    near[:, :-1] |= incident[:, 1:]
    return near
