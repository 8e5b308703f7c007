"""Which loaded versions answer now? An immutable snapshot, replaced as a whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from within_pipelines.exceptions import ArtifactError, DatabaseError, ModelNotFoundError
from within_pipelines.serving.logs import event
from within_pipelines.serving.metrics import Metrics
from within_pipelines.serving.traffic import Canary, TrafficPlan, TrafficSource

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion


@dataclass(frozen=True, slots=True)
class Served:
    """One loaded version."""

    version: ModelVersion
    predictor: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lane:
    """The plan in force for one model and the loaded versions that it names, by artifact hash."""

    plan: TrafficPlan = field(default_factory=lambda: TrafficPlan(None))
    served: Mapping[str, Served] = field(default_factory=dict)


class ModelHolder:
    """Holds a snapshot of lanes. `refresh` builds the next one beside it and then swaps: a request that has begun ends on the version
    that it began with.

    A version that cannot be loaded, whose hash is not the registered one, or that does not answer a trial, is not taken up: what served
    before goes on, and `problems` says why. The same holds while the registry does not answer."""

    def __init__(
        self,
        models: tuple[str, ...],
        source: TrafficSource,
        load: Callable[[ModelVersion], Any],
        metrics: Metrics,
    ) -> None:
        self._models = models
        self._source = source
        self._load = load
        self._metrics = metrics
        self._lock = threading.Lock()
        self._refused: dict[str, str] = {}
        self.lanes: Mapping[str, Lane] = MappingProxyType({model: Lane() for model in models})
        self.problems: Mapping[str, str] = MappingProxyType({})
        self.registry_problem = ""

    def refresh(self) -> None:
        """Read the plans and take up what has changed; one caller at a time."""
        with self._lock:
            lanes, problems = dict(self.lanes), {}
            try:
                plans = {model: self._source.plan(model) for model in self._models}
            except (DatabaseError, ModelNotFoundError) as error:
                self.registry_problem = str(error)
                self._metrics.registry_reachable.set(0)
                return
            self.registry_problem = ""
            self._metrics.registry_reachable.set(1)
            for model, plan in plans.items():
                lane, problem = self._next(model, lanes[model], plan)
                lanes[model] = lane
                if problem:
                    problems[model] = problem
            self.problems = MappingProxyType(problems)
            self.lanes = MappingProxyType(lanes)

    def _next(self, model: str, lane: Lane, plan: TrafficPlan) -> tuple[Lane, str]:
        served, problems = dict(lane.served), []
        for version in plan.answering:
            if version.model_sha256 in served:
                continue
            found, problem = self._taken_up(version)
            if found is not None:
                served[version.model_sha256] = found
            else:
                problems.append(problem)
        plan = self._without_missing(lane.plan, plan, served)
        kept = {version.model_sha256 for version in plan.answering}
        # What a request that has begun still uses lives on with that request.
        served = {sha256: one for sha256, one in served.items() if sha256 in kept}
        if plan.champion is not None and (lane.plan.champion is None or lane.plan.champion.model_sha256 != plan.champion.model_sha256):
            self._metrics.serving.labels(model).set(plan.champion.version)
            event("champion", model=model, version=plan.champion.version, model_sha256=plan.champion.model_sha256)
        return Lane(plan, served), "; ".join(problems)

    def _without_missing(self, old: TrafficPlan, new: TrafficPlan, served: Mapping[str, Served]) -> TrafficPlan:
        """The new plan as far as its versions could be loaded; a champion that could not is the old one."""
        champion = new.champion
        if champion is not None and champion.model_sha256 not in served:
            champion = old.champion
        canary: Canary | None = new.canary
        if canary is not None and canary.version.model_sha256 not in served:
            canary = None
        experiment = new.experiment
        if experiment is not None and any(version.model_sha256 not in served for version, _ in experiment.arms.values()):
            experiment = None
        return TrafficPlan(champion, canary, new.shadow, experiment)

    def _taken_up(self, version: ModelVersion) -> tuple[Served | None, str]:
        name = f"{version.model} v{version.version}"
        try:
            predictor = self._load(version)
        except (ArtifactError, OSError) as error:
            problem = f"{name} is not taken up: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a new version does wrong, the one that serves goes on
            problem = f"{name} is not taken up: it failed its trial with {type(error).__name__}: {error}"
        else:
            self._refused.pop(version.model_sha256, None)
            self._metrics.swaps.labels(version.model, "taken_up").inc()
            return Served(version, predictor), ""
        if self._refused.get(version.model_sha256) != problem:
            self._refused[version.model_sha256] = problem
            event("swap_refused", level=logging.ERROR, model=version.model, version=version.version, problem=problem)
        self._metrics.swaps.labels(version.model, "refused").inc()
        return None, problem
