"""Does a model only look robust because its gradient leads nowhere?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from within_pipelines.robustness.attack import AttackResult, auto_pgd, pgd
from within_pipelines.robustness.black_box import square, threshold_search
from within_pipelines.robustness.feasible import FeasibleSet
from within_pipelines.robustness.victim import Floats, Victim
from within_pipelines.stats import Estimate, wilson_interval

# Share of rows without any slope from which gradients are called flat.
FLAT = 0.1
_UNBOUNDED = 1000.0


@dataclass(frozen=True, slots=True)
class GradientMasking:
    """Signs of masked gradients (Athalye et al. 2018, Carlini et al. 2019).

    `white` and `black` are success rates of attacks with and without the gradient; `only_black` the share of rows that only the latter
    broke; `flat` the share of rows whose gradient is zero or next to nothing; `noise` the largest difference between two answers to the
    same input; `unbounded` the success of the gradient with a thousandfold budget, which should be 1 for a model that can be turned at all;
    `stuck` the share of rows that it does not turn and that an attack without the gradient turns with the same budget (a model that cannot
    be turned, or not there, shows none)."""

    white: float
    black: float
    only_black: Estimate
    flat: float
    noise: float
    unbounded: float
    stuck: Estimate

    @property
    def signs(self) -> tuple[str, ...]:
        """What points to masking; empty for a model whose robustness can be believed as far as these attacks see."""
        found = []
        if self.only_black.low > 0.02:
            found.append(f"attacks without the gradient break {self.only_black} of the rows that those with it do not")
        if self.stuck.low > 0.02:
            found.append(f"without a budget the gradient turns {self.unbounded:.0%}, and misses {self.stuck} that can be turned")
        if self.flat > FLAT:
            found.append(f"the gradient is flat at {self.flat:.0%} of the rows")
        if self.noise > 0:
            found.append(f"two answers to the same input differ by up to {self.noise:.3g}")
        return tuple(found)

    @property
    def masked(self) -> bool:
        """Whether any sign was seen."""
        return bool(self.signs)


def gradient_masking(
    victim: Victim, x: Floats, feasible: FeasibleSet, *, rng: np.random.Generator, queries: int = 300
) -> tuple[GradientMasking, Mapping[str, AttackResult]]:
    """Compare attacks with the gradient (Auto-PGD, PGD) and without it (Square, threshold search) on the same rows.

    A constant model is flat everywhere: its robustness is real, but its gradient says nothing about it."""
    rows = np.arange(len(x))
    first, again = victim.margin(x, rows), victim.margin(x, rows)
    slope = np.abs(victim.gradient(x, rows) * feasible.budget).sum(axis=1)
    usual = max(float(np.max(np.abs(first[np.isfinite(first)]), initial=0.0)), 1e-12)
    white = [auto_pgd(victim, x, feasible, rng=rng), pgd(victim, x, feasible, rng=rng, restarts=6)]
    black = [square(victim, x, feasible, rng=rng, queries=queries), threshold_search(victim, x, feasible, rng=rng)]
    wide = feasible.scaled(_UNBOUNDED)
    far = pgd(victim, x, wide, rng=rng, steps=10, restarts=3)
    far_black = square(victim, x, wide, rng=rng, queries=min(queries, 50))
    by_white = np.any([result.broken for result in white], axis=0)
    by_black = np.any([result.broken for result in black], axis=0)
    only = by_black & ~by_white
    stuck = (far_black.broken | by_black) & ~far.broken & ~by_white
    noise = np.abs(first - again)
    found = GradientMasking(
        white=float(by_white.mean()),
        black=float(by_black.mean()),
        only_black=wilson_interval(int(only.sum()), len(x)),
        flat=float(np.mean(slope <= 1e-9 * usual)),
        noise=float(np.max(noise[np.isfinite(noise)], initial=0.0)),
        unbounded=far.success,
        stuck=wilson_interval(int(stuck.sum()), len(x)),
    )
    return found, {result.name: result for result in (*white, *black)}
