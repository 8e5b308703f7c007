"""Constraints on delivery: how to spread a budget so that groups are reached alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from within_pipelines.exceptions import SampleError


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """Spend per option, expected results and people reached per group, and what parity costs in results against no constraint."""

    spend: tuple[float, ...]
    results: float
    reached: Mapping[str, float]
    cost_of_parity: float


def fair_budget(
    results_per_spend: Sequence[float],
    reach_per_spend: Sequence[Mapping[str, float]],
    *,
    budget: float,
    eligible: Mapping[str, float],
    ratio: float = 0.8,
    most: Sequence[float] | None = None,
) -> DeliveryPlan:
    """Spread `budget` over options (ad sets) for the most results, so that the lowest delivery rate is at least `ratio` of the highest.

    Option i brings `results_per_spend[i]` results and reaches `reach_per_spend[i][group]` people per unit of spend, up to `most[i]`.
    A linear program: rates are taken as constant, so keep `most` near what was observed. All amounts are in one currency.

    Raises `SampleError` for input that does not fit, or when no plan keeps the ratio because no option reaches some group enough.

    >>> plan = fair_budget([2.0, 1.0], [{"women": 1, "men": 9}, {"women": 9, "men": 1}], budget=100, eligible={"women": 1, "men": 1})
    >>> round(plan.reached["women"] / plan.reached["men"], 2), round(plan.cost_of_parity, 2)
    (0.8, 0.22)
    """
    from scipy.optimize import linprog

    groups, n = sorted(eligible), len(results_per_spend)
    limits = [budget] * n if most is None else list(most)
    if n == 0 or len(reach_per_spend) != n or len(limits) != n or len(groups) < 2 or budget <= 0 or min(eligible.values()) <= 0:
        raise SampleError(
            f"{n} results, {len(reach_per_spend)} reaches, {len(limits)} limits, groups {groups}, budget {budget:g}; give one of each per "
            "option, two groups with somebody eligible, and a positive budget."
        )
    rate = np.array([[reach.get(g, 0.0) / eligible[g] for reach in reach_per_spend] for g in groups])
    gain = np.asarray(results_per_spend, dtype=np.float64)
    above = [ratio * rate[j] - rate[i] for i in range(len(groups)) for j in range(len(groups)) if i != j]
    shared = {"bounds": [(0.0, limit) for limit in limits], "method": "highs"}
    free = linprog(-gain, A_ub=[np.ones(n)], b_ub=[budget], **shared)
    # At least as much is spent as without the constraint: reaching nobody is no parity.
    found = linprog(
        -gain, A_ub=[*above, np.ones(n), -np.ones(n)], b_ub=[*([0.0] * len(above)), budget, -min(budget, sum(limits))], **shared
    )  # fmt: skip
    if found.status != 0:
        raise SampleError(
            f"No spread of {budget:g} reaches all of {', '.join(groups)} within {ratio:g}; add an option that reaches those left out."
        )
    spend = np.asarray(found.x, dtype=np.float64)
    reached = {g: float(spend @ np.array([reach.get(g, 0.0) for reach in reach_per_spend])) for g in groups}
    return DeliveryPlan(
        tuple(float(s) for s in spend), float(gain @ spend), reached, float(1 - gain @ spend / -free.fun) if free.fun else 0.0
    )
