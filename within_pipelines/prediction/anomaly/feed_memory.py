"""The stopped feeds of `feeds`, told while a stream runs: each once, as soon as it is known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import polars as pl

from within_pipelines.prediction.anomaly.bank import Layer
from within_pipelines.prediction.anomaly.cause import PARTS
from within_pipelines.prediction.anomaly.feeds import FEWEST, RARELY, STUCK
from within_pipelines.prediction.anomaly.series import HOUR_US, KEY, Bools, Floats, Ints, Observations

NEVER = -(2**61)
_EMPTY: dict[str, Any] = {
    "step": 0, "first": -NEVER, "last": NEVER, "value": np.nan, "since": NEVER, "steps": 0, "repeats": 0, "run": 0, "stuck": False,
    "told": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stopped:
    """One feed that was found stopped: `kind` as in `feeds.FeedProblem`, `series` its row in the memory.

    `time` and `value` are those of the last trustworthy value, `points` counts from it to the moment when it became known, and `known` is
    the moment (microseconds) at which it is told."""

    kind: str
    series: int
    time: int
    value: float
    points: int
    known: int


@dataclass(slots=True)
class FeedMemory:
    """What a stream remembers of each series' feed; row i of every array is series `keys[i]`.

    `first` and `last` are the times of its first row and its last value, `since` when the last value first came in its present run of
    `run` repeats; of `steps` steps between values `repeats` repeated one. `stuck` and `told`: it was told as stalled, as missing.

    The clock of an account is its newest value. A moment is complete, and judged, once a later one has come in the account: so a stream
    that delivers the series of one moment one after another says the same as one that delivers them together. `now` completes all moments
    up to itself, and is a clock for accounts that are silent altogether."""

    keys: list[tuple[str, ...]]
    step: Ints
    first: Ints
    last: Ints
    value: Floats
    since: Ints
    steps: Ints
    repeats: Ints
    run: Ints
    stuck: Bools
    told: Bools
    index: dict[tuple[str, ...], int] = field(init=False)
    account: Ints = field(init=False)
    accounts: dict[tuple[str, ...], int] = field(init=False)
    clock: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.index = {key: row for row, key in enumerate(self.keys)}
        self.accounts = {}
        self.account = np.array([self._account(key) for key in self.keys], dtype=np.int64)
        self.clock = np.full(len(self.accounts), NEVER, dtype=np.int64)
        np.maximum.at(self.clock, self.account, self.last)

    def _account(self, key: tuple[str, ...]) -> int:
        return self.accounts.setdefault(key[:2], len(self.accounts))

    @classmethod
    def of(cls, keys: Sequence[tuple[str, ...]], arrays: dict[str, Any] | None = None) -> Self:
        """The memory whose parts `arrays` lists; without them nothing is known of the series."""
        parts = arrays if arrays is not None else {name: np.full(len(keys), blank) for name, blank in _EMPTY.items()}
        return cls(list(keys), **parts)

    def arrays(self, keys: Sequence[tuple[str, ...]]) -> dict[str, Any]:
        """Every array by name, in the order of `keys`, for storage."""
        rows = [self.index[key] for key in keys]
        return {name: getattr(self, name)[rows] for name in _EMPTY}

    def places(self, keys: Sequence[tuple[str, ...]], step: int) -> Ints:
        """Rows of `keys`; series that come for the first time are added with their sampling step."""
        fresh = [key for key in keys if key not in self.index]
        if fresh:
            self.index |= {key: len(self.keys) + number for number, key in enumerate(fresh)}
            self.keys += fresh
            for name, blank in _EMPTY.items():
                part = getattr(self, name)
                setattr(self, name, np.concatenate([part, np.full(len(fresh), step if name == "step" else blank, dtype=part.dtype)]))
            self.account = np.concatenate([self.account, np.array([self._account(key) for key in fresh], dtype=np.int64)])
            self.clock = np.concatenate([self.clock, np.full(len(self.accounts) - len(self.clock), NEVER, dtype=np.int64)])
        return np.array([self.index[key] for key in keys], dtype=np.int64)

    def places_of(self, moved: Sequence[Layer], rows: int) -> Ints:
        """The memory's row of each of `rows` observations, all of them in one of the layers `moved`."""
        place = np.zeros(rows, dtype=np.int64)
        for layer in moved:
            place[layer.rows] = self.places(layer.keys, layer.step)[layer.series]
        return place

    def advance(self, place: Ints, time: Ints, value: Floats, *, now: int | None = None, tell: bool = True) -> tuple[list[Stopped], Bools]:
        """Feeds that stopped with these rows, in the order in which that is known; and which rows repeat the value of a stalled feed.

        `place` is the memory's row of each. Rows at or before a series' last value correct it and tell nothing. With `tell=False` what
        had stopped is remembered as told."""
        np.minimum.at(self.first, place, time)
        order = np.lexsort((time, place))
        order = order[np.isfinite(value[order])]
        late = time[order] <= self.last[place[order]]
        self._correct(*(part[order[late]] for part in (place, time, value)))
        rows = order[~late]
        s, t, v = place[rows], time[rows], value[rows]
        opens, run, began = _runs(s, v, self.value, self.run)
        known = self.last[s] > NEVER
        at = np.arange(len(s))
        first = at[opens][np.cumsum(opens) - 1] if len(s) else at
        steps = self.steps[s] + at - first + known
        same = run > 0
        counted = np.cumsum(same)
        repeats = self.repeats[s] + counted - counted[first] + same[first]
        before = steps - run
        stalled = (run + 1 >= STUCK) & (v != 0) & (before >= FEWEST) & (repeats - run <= RARELY * before)
        since = np.where(began >= 0, t[began], self.since[s])
        already = np.where(opens, self.stuck[s], _before(stalled, False))

        found = [
            Stopped("stalled", int(s[i]), int(since[i]), float(v[i]), int(run[i]), int(t[i])) for i in np.nonzero(stalled & ~already)[0]
        ]
        gaps = _Gaps(
            series=s,
            start=np.where(opens, self.last[s], _before(t, NEVER)),
            end=t,
            value=np.where(opens, self.value[s], _before(v, np.nan)),
            steps=np.where(opens, self.steps[s], _before(steps, 0)),
            told=np.where(opens, self.told[s], False),
        )
        clock = self.clock.copy()
        closes = np.append(opens[1:], True) if len(s) else opens
        mine, ends = s[closes], np.nonzero(closes)[0]
        self.last[mine], self.value[mine], self.since[mine], self.steps[mine] = t[ends], v[ends], since[ends], steps[ends]
        self.repeats[mine], self.run[mine], self.stuck[mine], self.told[mine] = repeats[ends], run[ends], stalled[ends], False
        np.maximum.at(self.clock, self.account[mine], self.last[mine])

        moments = _Moments(self.account[s], t, clock, now, int(time.max()) if len(time) else now)
        if tell:
            found += self._missing(gaps, moments)
        silent = np.nonzero((self.last > NEVER) & ~self.told & (self.steps > 0))[0]
        if now is None:
            silent = silent[np.isin(self.account[silent], np.unique(self.account[s]))]
        end = np.full(len(silent), -NEVER)
        still = _Gaps(silent, self.last[silent], end, self.value[silent], self.steps[silent], self.told[silent])
        ended = self._missing(still, moments, remember=True)
        repeated = np.zeros(len(time), dtype=bool)
        repeated[rows] = stalled
        return sorted([*found, *(ended if tell else ())], key=lambda one: (one.known, one.kind, self.keys[one.series])), repeated

    def step_of(self, key: tuple[str, ...]) -> int | None:
        """The sampling step (microseconds) of a series that had a value, None of any other."""
        row = self.index.get(key)
        return None if row is None or self.last[row] <= NEVER else int(self.step[row])

    def metrics_of(self, account: tuple[str, ...], moment: int) -> set[str]:
        """Metrics that an account (platform, account_id) had by `moment`."""
        own = np.nonzero((self.account == self.accounts.get(account, -1)) & (self.first <= moment))[0]
        return {self.keys[row][-1] for row in own}

    def unheard(self, observed: Observations, *, now: int | None = None) -> list[Stopped]:
        """Known feeds without a value in a whole table, whose account has one there (or `now` is) so much later; nothing is remembered.

        By series; those that were told as missing and have not come back, and ratios whose totals the account has, are left out."""
        numbered = observed.keys.with_columns(t=pl.Series(observed.time), there=pl.Series(np.isfinite(observed.value)))
        newest = np.full(len(self.accounts), NEVER)
        silent = (self.last > NEVER) & ~self.told & (self.steps > 0)
        held: dict[int, set[str]] = {}
        for *parts, last in numbered.group_by(KEY).agg(pl.col("t").filter("there").max()).iter_rows():
            key = tuple(parts)
            account = self.accounts.get(key[:2])
            if account is None:
                continue
            held.setdefault(account, set()).add(key[-1])
            if last is not None:
                newest[account] = max(newest[account], last)
                silent[self.index.get(key, [])] = False
        if now is not None:
            newest = np.maximum(newest, now)
        rows = np.nonzero(silent)[0]
        step, until = self.step[rows], newest[self.account[rows]]
        points = np.rint((until - self.last[rows]) / step).astype(np.int64)
        found = [
            Stopped("missing", int(rows[i]), int(self.last[rows[i]]), float(self.value[rows[i]]), int(points[i]), int(until[i]))
            for i in np.nonzero(points >= _quiet(step))[0]
        ]
        told = [one for one in found if not self._derived(one.series, one.known, held.get(int(self.account[one.series]), set()))]
        return sorted(told, key=lambda one: self.keys[one.series])

    def _missing(self, gaps: _Gaps, moments: _Moments, *, remember: bool = False) -> list[Stopped]:
        """The gaps that were long enough at a complete moment before their end."""
        step = self.step[gaps.series]
        least = (2 * _quiet(step) - 1) * step  # twice the length from which a gap counts as `quiet` points
        account = self.account[gaps.series]
        until = np.minimum(gaps.end, moments.newest(self.clock)[account])
        open_ = (gaps.start > NEVER) & ~gaps.told & (gaps.steps > 0) & (2 * (until - gaps.start) > least)
        found = []
        for i in np.nonzero(open_)[0]:
            complete, told_at = moments.of(int(account[i]))
            j = int(np.searchsorted(2 * complete, 2 * gaps.start[i] + least[i], side="right"))
            if j == len(complete) or complete[j] >= gaps.end[i]:
                continue
            series = int(gaps.series[i])
            if remember:
                self.told[series] = True
            if not self._derived(series, int(complete[j])):
                points = round(float(complete[j] - gaps.start[i]) / float(step[i]))
                found.append(Stopped("missing", series, int(gaps.start[i]), float(gaps.value[i]), points, int(told_at[j])))
        return found

    def _derived(self, series: int, moment: int, held: Collection[str] = ()) -> bool:
        """Whether a series is a ratio whose totals its account has (or `held` names): it may lack a value for lack of a denominator."""
        key = self.keys[series]
        parts = PARTS.get(key[-1], ())
        return len(parts) > 1 and set(parts) <= self.metrics_of(key[:2], moment) | set(held)

    def _correct(self, s: Ints, t: Ints, v: Floats) -> None:
        """Where the last value itself is corrected, the run is counted anew."""
        if not len(s):
            return
        opens, run, began = _runs(s, v, np.full(len(self.keys), np.nan), self.run)
        first = np.nonzero(opens)[0][np.cumsum(opens) - 1]
        for i in np.nonzero(np.append(opens[1:], True))[0]:
            row = s[i]
            if t[i] != self.last[row]:
                continue
            # The run may go further back than the corrected rows.
            longer = began[i] == first[i] and v[i] == self.value[row] and self.run[row] >= run[i]
            if not longer:
                self.repeats[row] += run[i] - self.run[row]
                self.run[row], self.since[row], self.value[row] = run[i], t[began[i]], v[i]
            self.stuck[row] &= self.run[row] + 1 >= STUCK


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Stretches without a value between `start` and `end` (both excluded), after `value`, the last of `steps` + 1 values."""

    series: Ints
    start: Ints
    end: Ints
    value: Floats
    steps: Ints
    told: Bools


class _Moments:
    """The complete moments of each account: those of new values and the clock before them, less the newest unless `now` completes it."""

    def __init__(self, account: Ints, time: Ints, clock: Ints, now: int | None, table_end: int | None) -> None:
        order = np.argsort(account, kind="stable")
        self._account, self._time = account[order], time[order]
        self._clock, self._now, self._end = clock, now, table_end
        self._known: dict[int, tuple[Ints, Ints]] = {}

    def newest(self, clock: Ints) -> Ints:
        """The last moment of each account that could be complete."""
        return clock if self._now is None else np.maximum(clock, self._now)

    def of(self, account: int) -> tuple[Ints, Ints]:
        """(rising complete moments, when each is told)."""
        if account not in self._known:
            low, high = np.searchsorted(self._account, [account, account + 1])
            clock = int(self._clock[account])
            times = np.unique(np.append(self._time[low:high][self._time[low:high] > clock], clock))
            times = times[times > NEVER]
            complete, told = times[:-1], times[1:]
            if self._now is not None and (not len(times) or self._now >= times[-1]):
                complete = np.unique(np.append(times, self._now))
                told = np.append(told, np.full(len(complete) - len(told), self._end))
            self._known[account] = complete, told
        return self._known[account]


def _runs(series: Ints, value: Floats, before: Floats, run: Ints) -> tuple[Bools, Ints, Ints]:
    """Per row (by series, then time): whether it is its series' first, how many equal values stand right before it, and the row where this
    run of equal values began (-1: before these rows). `before` and `run` are each series' last value so far and the repeats up to it."""
    if not len(series):
        return np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    opens = np.append(True, series[1:] != series[:-1])
    same = value == np.where(opens, before[series], _before(value, np.nan))
    at = np.arange(len(series))
    began = np.maximum.accumulate(np.where(opens | ~same, at, 0))
    carried = same[began]
    return opens, at - began + np.where(carried, run[series] + 1, 0), np.where(carried, -1, began)


def _quiet(step: Ints) -> Ints:
    """Points without a value from which a feed of each sampling step is missing; as `series.Rhythm.refractory`."""
    points: Ints = np.maximum(3, np.rint(36 * HOUR_US / step).astype(np.int64))
    return points


def _before(values: Any, blank: Any) -> Any:
    """The value one row up."""
    return np.append(np.array([blank], dtype=values.dtype), values[:-1])
