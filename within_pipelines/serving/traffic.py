"""Which version answers a request? Champion, canary or an experiment's arm, by a stable hash of who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from within_pipelines.validation import assign, stable_fraction

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion, RegistryStore
    from within_pipelines.validation import ExperimentSpec


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers `share` (0 to 1) of the units. A unit that is in at one share is in at every larger one."""

    version: ModelVersion
    share: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """A running A/B test: per arm the version that answers, and its share. Shares sum to 1; the champion may be an arm.

    `key` is the experiment's own key of the hash; without one the deployment's is used."""

    name: str
    arms: Mapping[str, tuple[ModelVersion, float]]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """What is declared for one model. The shadow answers beside and is never heard."""

    champion: ModelVersion | None
    canary: Canary | None = None
    shadow: ModelVersion | None = None
    experiment: Experiment | None = None

    @property
    def answering(self) -> tuple[ModelVersion, ...]:
        """Every version that a request may be answered by, the champion first."""
        found = [] if self.champion is None else [self.champion]
        found += [] if self.canary is None else [self.canary.version]
        found += [] if self.experiment is None else [version for version, _ in self.experiment.arms.values()]
        return tuple({version.model_sha256: version for version in found}.values())


class TrafficSource(Protocol):
    """Says what is declared; read again at every poll."""

    def plan(self, model: str) -> TrafficPlan:
        """The plan in force for `model`."""


class CanaryShares(Protocol):
    """Says how much of the traffic a running canary of `model` gets; the canary controller's table implements it."""

    def running(self, model: str) -> tuple[int, float] | None:
        """(version, share) of the canary that runs, or None."""


class RunningExperiments(Protocol):
    """Says which A/B test of versions of `model` runs; the table of experiments implements it."""

    def running(self, model: str) -> ExperimentSpec | None:
        """The specification of the experiment that runs, or None."""


class RegistryTraffic:
    """Plans from the registry's aliases; the canary and its share from `canaries`, the arms from `experiments`. Without those tables there
    are none."""

    def __init__(
        self, registry: RegistryStore, *, canaries: CanaryShares | None = None, experiments: RunningExperiments | None = None
    ) -> None:
        self._registry = registry
        self._canaries = canaries
        self._experiments = experiments

    def plan(self, model: str) -> TrafficPlan:
        """The plan in force for `model`."""
        running = None if self._canaries is None else self._canaries.running(model)
        canary = None if running is None else Canary(self._registry.get(model, running[0]), running[1])
        return TrafficPlan(
            champion=self._registry.alias(model, "champion"),
            canary=canary,
            shadow=self._registry.alias(model, "shadow"),
            experiment=self._experiment(model),
        )

    def _experiment(self, model: str) -> Experiment | None:
        spec = None if self._experiments is None else self._experiments.running(model)
        if spec is None:
            return None
        arms = {arm: (self._registry.get(model, spec.versions[arm]), share) for arm, share in spec.shares.items()}
        return Experiment(spec.name, arms, spec.key)


@dataclass(frozen=True, slots=True)
class Routed:
    """Who answers, in which role ("champion", "canary" or "arm:<name>"), and for an arm in which experiment."""

    version: ModelVersion
    role: str
    experiment: str | None = None


def route(plan: TrafficPlan, *, model: str, unit: str, key: str) -> Routed | None:
    """The version that answers `unit`; None without a champion and an experiment.

    An experiment comes first, because its arms must not depend on a canary; then the canary; then the champion."""
    if plan.experiment is not None:
        shares = {arm: share for arm, (_, share) in plan.experiment.arms.items()}
        arm = assign(unit, experiment=f"{model}/{plan.experiment.name}", shares=shares, key=plan.experiment.key or key)
        return Routed(plan.experiment.arms[arm][0], f"arm:{arm}", plan.experiment.name)
    if plan.canary is not None and plan.champion is not None:
        place = stable_fraction(unit, experiment=f"{model}/canary/{plan.canary.version.model_sha256}", key=key)
        if place < plan.canary.share:
            return Routed(plan.canary.version, "canary")
    return None if plan.champion is None else Routed(plan.champion, "champion")
