"""Steps of an A/B test: draft, start, look, stop, decide."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.validation import (
    AbResult,
    ArmComparison,
    Experiment,
    ExperimentSpec,
    ExperimentState,
    ExperimentStateError,
    Outcome,
    SampleRatio,
    analyse,
)

if TYPE_CHECKING:
    import polars as pl


_READ = frozenset({Outcome.WINNER, Outcome.CONTROL, Outcome.NO_EVIDENCE, Outcome.GUARDRAIL})


def draft_experiment(ws: Workspace, spec: ExperimentSpec, *, now: datetime) -> Experiment:
    """Keep what is planned. Raises `ExperimentStateError` when the name is taken."""
    from within_pipelines.database import ExperimentRepository

    return ExperimentRepository(ws.database).create(spec, now=now)


def start_experiment(ws: Workspace, name: str, *, now: datetime) -> Experiment:
    """From draft to running."""
    from within_pipelines.database import ExperimentRepository

    return ExperimentRepository(ws.database).move(name, "start", now=now)


def stop_experiment(ws: Workspace, name: str, *, now: datetime) -> Experiment:
    """From running to stopped: no more units come in, and a fixed-horizon test may be read."""
    from within_pipelines.database import ExperimentRepository

    return ExperimentRepository(ws.database).move(name, "stop", now=now)


def analyse_experiment(ws: Workspace, name: str, units: pl.DataFrame, *, now: datetime) -> AbResult:
    """Look at an experiment and keep the look. One that is stopped is decided by it; so is a fixed-horizon one that is read at its end,
    because a second reading would be a peek. A look that is too early, void or not causal decides nothing while it runs.

    Raises `ExperimentStateError` for a draft, and for one that was decided already: reading on until it looks well is not a test."""
    from within_pipelines.database import ExperimentRepository

    repository = ExperimentRepository(ws.database)
    experiment = repository.get(name)
    if experiment.state in (ExperimentState.DRAFT, ExperimentState.DECIDED):
        raise ExperimentStateError(f"The experiment {name!r} is {experiment.state.value}; only a running or stopped one is analysed.")
    # A fixed test has one reading, so only a sequential one carries p-values on.
    earlier = [read_result(result) for _, result in repository.looks(name)] if experiment.spec.analysis == "sequential" else []
    result = analyse(experiment.spec, units, previous=earlier, ended=experiment.state is ExperimentState.STOPPED)
    repository.record_look(name, result.to_dict(), now=now)
    was_read = experiment.spec.analysis == "fixed" and result.outcome in _READ
    if experiment.state is ExperimentState.RUNNING and was_read:
        repository.move(name, "stop", now=now)
    if experiment.state is ExperimentState.STOPPED or was_read:
        repository.move(name, "decide", now=now, decision=result.to_dict())
    return result


def read_result(values: dict[str, Any] | Any) -> AbResult:
    """A kept look as a value again."""
    from within_pipelines.stats import Estimate

    def arms(name: str) -> tuple[ArmComparison, ...]:
        return tuple(ArmComparison(**{**found, "difference": Estimate(**found["difference"])}) for found in values[name])

    ratio = SampleRatio(values["units"], {}, float("nan"), values["sample_ratio_p_value"], 0.001)
    return AbResult(
        Outcome(values["outcome"]), values["winner"], values["reason"], values["units"], ratio, values["crossovers"], arms("primary"),
        arms("guardrails"), arms("segments"),
    )  # fmt: skip
