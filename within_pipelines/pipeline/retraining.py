"""From what monitoring found to a recorded decision about each model, and to the alerts about what moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.pipeline.alert_manager import AlertManager
from within_pipelines.pipeline.training import KINDS, MODELS
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.database import RetrainingRequest, StoredDecision
    from within_pipelines.monitoring import MonitorFinding, MonitorReport
    from within_pipelines.monitoring.retraining import ModelState, RetrainingDecision, RetrainingPolicy
    from within_pipelines.registry import ModelVersion

# What says that answers got worse; the other monitors say that what goes in or comes out has moved.
PERFORMANCE_MONITORS = ("concept_drift", "calibration_drift", "estimated_performance")
DRIFT_MONITORS = ("data_drift", "prediction_drift", "feature_correlation", "multivariate_drift", "text_drift")
# The end of asking for a run that no instance knows: by then its history may have been tidied away, and the world has moved on.
_REPEATED = timedelta(days=28)


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
        champion=None if version is None else version.version,
        refused=() if version is None else _refused_since(ws, version),
    )


def _refused_since(ws: Workspace, champion: ModelVersion) -> tuple[datetime, ...]:
    """When the versions were trained that came after `champion` and that a required gate has refused. The baseline beside is no attempt."""
    from within_pipelines.registry import missing_gates

    model = champion.model
    later = [v for v in ws.registry.versions(model) if v.version > champion.version and v.kind == KINDS[model][0]]
    judged = [(version, ws.registry.verdicts(version.model_sha256, version.data_version)) for version in later]
    return tuple(version.trained_at for version, verdicts in judged if verdicts and missing_gates(model, verdicts))


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
    """Ask the policy (default: HOME/retraining.yaml) about every model and record what it says, also that nothing is to be done.

    Two deciders at once cannot both start a run: a decision to train is recorded only if no other one was since the state was read."""
    from dataclasses import replace

    from within_pipelines.database import RetrainingRepository, StoredDecision
    from within_pipelines.monitoring.retraining import Action, decide
    from within_pipelines.pipeline.retraining_policy import retraining_policy

    declared = retraining_policy(ws.settings) if policy is None else policy
    rules = replace(declared, oldest=timedelta.max) if performance_only else declared
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
            evidence={**decision.evidence, "policy": declared.to_dict(), "report_day": None if report is None else report.day.isoformat()},
            # That nothing is done is recorded once a day; that something is done once a cause.
            decision_key=decision.key if decision.action is Action.RETRAIN or report is None else f"{decision.key}-{report.day}",
        )
        followed = tuple(number for number, _ in state.requests) if decision.action is Action.RETRAIN else ()
        new = repository.record(stored, answered=followed, after=state.last_requested_at)
        answers.append(Decided(decision, new))
    return tuple(answers)


def _about(found: MonitorFinding, model_sha256: str) -> bool:
    return str(found.evidence.get("model_sha256", model_sha256)) == model_sha256


def schedule_held(ws: Workspace, model: str, *, schedule: str, now: datetime) -> str | None:
    """Why a schedule leaves `model` alone: the newest report explains by a measurement change what moved about the version that serves.

    None when nothing of the kind is open. That a training was left out is recorded like any other decision, once a schedule and report."""
    from within_pipelines.database import RetrainingRepository, StoredDecision
    from within_pipelines.monitoring import DriftState
    from within_pipelines.monitoring.retraining import Action, RetrainingDecision, Trigger
    from within_pipelines.pipeline.monitoring import latest_report

    report = latest_report(ws)
    serving = ws.registry.alias(model, "champion")
    if report is None or serving is None:
        return None
    own = [f for f in report.findings if f.model == model and _about(f, serving.model_sha256)]
    changed = [found for found in own if found.state is DriftState.MEASUREMENT_CHANGE]
    if not changed:
        return None
    reason = (
        f"{schedule} waits, because a measurement change explains {', '.join(sorted({f.monitor for f in changed}))} on {report.day}: "
        f"{changed[0].reason} `within retrain {model} --why ...` trains it all the same."
    )
    cause = f"{Trigger.MEASUREMENT_CHANGE}/{serving.model_sha256[:16]}/{schedule}"
    decision = RetrainingDecision(model, Action.WAIT, Trigger.MEASUREMENT_CHANGE, cause, reason)
    stored = StoredDecision(
        model=model,
        action=str(decision.action),
        trigger=str(decision.trigger),
        cause=cause,
        reason=reason,
        decided_at=now,
        evidence={"schedule": schedule, "findings": [f.to_dict() for f in changed], "report_day": report.day.isoformat()},
        decision_key=f"{decision.key}-{report.day}",
    )
    RetrainingRepository(ws.database).record(stored)
    return reason


def runs_to_request(ws: Workspace, *, started: Callable[[str], bool], now: datetime) -> tuple[StoredDecision, ...]:
    """Decisions to train a model whose run has not begun, at most one a model, each with the key of its run.

    `started` says whether there is a run of a key. Until there is one the decision goes on being asked for, however long the process that
    asks was down; it ends when a newer decision trains the model, when a champion serves that was trained after it, or after four weeks."""
    from within_pipelines.database import RetrainingRepository

    newest = {decision.model: decision for decision in RetrainingRepository(ws.database).decisions(action="retrain")}
    return tuple(decision for decision in newest.values() if _is_open(ws, decision, now) and not started(decision.run_key or ""))


def _is_open(ws: Workspace, decision: StoredDecision, now: datetime) -> bool:
    if decision.run_key is None or not timedelta(0) <= now - decision.decided_at < _REPEATED:
        return False
    champion = ws.registry.alias(decision.model, "champion")
    return champion is None or champion.trained_at <= decision.decided_at


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
