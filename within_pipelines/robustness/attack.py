"""Attacks that follow the gradient: FGSM, PGD, Auto-PGD, Carlini-Wagner, DeepFool, all kept inside the feasible set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from within_pipelines.robustness.feasible import FeasibleSet
from within_pipelines.robustness.victim import Floats, Victim


@dataclass(frozen=True, slots=True)
class AttackResult:
    """`x`: the worst feasible input found for each row (the row itself where nothing was worse), `margin` its margin, `clean` the margin
    before any change, `queries` how many rows were asked. A row is broken where its margin is not positive, by the attack or before it."""

    name: str
    x: Floats
    margin: Floats
    queries: int
    clean: Floats

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Which rows have a wrong answer at `x`."""
        lost: NDArray[np.bool_] = self.margin <= 0
        return lost

    @property
    def holds(self) -> float:
        """Share of all rows whose answer is right before and after: the robust accuracy that this attack leaves."""
        return float(1 - self.broken.mean()) if len(self.margin) else 1.0

    @property
    def success(self) -> float:
        """Share of the rows with a right answer that lost it; 0 where none had one."""
        right = self.clean > 0
        return float(self.broken[right].mean()) if right.any() else 0.0


class Best:
    """Keeps the worst feasible input per row."""

    def __init__(self, victim: Victim, x: Floats) -> None:
        self.rows = np.arange(len(x))
        self.victim, self.x = victim, x.copy()
        self.margin = victim.margin(x, self.rows)
        self.clean = self.margin.copy()

    def offer(self, x: Floats, margin: Floats, rows: NDArray[np.intp]) -> None:
        """Take what lowers the margin."""
        better = margin < self.margin[rows]
        self.x[rows[better]], self.margin[rows[better]] = x[better], margin[better]

    def open(self) -> NDArray[np.intp]:
        """Rows that still hold."""
        return np.flatnonzero(self.margin > 0)

    def result(self, name: str, before: int) -> AttackResult:
        """What was found."""
        return AttackResult(name, self.x, self.margin, self.victim.queries - before, self.clean)


def fgsm(victim: Victim, x: Floats, feasible: FeasibleSet) -> AttackResult:
    """One step to the corner that the gradient points away from (Goodfellow et al. 2015)."""
    before, best = victim.queries, Best(victim, x)
    moved = feasible.project(x - feasible.budget * np.sign(victim.gradient(x, best.rows)), x)
    best.offer(moved, victim.margin(moved, best.rows), best.rows)
    return best.result("fgsm", before)


def pgd(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, steps: int = 20, restarts: int = 2, rate: float = 0.25
) -> AttackResult:
    """Projected gradient descent on the margin (Madry et al. 2018): `steps` signed steps of `rate` x budget, from the row and then from
    random feasible points. Rows that fell are left alone."""
    before, best = victim.queries, Best(victim, x)
    for restart in range(restarts):
        rows = best.open()
        if not rows.size:
            break
        z = x[rows] if restart == 0 else feasible.draw(x[rows], rng)
        # Steps of whole units never leave a grid point, so what is stepped is kept beside what is projected.
        free = z.copy()
        for _ in range(steps):
            free = free - rate * feasible.budget * np.sign(victim.gradient(z, rows))
            free = np.clip(free, x[rows] - feasible.budget, x[rows] + feasible.budget)
            z = feasible.project(free, x[rows])
            best.offer(z, victim.margin(z, rows), rows)
    return best.result("pgd", before)


