"""Alerts over many accounts within a budget of false ones.

Rules per series drown people: with thousands of accounts and a handful of metrics each, some series is always improbable. Here the account
is the hypothesis. Its evidence on a day is the mean of its worst three metrics' surprise (-log10 of their p-values); it accumulates over
three days; what is usual is the same statistic of all accounts on past days, with incidents weighed out (`quiet_past`).

The level is the share of false alerts among all alerts in the long run. The procedure of Benjamini and Hochberg (1995) day by day does not
hold that: it holds the mean of each day's share, in which a day without an alert counts as one without fault. With k incidents found a
day and level a, (k + 1) / (k + 1 + k (1 - a) / a) of all alerts are false: for k = 2 and a = .15 that is .21. So the procedure runs over
episodes, those of the past and of today in one pool: usual episodes expected from a height on, over episodes observed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.quiet_past import Bools, Floats, episodes, incident_days, thinned, usual_probability

WORST = 3
DAYS = 3
# The share of false alerts among alerts that people are asked to bear: a precision of .85.
ALPHA = 0.15
# An open alert closes when its evidence is again what one in twenty quiet account-days shows.
CALM_P = 0.05
# Where incidents are so rare that no height holds the level, one false alert a week is borne all the same: few accounts have few alerts.
FEW_PER_WEEK = 1.0
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

    `usual` is the statistic on past account-days, `usual_peaks` its highest value in each past episode (days on end beyond `calm`), both
    sorted, with incidents taken out; `peaks` those of all past episodes. `limit` is what the statistic must reach for an alert to open on
    a day on which no other account stands out; infinite where no value can be enough. `expected_false_per_week` is how many usual episodes
    reach it, one added for those that have not been seen, `incidents_per_week` how many others do. `removed` account-days were incidents;
    `days` is the length of the past."""

    usual: Floats
    usual_peaks: Floats
    peaks: Floats
    centre: float
    calm: float
    alpha: float
    limit: float
    expected_false_per_week: float
    incidents_per_week: float
    removed: int
    known: int
    days: int
    worst: int = WORST
    accumulated: int = DAYS

    @classmethod
    def learn(
        cls, surprise: npt.ArrayLike, *, false_per_week: float | None = None, alpha: float = ALPHA, worst: int = WORST, days: int = DAYS
    ) -> AlertBudget:
        """Learn from past surprises (accounts, metrics, days).

        Which days were incidents is not known: an episode so far out that the tail of the rest cannot explain it is one, and the others in
        the tail are as much of one as its mixture says. `alpha` is lowered until no more than `false_per_week` false alerts are expected,
        if that is given; where the past is too short to say so, nothing will open (`can_tell`).

        Raises `SampleError` for fewer than 200 known account-days, or a budget or level that is not positive."""
        if not 0 < alpha < 1 or (false_per_week is not None and false_per_week <= 0):
            raise SampleError(f"alpha is {alpha} and the budget {false_per_week}; give a level between 0 and 1 and a positive budget.")
        evidence = account_evidence(surprise, worst=worst)
        known = np.isfinite(evidence)
        if known.sum() < FEWEST:
            raise SampleError(f"Only {int(known.sum())} past account-days are known; give at least {FEWEST}, to say what is usual.")
        centre = float(np.median(evidence[known]))
        statistic = accumulate(evidence, centre=centre, days=days)
        plain = incident_days(statistic)
        quiet = statistic[known & ~plain]
        calm = float(np.quantile(quiet, 1.0 - CALM_P))
        peaks, which = episodes(statistic, calm=calm)
        probability = usual_probability(peaks, quiet.max() if plain.any() else np.inf)
        by_day = np.where(which >= 0, probability[which] if len(peaks) else 1.0, 1.0)[known]
        budget = cls(
            usual=thinned(statistic[known], by_day),
            usual_peaks=thinned(peaks, probability),
            peaks=np.sort(peaks),
            centre=centre,
            calm=calm,
            alpha=alpha,
            limit=np.inf,
            expected_false_per_week=0.0,
            incidents_per_week=0.0,
            removed=int(np.round((1.0 - by_day).sum())),
            known=int(known.sum()),
            days=evidence.shape[1],
            worst=worst,
            accumulated=days,
        )
        while True:
            budget = budget._stated()
            if false_per_week is None or budget.expected_false_per_week <= false_per_week:
                return budget
            budget = replace(budget, alpha=budget.alpha * 0.9)

    def _stated(self) -> AlertBudget:
        """Itself with the limit that follows from `alpha`, and what is to be expected of it."""
        accounts, weeks = max(1, round(self.known / self.days)), self.days / 7.0
        heights = np.sort(np.concatenate([self.peaks, np.nextafter(self.usual_peaks, np.inf)]))
        enough = heights[self._false_share(heights, _at_least(self.peaks, heights) + 1, accounts) <= self.alpha]
        if not len(enough):
            return replace(self, limit=np.inf, expected_false_per_week=0.0, incidents_per_week=0.0)
        limit = float(enough[0])
        false, all_ = int(_at_least(self.usual_peaks, limit)), int(_at_least(self.peaks, limit))
        return replace(self, limit=limit, expected_false_per_week=(1 + false) / weeks, incidents_per_week=max(0, all_ - false) / weeks)

    def _false_share(self, heights: Floats, found: Floats, accounts: int) -> Floats:
        """Share of usual episodes to be expected among `found` ones of the past and of today (`accounts` account-days more) that reach
        `heights`."""
        pool = self.known + accounts
        false = (1.0 + _at_least(self.usual_peaks, heights)) * pool / self.known
        return np.asarray(false / np.maximum(found, FEW_PER_WEEK / ALPHA * pool / (7.0 * accounts)))

    @property
    def quiet_days(self) -> int:
        """Past account-days that tell what is usual."""
        return self.known - self.removed

    def p_value(self, statistic: npt.ArrayLike) -> Floats:
        """Share of usual account-days at least as far out, (1 + how many) / (1 + all); NaN stays NaN."""
        values = np.asarray(statistic, dtype=np.float64)
        return np.where(np.isfinite(values), (1.0 + _at_least(self.usual, values)) / (1.0 + len(self.usual)), np.nan)

    def can_tell(self, accounts: int) -> bool:
        """Whether the past is long enough for one account among so many to be found at all."""
        return bool(self._adjusted(np.array([np.inf]), max(1, accounts))[0] <= self.alpha)

    def judge(self, surprise: npt.ArrayLike, *, is_open: npt.ArrayLike | None = None) -> AccountJudgement:
        """Judge the newest day of `surprise` (accounts, metrics, days; the newest days suffice).

        Accounts with an open alert are not tested again: they are no new discoveries."""
        statistic = accumulate(account_evidence(surprise, worst=self.worst), centre=self.centre, days=self.accumulated)[:, -1]
        open_now = np.zeros(len(statistic), dtype=bool) if is_open is None else np.asarray(is_open, dtype=bool)
        adjusted = self._new(statistic, open_now)
        return AccountJudgement(statistic, self.p_value(statistic), adjusted, adjusted <= self.alpha, statistic <= self.calm)

    def replay(self, surprise: npt.ArrayLike) -> Bools:
        """On which days (accounts, days) an alert would have opened, day after day, with alerts that close when their account is calm."""
        statistic = accumulate(account_evidence(surprise, worst=self.worst), centre=self.centre, days=self.accumulated)
        opened = np.zeros(statistic.shape, dtype=bool)
        is_open = np.zeros(len(statistic), dtype=bool)
        for day in range(statistic.shape[1]):
            is_open &= ~(statistic[:, day] <= self.calm)
            opened[:, day] = self._new(statistic[:, day], is_open) <= self.alpha
            is_open |= opened[:, day]
        return opened

    def _new(self, statistic: Floats, is_open: Bools) -> Floats:
        """Adjusted p-values of the accounts without an open alert; NaN for the others and the unknown."""
        adjusted = np.full(len(statistic), np.nan)
        tested = np.nonzero(~is_open & np.isfinite(statistic))[0]
        if len(tested):
            adjusted[tested] = self._adjusted(statistic[tested], len(tested))
        return adjusted

    def _adjusted(self, statistic: Floats, accounts: int) -> Floats:
        """The smallest expected share of false alerts at which each would open, given the past's episodes and today's accounts."""
        today = statistic[statistic > self.calm]
        pool = np.sort(np.concatenate([self.peaks, today]))
        if not len(pool):
            return np.ones(len(statistic))
        least = np.minimum.accumulate(np.minimum(1.0, self._false_share(pool, _at_least(pool, pool), accounts)))
        place = np.searchsorted(pool, statistic, side="right") - 1
        return np.where(statistic > self.calm, least[np.maximum(place, 0)], 1.0)


def _at_least(ordered: Floats, heights: npt.ArrayLike) -> Floats:
    return np.asarray(len(ordered) - np.searchsorted(ordered, heights, side="left"), dtype=np.float64)
