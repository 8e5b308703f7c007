"""What an A/B test is, written down before it starts, and the states that it goes through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

from within_pipelines.exceptions import SampleError, WithinError
from within_pipelines.stats import power_of_means, sample_size_means, sequential_power
from within_pipelines.validation.assignment import assign

Analysis = Literal["fixed", "sequential"]
# The log's column for the role holds 32 letters, and "arm:" is in front.
_LONGEST_ARM = 28


class ExperimentStateError(WithinError, RuntimeError):
    """An experiment or canary was asked for a step that its state does not allow, or somebody else took a step first."""


class ExperimentState(StrEnum):
    """Where an experiment stands; it only ever moves forward."""

    DRAFT = "draft"
    RUNNING = "running"
    STOPPED = "stopped"
    DECIDED = "decided"


_NEXT = {
    "start": (ExperimentState.DRAFT, ExperimentState.RUNNING),
    "stop": (ExperimentState.RUNNING, ExperimentState.STOPPED),
    "decide": (ExperimentState.STOPPED, ExperimentState.DECIDED),
}


def next_state(state: ExperimentState, action: Literal["start", "stop", "decide"]) -> ExperimentState:
    """The state after an action.

    Raises `ExperimentStateError` when the action does not belong to the state.

    >>> next_state(ExperimentState.DRAFT, "start").value
    'running'
    """
    wanted, after = _NEXT[action]
    if state is not wanted:
        raise ExperimentStateError(f"An experiment that is {state.value} cannot {action}; it has to be {wanted.value}.")
    return after


@dataclass(frozen=True, slots=True)
class Metric:
    """A number per unit, or with `denominator` a ratio of two sums (clicks per impression).

    `margin` is the loss that a guardrail accepts, in the metric's own units and counted against `higher_is_better`."""

    name: str
    higher_is_better: bool = True
    denominator: str | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.name or not (self.margin >= 0 and math.isfinite(self.margin)):
            raise SampleError(f"The metric {self.name!r} has margin {self.margin}; give a name and an accepted loss >= 0.")


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """Everything that must be fixed before the first unit arrives.

    `shares` names the arms (sum 1); `control` is one of them. `minimum_effect` is the absolute change of the primary metric that should
    be found, `planned_units` the units of all arms together at which a fixed-horizon test is read, `looks` how often a sequential one
    will be. `randomised` is False when a platform's own optimiser decided who saw what: then differences of arms are not caused by the
    arms alone (divergent delivery; Braun and Schwartz, 2024), and no winner is named.

    An experiment about versions of a model names the `model` and in `versions` the registered version of each arm; while it runs, the HTTP
    API answers each unit with its arm's version. Of what was logged, answers count once they are `maturity_days` old."""

    name: str
    shares: Mapping[str, float]
    control: str
    metric: Metric
    minimum_effect: float
    planned_units: int
    key: str
    guardrails: tuple[Metric, ...] = ()
    segments: tuple[str, ...] = ()
    covariate: str | None = None
    analysis: Analysis = "fixed"
    alpha: float = 0.05
    looks: int = 28
    randomised: bool = True
    model: str | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    maturity_days: int = 0

    def __post_init__(self) -> None:
        if self.analysis not in ("fixed", "sequential"):
            raise SampleError(f"analysis is {self.analysis!r}; give 'fixed' (read once, at the end) or 'sequential' (read at any time).")
        if len(self.shares) < 2 or self.control not in self.shares or not all(share > 0 for share in self.shares.values()):
            raise SampleError(f"shares are {dict(self.shares)}, control is {self.control!r}; give two or more arms, control among them.")
        if not (self.minimum_effect > 0 and self.planned_units >= 2 * len(self.shares) and 0 < self.alpha < 0.5 and self.looks >= 1):
            raise SampleError(
                f"minimum_effect is {self.minimum_effect}, planned_units {self.planned_units}, alpha {self.alpha}, looks {self.looks}; "
                "give an effect above 0, at least two units an arm, alpha in (0, 0.5) and at least one look."
            )
        if len({self.metric.name, *(guardrail.name for guardrail in self.guardrails)}) != 1 + len(self.guardrails):
            raise SampleError("Two metrics have the same name; name each once, as primary metric or as guardrail.")
        self._check_versions()
        self.arm_of("any unit")  # the shares' sum and the key are checked where they are used

    def _check_versions(self) -> None:
        if self.maturity_days < 0:
            raise SampleError(f"maturity_days is {self.maturity_days}; give the days >= 0 after which an outcome is complete.")
        if self.model is None:
            if self.versions or self.maturity_days:
                raise SampleError("Versions and a maturity belong to an experiment about a model; give the model too.")
            return
        if set(self.versions) != set(self.shares) or len(set(self.versions.values())) != len(self.versions):
            raise SampleError(f"versions are {dict(self.versions)}; give each of the arms {sorted(self.shares)} a version of its own.")
        if not self.randomised:
            raise SampleError("Arms that are versions of a model are split by chance; leave out that an optimiser splits.")
        if long := [arm for arm in self.shares if not 0 < len(arm) <= _LONGEST_ARM]:
            raise SampleError(f"The arms {long} have no name or one of more than {_LONGEST_ARM} letters; the prediction log keeps so many.")

    @property
    def split(self) -> str:
        """The name that units are assigned by; of an experiment about a model it carries the model."""
        return self.name if self.model is None else f"{self.model}/{self.name}"

    def arm_of(self, unit: str) -> str:
        """The unit's arm: stable, keyed, independent of other experiments."""
        return assign(unit, experiment=self.split, shares=self.shares, key=self.key)

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms beside control."""
        return tuple(arm for arm in self.shares if arm != self.control)

    def power(self, sd: float) -> Mapping[str, float]:
        """Power of both ways of reading it at `planned_units`, and the units that 80 % at a fixed horizon need; `sd` is that of a unit.

        For the comparison of control with the smallest treatment; with several treatments at alpha divided by their number.

        Raises `SampleError` when `sd` is not above 0."""
        smallest = min(self.treatments, key=lambda arm: self.shares[arm])
        first, second = self.shares[smallest], self.shares[self.control]
        alpha, ratio = self.alpha / len(self.treatments), second / first
        n = self.planned_units * first
        needed = sample_size_means(self.minimum_effect, sd, ratio=ratio, alpha=alpha)
        return {
            "fixed": power_of_means(n, self.minimum_effect, sd, ratio=ratio, alpha=alpha),
            "sequential": sequential_power(
                n, self.minimum_effect, sd, looks=self.looks, scale=self.minimum_effect, ratio=ratio, alpha=alpha
            ),
            "units_for_80_percent": float(math.ceil(needed / first)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        from dataclasses import asdict

        return {**asdict(self), "guardrails": [asdict(guardrail) for guardrail in self.guardrails], "segments": list(self.segments)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        read = dict(values)
        read["metric"] = Metric(**read["metric"])
        read["guardrails"] = tuple(Metric(**guardrail) for guardrail in read["guardrails"])
        read["segments"] = tuple(read["segments"])
        return cls(**read)


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as it is kept: specification, state, and what was decided in the end."""

    spec: ExperimentSpec
    state: ExperimentState = ExperimentState.DRAFT
    decision: Mapping[str, Any] = field(default_factory=dict)
