"""Which version answers a request? Champion, canary or an experiment's arm, by a stable hash of who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from within_pipelines.validation import assign, stable_fraction

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion, RegistryStore


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers `share` (0 to 1) of the units. A unit that is in at one share is in at every larger one."""

    version: ModelVersion
    share: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """A running A/B test: per arm the version that answers, and its share. Shares sum to 1; the champion may be an arm."""

    name: str
    arms: Mapping[str, tuple[ModelVersion, float]]


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


class RegistryTraffic:
    """Plans from the registry's aliases; the canary and its share from `canaries`, which without a controller are none."""

    def __init__(self, registry: RegistryStore, *, canaries: CanaryShares | None = None) -> None:
        self._registry = registry
        self._canaries = canaries

    def plan(self, model: str) -> TrafficPlan:
        """The plan in force for `model`."""
        running = None if self._canaries is None else self._canaries.running(model)
        canary = None if running is None else Canary(self._registry.get(model, running[0]), running[1])
        return TrafficPlan(champion=self._registry.alias(model, "champion"), canary=canary, shadow=self._registry.alias(model, "shadow"))


@dataclass(frozen=True, slots=True)
class Routed:
    """Who answers, and in which role: "champion", "canary" or "arm:<name>"."""

    version: ModelVersion
    role: str


def route(plan: TrafficPlan, *, model: str, unit: str, key: str) -> Routed | None:
    """The version that answers `unit`; None without a champion and an experiment.

    An experiment comes first, because its arms must not depend on a canary; then the canary; then the champion."""
    if plan.experiment is not None:
        shares = {arm: share for arm, (_, share) in plan.experiment.arms.items()}
        arm = assign(unit, experiment=f"{model}/{plan.experiment.name}", shares=shares, key=key)
        return Routed(plan.experiment.arms[arm][0], f"arm:{arm}")
    if plan.canary is not None and plan.champion is not None:
        place = stable_fraction(unit, experiment=f"{model}/canary/{plan.canary.version.model_sha256}", key=key)
        if place < plan.canary.share:
            return Routed(plan.canary.version, "canary")
    return None if plan.champion is None else Routed(plan.champion, "champion")
