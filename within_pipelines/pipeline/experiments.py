"""Steps of an A/B test: draft, start, look, stop, decide."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from within_pipelines.exceptions import PromotionRefusedError, SampleError
from within_pipelines.pipeline.shadow import SCALES
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.registry import missing_gates
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
    """From draft to running; from then on an experiment about a model has its units answered by their arms' versions.

    Raises `PromotionRefusedError` when an arm's version has not passed its gates, and `ExperimentStateError` when the state does not allow
    it, a canary of the model is open or another experiment about it runs."""
    from within_pipelines.database import ExperimentRepository

    repository = ExperimentRepository(ws.database)
    _check_arms(ws, repository.get(name).spec)
    return repository.move(name, "start", now=now)


def _check_arms(ws: Workspace, spec: ExperimentSpec) -> None:
    if spec.model is None:
        return
    champion = ws.registry.alias(spec.model, "champion")
    for arm, number in spec.versions.items():
        version = ws.registry.get(spec.model, number)
        if champion is not None and champion.version == number:
            continue
        # An arm answers people as a canary does, so it has to have passed what a canary has.
        missing = missing_gates(spec.model, ws.registry.verdicts(version.model_sha256, version.data_version), alias="canary")
        if missing:
            raise PromotionRefusedError(f"{spec.model} v{number} may not answer as arm {arm!r}. " + "; ".join(missing))


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


def experiment_units(ws: Workspace, name: str, *, on: date) -> pl.DataFrame:
    """What the prediction log says of an experiment about a model, one row per unit, as `analyse_experiment` reads it.

    Only answers that are at least `maturity_days` old on `on` count, with the outcomes observed by the end of that day. Per unit:
    `answers`, `latency_ms` (mean), `observed` (outcomes times their weights: clicks, drops, right alarms), `trials` (the weights; an
    answer without an outcome adds nothing to either), so that `observed/trials` is the rate; and where the model's value is a probability
    `score`, the mean of 1 - (value - outcome)^2 over answers with an outcome. Where `score` is there, units without any outcome are left
    out: a measurement that failed is none.

    Raises `ExperimentStateError` for an experiment that is about no model, whose units come as a file, and `SampleError` while no answer
    is old enough."""
    from within_pipelines.database import ExperimentRepository, PredictionRepository

    spec = ExperimentRepository(ws.database).get(name).spec
    if spec.model is None:
        raise ExperimentStateError(f"The experiment {name!r} is about no model, so no log tells its units; give them as a file.")
    log = PredictionRepository(ws.database).predictions(spec.model, most=None, experiment=name)
    units = units_of_log(log, on=on, maturity_days=spec.maturity_days, probability=SCALES.get(spec.model) is not None)
    if units.is_empty():
        raise SampleError(
            f"Of the {log.height} answers of {name!r} in the prediction log none counts on {on}: they count when they are "
            f"{spec.maturity_days} days old" + (" and have an outcome." if SCALES.get(spec.model) is not None else ".")
        )
    return units


def units_of_log(log: pl.DataFrame, *, on: date, maturity_days: int, probability: bool) -> pl.DataFrame:
    """Rows of the prediction log as units; see `experiment_units`. `log` has the columns of `PredictionRepository.predictions`."""
    import polars as pl

    mature = log.filter(pl.col("role").str.starts_with("arm:") & (pl.col("answered_at").dt.date() <= on - timedelta(days=maturity_days)))
    known = pl.col("observed_at").dt.date() <= on
    outcome, weight = (pl.when(known).then(pl.col(column)) for column in ("outcome", "weight"))
    columns = {
        "answers": pl.len(),
        "latency_ms": pl.col("latency_ms").mean(),
        "observed": (outcome * weight).sum(),
        "trials": weight.sum(),
    }
    if probability:
        columns["score"] = (1 - (pl.col("value") - outcome) ** 2).mean()
    units = mature.with_columns(arm=pl.col("role").str.strip_prefix("arm:")).group_by("unit", "arm", maintain_order=True).agg(**columns)
    return units.drop_nulls("score") if probability else units


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
