"""From what monitoring found to a recorded decision about each model, and to the alerts about what moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.pipeline.alert_manager import AlertManager
from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.database import RetrainingRequest, StoredDecision
    from within_pipelines.monitoring import MonitorFinding, MonitorReport
    from within_pipelines.monitoring.retraining import ModelState, RetrainingDecision, RetrainingPolicy

# What says that answers got worse; the other monitors say that what goes in or comes out has moved.
PERFORMANCE_MONITORS = ("concept_drift", "calibration_drift", "estimated_performance")
DRIFT_MONITORS = ("data_drift", "prediction_drift", "feature_correlation", "multivariate_drift", "text_drift")
# A run is asked for again for so long, under the same key, in case the process died between the decision and the request.
_REPEATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and whether it is new; the same decision for the same cause is recorded once."""

    decision: RetrainingDecision
    new: bool


def request_retraining(ws: Workspace, model: str, *, who: str, why: str, now: datetime) -> RetrainingRequest:
    """Note that somebody wants a model trained again; `drift_sensor` starts the run.

    Raises `ModelNotFoundError` for a model that does not exist or a request without a reason."""
    from within_pipelines.database import RetrainingRepository

    if model not in MODELS:
        raise ModelNotFoundError(f"There is no model {model!r}; the models are {', '.join(MODELS)}.")
    if not why.strip() or not who.strip():
        raise ModelNotFoundError(f"Say who wants {model} trained again and why; the decision is kept with both.")
    return RetrainingRepository(ws.database).request(model, who=who.strip()[:256], why=why.strip(), now=now)


def model_state(
    ws: Workspace, model: str, *, in_flight: str | None, performance_only: bool = False, days: pl.DataFrame | None = None
) -> ModelState:
    """What the policy needs to know of a model besides the findings. `performance_only` leaves out age, volume and requests by hand.

    `days` is `Lake.logged_days()`, for who asks about several models and reads it once."""
    import polars as pl

    from within_pipelines.database import RetrainingRepository
    from within_pipelines.monitoring.retraining import ModelState

    repository = RetrainingRepository(ws.database)
    version = ws.registry.alias(model, "champion")
    asked = repository.decisions(model, action="retrain")
    then = now_ = 0
    if version is not None and not performance_only:
        known = ws.lake.logged_days() if days is None else days
        now_ = _account_days(known)
        then = _account_days(known.filter(pl.col("commit_seq") <= version.commit_seq))
    requests = [] if performance_only else repository.requests(model)
    return ModelState(
        model=model,
        trained_at=None if version is None else version.trained_at,
        days_then=then,
        days_now=now_,
        requests=tuple((request.id, f"{request.why} ({request.who})") for request in requests),
        in_flight=in_flight,
        last_requested_at=asked[-1].decided_at if asked else None,
        artifact="" if version is None else version.model_sha256[:16],
    )


def _account_days(days: pl.DataFrame) -> int:
    """Days of all accounts that have facts, from the first to the last of each; a day that is restated counts once."""
    import polars as pl

    spans = (
        days.explode("covered").group_by("covered").agg(days=(pl.col("last_date").max() - pl.col("first_date").min()).dt.total_days() + 1)
    )
    return int(spans["days"].sum())


def decide_retraining(
    ws: Workspace,
    report: MonitorReport | None,
    *,
    in_flight: Callable[[str], str | None],
    now: datetime,
    performance_only: bool = False,
    policy: RetrainingPolicy | None = None,
    models: Sequence[str] = MODELS,
) -> tuple[Decided, ...]:
    """Ask the policy about every model and record what it says, also that nothing is to be done.

    Two deciders at once cannot both start a run: a decision to train is recorded only if no other one was since the state was read."""
    from dataclasses import replace

    from within_pipelines.database import RetrainingRepository, StoredDecision
    from within_pipelines.monitoring.retraining import Action, RetrainingPolicy, decide

    rules = RetrainingPolicy() if policy is None else policy
    if performance_only:
        rules = replace(rules, oldest=timedelta.max)
    wanted = PERFORMANCE_MONITORS if performance_only else DRIFT_MONITORS
    findings: list[MonitorFinding] = [] if report is None else [f for f in report.findings if f.monitor in wanted]
    repository = RetrainingRepository(ws.database)
    answers = []
    # One look for all models: it is a row per file ever ingested.
    days = None if performance_only else ws.lake.logged_days()
    for model in models:
        state = model_state(ws, model, in_flight=in_flight(model), performance_only=performance_only, days=days)
        # What was found about a version that no longer serves says nothing about its successor.
        serving = ws.registry.alias(model, "champion")
        fresh = [f for f in findings if f.model == model and serving is not None and _about(f, serving.model_sha256)]
        decision = decide(state, fresh, policy=rules, now=now)
        stored = StoredDecision(
            model=model,
            action=str(decision.action),
            trigger=str(decision.trigger),
            cause=decision.cause[:256],
            reason=decision.reason,
            decided_at=now,
            run_key=decision.run_key,
            evidence={**decision.evidence, "report_day": None if report is None else report.day.isoformat()},
            # That nothing is done is recorded once a day; that something is done once a cause.
            decision_key=decision.key if decision.action is Action.RETRAIN or report is None else f"{decision.key}-{report.day}",
        )
        followed = tuple(number for number, _ in state.requests) if decision.action is Action.RETRAIN else ()
        new = repository.record(stored, answered=followed, after=state.last_requested_at)
        answers.append(Decided(decision, new))
    return tuple(answers)


def _about(found: MonitorFinding, model_sha256: str) -> bool:
    return str(found.evidence.get("model_sha256", model_sha256)) == model_sha256


def runs_to_request(ws: Workspace, *, now: datetime) -> tuple[StoredDecision, ...]:
    """Decisions of the last hour to train a model, each with the key of its run. A key that was requested before starts nothing."""
    from within_pipelines.database import RetrainingRepository

    found = RetrainingRepository(ws.database).decisions(action="retrain")
    return tuple(decision for decision in found if decision.run_key is not None and timedelta(0) <= now - decision.decided_at < _REPEATED)


def tell_findings(ws: Workspace, report: MonitorReport, *, now: datetime) -> int:
    """Open, count and close the alerts about what monitoring found; returns how many are about something that moved.

    A measurement change is told once as information. An alert closes when its monitor calls the model stable, or when another version
    serves than the one that it was about."""
    from within_pipelines.monitoring import DriftState, alert_for_finding

    manager = AlertManager(ws)
    moved = 0
    for found in report.findings:
        key = f"monitor/{found.model}/{found.monitor}"
        alert = alert_for_finding(found)
        if alert is not None:
            moved += found.drifted
            manager.tell(alert, now=now)
            continue
        for record in manager.store.open_under(key):
            replaced = record.context.get("model_sha256") != str(found.evidence.get("model_sha256", ""))
            if record.dedup_key == key and (found.state is DriftState.STABLE or replaced):
                manager.close(key, now=now)
    return moved
