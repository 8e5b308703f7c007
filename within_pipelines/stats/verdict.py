"""A verdict is a value: what was judged, on what evidence, with which outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from within_pipelines.exceptions import SampleError


class Status(StrEnum):
    """Outcome of a gate. `INSUFFICIENT` is never a pass."""

    PASSED = "passed"
    FAILED = "failed"
    INSUFFICIENT = "insufficient_evidence"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its interval: `low <= value <= high` at confidence `level`, from `n` independent units.

    >>> str(Estimate(0.71, 0.68, 0.74, n=120))
    '0.710 [0.680, 0.740]'
    """

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, float | int]:
        """Plain numbers for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "level": self.level}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one gate for one model on one data version.

    `estimate` is the judged statistic with its interval (None only when it could not be computed), `threshold` what it was compared
    with, `sample_sizes` how many independent units stood behind it, `reason` one sentence that a person can act on. The hashes bind the
    verdict: promotion counts it only for exactly that model, data and baseline."""

    gate: str
    status: Status
    estimate: Estimate | None
    threshold: float | None
    sample_sizes: Mapping[str, int]
    reason: str
    model_sha256: str = ""
    data_version: str = ""
    baseline_sha256: str = ""
    policy_version: str = ""
    golden_set_version: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_sizes", MappingProxyType(dict(self.sample_sizes)))
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))

    @property
    def passed(self) -> bool:
        """True only for `Status.PASSED`."""
        return self.status is Status.PASSED

    def bind(
        self,
        *,
        model_sha256: str,
        data_version: str,
        policy_version: str,
        baseline_sha256: str = "",
        golden_set_version: str | None = None,
    ) -> Verdict:
        """The same verdict bound to an artifact, the data it was judged on, the policy, and what it was compared with."""
        return replace(
            self,
            model_sha256=model_sha256,
            data_version=data_version,
            policy_version=policy_version,
            baseline_sha256=baseline_sha256,
            golden_set_version=self.golden_set_version if golden_set_version is None else golden_set_version,
        )


def judge_at_least(
    gate: str, estimate: Estimate, threshold: float, *, minimum_n: int, what: str, evidence: Mapping[str, Any] | None = None
) -> Verdict:
    """Pass when the whole interval lies at or above `threshold`, fail when it lies below, else insufficient evidence.

    Raises `SampleError` when the estimate is not finite. Fewer than `minimum_n` units are insufficient whatever the numbers say.

    >>> judge_at_least("performance", Estimate(.03, .01, .05, n=90), 0.0, minimum_n=30, what="gain over baseline").status.value
    'passed'
    >>> judge_at_least("performance", Estimate(.03, -.01, .07, n=90), 0.0, minimum_n=30, what="gain over baseline").status.value
    'insufficient_evidence'
    """
    if not all(map(math.isfinite, (estimate.value, estimate.low, estimate.high))):
        raise SampleError(f"{what} is {estimate}; a verdict needs finite numbers, so look at the evaluation that produced it.")
    if estimate.n < minimum_n:
        status, why = Status.INSUFFICIENT, f"only {estimate.n} of {minimum_n} units"
    elif estimate.low >= threshold:
        status, why = Status.PASSED, f"the interval lies at or above {threshold:g}"
    elif estimate.high < threshold:
        status, why = Status.FAILED, f"the interval lies below {threshold:g}"
    else:
        status, why = Status.INSUFFICIENT, f"the interval contains {threshold:g}"
    return Verdict(gate, status, estimate, threshold, {"units": estimate.n}, f"{what} is {estimate}: {why}.", evidence=evidence or {})
