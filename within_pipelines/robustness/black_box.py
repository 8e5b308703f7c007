"""Attacks that only ask: Square for tables, threshold search for trees, Boundary and HopSkipJump, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from within_pipelines.robustness.attack import AttackResult, Best, auto_pgd, carlini_wagner, deepfool, fgsm, pgd
from within_pipelines.robustness.feasible import FeasibleSet
from within_pipelines.robustness.victim import Floats, Victim


def square(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, queries: int = 300, share: float = 0.5
) -> AttackResult:
    """Square attack (Andriushchenko et al. 2020) for tables: random features jump to an end of their budget, and stay where that lowers the
    margin. Features have no neighbours here, so a square is any set of them; its size falls from `share` of them as queries are spent."""
    before, best = victim.queries, Best(victim, x)
    rows = best.open()
    free_columns = np.flatnonzero(feasible.mutable)
    if not free_columns.size or not rows.size:
        return best.result("square", before)
    corner = feasible.project(x[rows] + feasible.budget * rng.choice([-1.0, 1.0], size=(len(rows), x.shape[1])), x[rows])
    best.offer(corner, victim.margin(corner, rows), rows)
    # A random corner may be safer than the row itself; the better of the two is where the search goes on.
    for query in range(queries - 1):
        rows = best.open()
        if not rows.size:
            break
        decay = next(d for limit, d in ((0.02, 1), (0.1, 2), (0.2, 4), (0.4, 8), (0.6, 16), (1.1, 32)) if query / queries < limit)
        count = max(1, round(share / decay * free_columns.size))
        chosen = np.argsort(rng.random((len(rows), free_columns.size)), axis=1)[:, :count]
        z, origin = best.x[rows].copy(), x[rows]
        columns = free_columns[chosen]
        at = np.arange(len(rows))[:, None]
        # Ends of the budget, and now and then a value in between: a tree's leaf may lie inside.
        ends = rng.choice([-1.0, 1.0], size=columns.shape) * np.where(rng.random((len(rows), 1)) < 0.7, 1.0, rng.random(columns.shape))
        z[at, columns] = origin[at, columns] + ends * feasible.budget[columns]
        for block in feasible.blocks:
            picked = np.isin(columns, block).any(axis=1)
            z[np.ix_(picked, list(block))] = rng.random((int(picked.sum()), len(block)))
        z = feasible.project(z, origin)
        best.offer(z, victim.margin(z, rows), rows)
    return best.result("square", before)


def threshold_search(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, thresholds: Sequence[Floats] | None = None, rng: np.random.Generator,
    passes: int = 2, candidates: int = 8,
) -> AttackResult:  # fmt: skip
    """Attack on trees, for ensembles of any size (after Papernot et al. 2016, who follow one tree's path): feature by feature in random
    order, the value that lowers the margin most among both sides of each of the model's `thresholds` within the budget, its two ends and
    the row's own; then once more. Without thresholds, an even grid."""
    before, best = victim.queries, Best(victim, x)
    low, high = feasible.bounds(x)
    in_block = {column: block for block in feasible.blocks for column in block}
    for _ in range(passes):
        for column in rng.permutation(np.flatnonzero(feasible.mutable)):
            rows = best.open()
            if not rows.size:
                return best.result("threshold_search", before)
            if column in in_block:
                block = list(in_block[column])
                z = best.x[rows].copy()
                z[:, block] = 0.0
                z[:, column] = 1.0
                z = feasible.project(z, x[rows])
                best.offer(z, victim.margin(z, rows), rows)
                continue
            options = _options(low[rows, column], high[rows, column], None if thresholds is None else thresholds[column], candidates, rng)
            trial = np.repeat(best.x[rows], options.shape[1], axis=0)
            trial[:, column] = options.ravel()
            owner = np.repeat(rows, options.shape[1])
            trial = feasible.project(trial, x[owner])
            margin = victim.margin(trial, owner).reshape(len(rows), -1)
            least = margin.argmin(axis=1)
            chosen = trial.reshape(len(rows), -1, x.shape[1])[np.arange(len(rows)), least]
            best.offer(chosen, margin[np.arange(len(rows)), least], rows)
    return best.result("threshold_search", before)


def _options(low: Floats, high: Floats, thresholds: Floats | None, count: int, rng: np.random.Generator) -> Floats:
    """Values to try per row: both ends, and points just beside thresholds (or evenly spread)."""
    if thresholds is None or not len(thresholds):
        return low[:, None] + (high - low)[:, None] * np.linspace(0, 1, count + 2)
    beside = np.unique(np.concatenate([np.nextafter(thresholds, -np.inf), thresholds]))
    found = np.empty((len(low), count))
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        inside = beside[np.searchsorted(beside, a) : np.searchsorted(beside, b, side="right")]
        if inside.size > count:
            inside = rng.choice(inside, count, replace=False)
        found[i] = np.concatenate([inside, np.full(count - inside.size, a)])
    return np.column_stack([low, high, found])


# How much wider than the feasible set a start may lie: the walk brings it back.
_WIDER = (1.0, 3.0, 10.0, 100.0)


def _wider(feasible: FeasibleSet, factor: float) -> FeasibleSet:
    """The set with larger budgets for what may change at all: a way through what may not could not be brought back."""
    return replace(feasible, budget=np.where(feasible.mutable, feasible.budget, 0.0)).scaled(factor)


def _start(
    victim: Victim, x: Floats, feasible: FeasibleSet, best: Best, rng: np.random.Generator, tries: int, starts: Floats | None = None
) -> tuple[NDArray[np.intp], Floats]:
    """Look for any input that breaks each row: the nearest of `starts` that does, else one drawn inside the feasible set and then ever
    further out; the rows that have one, and it."""
    found, start = np.zeros(len(x), dtype=np.bool_), x.copy()
    held = best.margin > 0
    known = x[:0] if starts is None else starts
    free, wide = feasible.mutable, _wider(feasible, _WIDER[-1])
    ordered = [np.argsort((((known - row) / feasible.scale)[:, free] ** 2).sum(axis=1)) for row in x]
    nearest = np.array(ordered, dtype=np.intp).reshape(len(x), len(known))
    for order in range(min(tries, len(known))):
        rows = np.flatnonzero(held & ~found)
        if not rows.size:
            break
        z = wide.project(known[nearest[rows, order]], x[rows])
        broke = victim.margin(z, rows) <= 0
        start[rows[broke]], found[rows[broke]] = z[broke], True
    for factor in _WIDER:
        wide = _wider(feasible, factor)
        for _ in range(max(1, tries // len(_WIDER))):
            rows = np.flatnonzero(held & ~found)
            if not rows.size:
                break
            z = wide.draw(x[rows], rng)
            corner = rng.random(len(rows)) < 0.5
            pushed = wide.project(x[rows] + wide.budget * np.sign(z - x[rows]), x[rows])
            z = np.where(corner[:, None], pushed, z)
            broke = victim.margin(z, rows) <= 0
            start[rows[broke]], found[rows[broke]] = z[broke], True
    rows = np.flatnonzero(found)
    return rows, start[rows]


def _onto_boundary(victim: Victim, origin: Floats, rows: NDArray[np.intp], z: Floats, wide: FeasibleSet, *, halvings: int = 10) -> Floats:
    """The last broken point on the way from each `z` to its row, by halving."""
    good, far = np.zeros(len(z)), np.ones(len(z))
    kept = z.copy()
    for _ in range(halvings if len(z) else 0):
        middle = (good + far) / 2
        trial = wide.project(origin + middle[:, None] * (z - origin), origin)
        holds = victim.margin(trial, rows) > 0
        kept = np.where(holds[:, None], kept, trial)
        good, far = np.where(holds, middle, good), np.where(holds, far, middle)
    return kept


def _bring_in(victim: Victim, x: Floats, feasible: FeasibleSet, best: Best, rows: NDArray[np.intp], z: Floats) -> None:
    """Keep what is broken inside the feasible set, the last one found because it is the nearest; where a point lies outside and its
    projection holds, the corner of the set on its side is tried."""
    for corner in (False, True):
        at = np.flatnonzero(best.margin[rows] > 0) if corner else np.arange(len(rows))
        if not at.size:
            continue
        owner = rows[at]
        wanted = x[owner] + feasible.budget * np.sign(z[at] - x[owner]) if corner else z[at]
        inside = feasible.project(wanted, x[owner])
        margin = victim.margin(inside, owner)
        good = margin <= 0
        best.x[owner[good]], best.margin[owner[good]] = inside[good], margin[good]


def _distance(z: Floats, x: Floats, feasible: FeasibleSet) -> Floats:
    found: Floats = np.sqrt((((z - x) / feasible.scale) ** 2).sum(axis=1))
    return found


# Steps of the walk: twice as many as features may change, between these.
_FEWEST_STEPS, _MOST_STEPS = 100, 1000
# Where a step this small still breaks nothing, the walk has arrived.
_ARRIVED = 1e-5


def boundary(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, steps: int | None = None, tries: int = 100,
    starts: Floats | None = None,
) -> AttackResult:  # fmt: skip
    """Boundary attack (Brendel et al. 2018): from any broken input, feasible or not, onto the boundary and along it towards the row.

    It begins at the nearest of `starts` (inputs that are known to be answered otherwise, such as rows of another class) that breaks the
    row, else at one that is drawn. A step goes orthogonally to the way to the row, at its distance, and where that breaks nothing the
    opposite way; from where it lands one goes towards the row. The length of either kind adapts to its own success in each row. What is
    found counts once it lies in the feasible set.

    `steps`: to find a direction among d features takes a number of steps that grows with d. On a plane the change is about 1.6 times the
    least after d steps and 1.25 times after 2 d, so the default is twice as many as features may change, from 100 to 1,000. A step asks
    two or three times. Only the sign of the margin is looked at; where no start is found it fails."""
    before, best = victim.queries, Best(victim, x)
    moving = feasible.mutable
    # A category that may not be chosen may be left, so that another takes its place.
    moving[[column for block in feasible.blocks for column in block]] = True
    wide, columns = _wider(feasible, _WIDER[-1]), np.flatnonzero(moving)
    rows, z = _start(victim, x, feasible, best, rng, tries, starts)
    _bring_in(victim, x, feasible, best, rows, z)
    z = _onto_boundary(victim, x[rows], rows, z, wide)
    steps = int(np.clip(2 * columns.size, _FEWEST_STEPS, _MOST_STEPS)) if steps is None else steps
    # Changes of what may change, in budgets; whole numbers are rounded when they are asked, and not before.
    walk = _Walk(victim, x, rows, wide, columns, feasible.scale[columns], ((z - x[rows]) / feasible.scale)[:, columns])
    every = max(10, steps // 20)
    for step in range(steps):
        live = walk.live()
        if not live.size:
            break
        walk.step(live, rng.standard_normal((live.size, columns.size)))
        if step % every == every - 1:
            _bring_in(victim, x, feasible, best, rows, walk.inputs())
    _bring_in(victim, x, feasible, best, rows, walk.inputs())
    return best.result("boundary", before)


class _Walk:
    """Where the boundary attack stands: per row a broken point, and how far its next steps go, as shares of its distance."""

    def __init__(
        self, victim: Victim, x: Floats, rows: NDArray[np.intp], wide: FeasibleSet, columns: NDArray[np.intp], scale: Floats, change: Floats
    ) -> None:
        self._victim, self._origin, self._rows, self._wide, self._columns, self._scale = victim, x[rows], rows, wide, columns, scale
        self.change = change
        self._around, self._towards = np.full(len(rows), 0.1), np.full(len(rows), 0.1)

    def live(self) -> NDArray[np.intp]:
        """Those that can still come nearer."""
        away = np.sqrt((self.change**2).sum(axis=1))
        return np.flatnonzero((away > 0) & (np.maximum(self._around, self._towards) > _ARRIVED))

    def inputs(self, at: NDArray[np.intp] | None = None, change: Floats | None = None) -> Floats:
        """What the model is asked for these changes (default: for where the walk stands)."""
        at = np.arange(len(self._rows)) if at is None else at
        z = self._origin[at].copy()
        z[:, self._columns] += (self.change[at] if change is None else change) * self._scale
        return self._wide.project(z, self._origin[at])

    def _breaks(self, at: NDArray[np.intp], change: Floats) -> NDArray[np.bool_]:
        return self._victim.margin(self.inputs(at, change), self._rows[at]) <= 0

    def step(self, at: NDArray[np.intp], noise: Floats) -> None:
        """One step around, and from there one towards the row."""
        here = self.change[at]
        away = np.sqrt((here**2).sum(axis=1))
        noise -= ((noise * here).sum(axis=1) / away**2)[:, None] * here
        noise *= (self._around[at] * away / np.maximum(np.sqrt((noise**2).sum(axis=1)), 1e-12))[:, None]
        shrink = 1 / np.sqrt(1 + self._around[at] ** 2)
        trial = (here + noise) * shrink[:, None]
        broke = self._breaks(at, trial)
        # On a plane one of two opposite ways leads behind it.
        other = np.flatnonzero(~broke)
        if other.size:
            trial[other] = (here[other] - noise[other]) * shrink[other, None]
            broke[other] = self._breaks(at[other], trial[other])
        self._around[at] = np.minimum(self._around[at] * np.where(broke, 1.1, 0.7), 1.0)
        at, trial = at[broke], trial[broke]
        if not at.size:
            return
        nearer = trial * (1 - self._towards[at])[:, None]
        broke = self._breaks(at, nearer)
        self._towards[at] = np.minimum(self._towards[at] * np.where(broke, 1.3, 1 / 1.3), 0.5)
        self.change[at] = np.where(broke[:, None], nearer, trial)


def hop_skip_jump(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, rounds: int = 8, samples: int = 40, tries: int = 100
) -> AttackResult:
    """HopSkipJump (Chen et al. 2020): from any broken input, feasible or not, binary search to the boundary, direction from the signs of
    random steps there, a jump along it that is halved until it breaks the answer; what is reached counts once it lies in the feasible set.
    Only the sign of the margin is looked at; where no broken start is found it fails."""
    before, best = victim.queries, Best(victim, x)
    wide = _wider(feasible, _WIDER[-1])
    rows, z = _start(victim, x, feasible, best, rng, tries)
    _bring_in(victim, x, feasible, best, rows, z)

    nearer = partial(_onto_boundary, victim, x[rows], rows, wide=wide)
    for turn in range(1, rounds + 1 if rows.size else 1):
        z = nearer(z)
        away = _distance(z, x[rows], feasible)
        reach = np.maximum(away, 1e-3) / np.sqrt(x.shape[1])
        direction = np.zeros_like(z)
        signs = np.empty((samples, len(rows)))
        steps = rng.standard_normal((samples, *z.shape)) * feasible.mutable
        for i in range(samples):
            trial = wide.project(z + steps[i] * reach[:, None] * feasible.scale, x[rows])
            signs[i] = np.where(victim.margin(trial, rows) <= 0, 1.0, -1.0)
        direction = ((signs - signs.mean(axis=0))[:, :, None] * steps).mean(axis=0)
        direction /= np.maximum(np.sqrt((direction**2).sum(axis=1)), 1e-12)[:, None]
        jump = away / np.sqrt(turn)
        done = np.zeros(len(rows), dtype=np.bool_)
        for _ in range(8):
            trial = wide.project(z + (jump * ~done)[:, None] * direction * feasible.scale, x[rows])
            broke = ~done & (victim.margin(trial, rows) <= 0)
            z, done = np.where(broke[:, None], trial, z), done | broke
            jump = jump / 2
        _bring_in(victim, x, feasible, best, rows, z)
    if rows.size:
        _bring_in(victim, x, feasible, best, rows, nearer(z))
    return best.result("hop_skip_jump", before)


def strongest(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, thresholds: Sequence[Floats] | None = None,
    queries: int = 300,
) -> tuple[AttackResult, dict[str, AttackResult]]:  # fmt: skip
    """The worst of all attacks per row, in the spirit of AutoAttack (Croce and Hein 2020) for tables; nothing to tune.

    With a gradient: FGSM, Auto-PGD, PGD from random starts, DeepFool and Carlini-Wagner; always Square, threshold search and HopSkipJump.
    Returns (the worst per row, each attack's own result). Later attacks are asked about all rows, so that they can be compared."""
    own: dict[str, AttackResult] = {}
    if victim.gradient_of is not None:
        own["fgsm"] = fgsm(victim, x, feasible)
        own["auto_pgd"] = auto_pgd(victim, x, feasible, rng=rng)
        own["pgd"] = pgd(victim, x, feasible, rng=rng)
        own["deepfool"] = deepfool(victim, x, feasible)
        own["carlini_wagner"] = carlini_wagner(victim, x, feasible)
    own["square"] = square(victim, x, feasible, rng=rng, queries=queries)
    own["threshold_search"] = threshold_search(victim, x, feasible, thresholds=thresholds, rng=rng)
    own["hop_skip_jump"] = hop_skip_jump(victim, x, feasible, rng=rng, rounds=3, samples=20)
    worst = np.argmin([result.margin for result in own.values()], axis=0)
    stacked = np.stack([result.x for result in own.values()])
    margins = np.stack([result.margin for result in own.values()])
    at = np.arange(len(x))
    asked = sum(result.queries for result in own.values())
    return AttackResult("strongest", stacked[worst, at], margins[worst, at], asked, own["square"].clean), own