def auto_pgd(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, steps: int = 50, restarts: int = 1
) -> AttackResult:
    """Auto-PGD on the margin (Croce and Hein 2020): momentum 0.75, a step of two budgets that is halved at checkpoints where fewer than
    three quarters of the steps gained or neither step nor record moved; then it goes on from the record. Nothing to tune."""
    before, best = victim.queries, Best(victim, x)
    shrink, width = [math.ceil(0.22 * steps)], 0.22
    while shrink[-1] < steps:
        width = max(width - 0.03, 0.06)
        shrink.append(shrink[-1] + max(1, math.ceil(width * steps)))
    for restart in range(restarts):
        rows = best.open()
        if not rows.size:
            break
        origin = x[rows]
        low, high = origin - feasible.budget, origin + feasible.budget
        z = origin.copy() if restart == 0 else feasible.draw(origin, rng)
        previous, free = z.copy(), z.copy()
        record, record_margin = z.copy(), victim.margin(z, rows)
        last_margin = record_margin.copy()
        rate = np.full(len(rows), 2.0)
        gained, since, last_record, last_rate = np.zeros(len(rows)), 0, record_margin.copy(), rate.copy()
        for step in range(steps):
            towards = np.clip(free - rate[:, None] * feasible.budget * np.sign(victim.gradient(z, rows)), low, high)
            momentum = 1.0 if step == 0 else 0.75
            after = np.clip(free + momentum * (towards - free) + (1 - momentum) * (free - previous), low, high)
            previous, free = free, after
            z = feasible.project(free, origin)
            margin = victim.margin(z, rows)
            gained += margin < last_margin
            last_margin = margin
            better = margin < record_margin
            record[better], record_margin[better] = z[better], margin[better]
            since += 1
            if step + 1 in shrink:
                slow = (gained < 0.75 * since) | ((rate == last_rate) & (record_margin >= last_record))
                last_rate, last_record = rate.copy(), record_margin.copy()
                rate = np.where(slow, rate / 2, rate)
                free[slow] = record[slow]
                z = feasible.project(free, origin)
                gained, since = np.zeros(len(rows)), 0
        best.offer(record, record_margin, rows)
    return best.result("auto_pgd", before)


def deepfool(victim: Victim, x: Floats, feasible: FeasibleSet, *, steps: int = 30, overshoot: float = 0.02) -> AttackResult:
    """Steps to the linearised boundary (Moosavi-Dezfooli et al. 2016), measured in budgets: a short way rather than a far corner.

    What has come to the end of its budget is no part of the next step; the others go further for it. Each step aims `overshoot` of the
    clean margin beyond the boundary, so that whole numbers, which are rounded, do not stop just before it."""
    before, best = victim.queries, Best(victim, x)
    rows = best.open()
    free = x[rows].copy()
    lowest, highest = feasible.bounds(x)
    for _ in range(steps):
        if not rows.size:
            break
        z = feasible.project(free, x[rows])
        margin = victim.margin(z, rows)
        best.offer(z, margin, rows)
        hold = margin > 0
        rows, free, z, margin = rows[hold], free[hold], z[hold], margin[hold]
        if not rows.size:
            break
        slope = victim.gradient(z, rows) * feasible.scale * feasible.mutable
        low, high = lowest[rows], highest[rows]
        slope[np.where(slope > 0, free <= low, free >= high)] = 0.0
        size = np.maximum((slope**2).sum(axis=1), 1e-18)
        step = np.clip(((margin + overshoot * best.clean[rows]) / size)[:, None] * slope, -2, 2)
        free = np.clip(free - step * feasible.scale, low, high)
    z = feasible.project(free, x[rows]) if rows.size else free
    if rows.size:
        best.offer(z, victim.margin(z, rows), rows)
    return best.result("deepfool", before)


def carlini_wagner(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, steps: int = 60, searches: int = 4, rate: float = 0.1, confidence: float = 0.0
) -> AttackResult:
    """Smallest change in budgets, squared, plus c times what is left of the margin (Carlini and Wagner 2017), by Adam, with a search for c
    per row; every iterate is projected into the feasible set before it counts."""
    before, best = victim.queries, Best(victim, x)
    weight, low, high = np.full(len(x), 1.0), np.zeros(len(x)), np.full(len(x), np.inf)
    for _ in range(searches):
        rows = best.rows[best.margin > -np.inf]
        delta = np.zeros((len(rows), x.shape[1]))
        first, second = np.zeros_like(delta), np.zeros_like(delta)
        fell = np.zeros(len(rows), dtype=np.bool_)
        for step in range(1, steps + 1):
            z = feasible.project(x[rows] + np.clip(delta, -1, 1) * feasible.budget, x[rows])
            margin = victim.margin(z, rows)
            fell |= margin <= 0
            best.offer(z, margin, rows)
            left = margin > -confidence
            slope = 2 * delta + weight[rows, None] * left[:, None] * victim.gradient(z, rows) * feasible.budget
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            delta = delta - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        high[rows[fell]] = np.minimum(high[rows[fell]], weight[rows[fell]])
        low[rows[~fell]] = np.maximum(low[rows[~fell]], weight[rows[~fell]])
        weight = np.where(np.isfinite(high), (low + high) / 2, weight * 10)
    return best.result("carlini_wagner", before)
