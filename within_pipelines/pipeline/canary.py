"""The canary's controller: look, write down what follows, then do it. A controller that dies in between is finished by the next one.

Every transition is one database transaction that compares the revision it was decided on. What changes more than that table (the
champion's alias, an alert) is first written down as an intention (`rolling_back`, `promoting`) and is safe to do twice. From the
transaction that writes `rolling_back` the canary's share is 0: units are back with control before anything else happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from within_pipelines.exceptions import ModelNotFoundError, PromotionRefusedError
from within_pipelines.pipeline.beside import place_beside
from within_pipelines.pipeline.canary_alerts import close_rolled_back, close_stalled, tell_rolled_back, tell_stalled
from within_pipelines.pipeline.withdrawn import NO_CONTROL, REFUSED
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.validation import CanaryMetric, CanarySpec, CanaryState, ExperimentStateError, Step, look

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.database import CanaryRecord
    from within_pipelines.validation.canary import Outcomes
    from within_pipelines.validation.late_outcomes import Missing

# A canary that is in one stage for so long probably gets no outcomes, and keeps later versions waiting.
STALLED_AFTER = timedelta(days=28)
# How the reason of a promotion begins that a canary made.
BY_CANARY = "canary: "


def start_canary(
    ws: Workspace,
    model: str,
    version: int,
    *,
    metrics: Sequence[CanaryMetric],
    key: str,
    who: str,
    now: datetime,
    shares: Sequence[float] | None = None,
    alpha: float = 0.05,
    days_per_stage: int = 1,
    maturity_days: int = 0,
    missing: Missing = "zero",
    minimum_units: int = 30,
    outcomes: Outcomes = "live",
    trigger: str = "",
) -> CanaryRecord:
    """Open a canary of `version` beside the champion. Its arms are those that the traffic router gives: the experiment's name is
    `<model>/canary/<model_sha256>`, `key` the deployment's traffic key. `trigger` says what started the release, for the record.

    Raises `PromotionRefusedError` when a required gate has not passed, `ModelNotFoundError` without a champion to stand beside, and
    `ExperimentStateError` when a canary of the model is open or an experiment about its versions runs."""
    from within_pipelines.database import CanaryRepository
    from within_pipelines.registry import missing_gates
    from within_pipelines.validation import STAGES

    repository = CanaryRepository(ws.database)
    champion, candidate = ws.registry.alias(model, "champion"), ws.registry.get(model, version)
    if champion is None:
        raise ModelNotFoundError(f"{model} has no champion; a canary stands beside one, so promote a first version before.")
    spec = CanarySpec(
        name=f"{model}/canary/{candidate.model_sha256}", model=model, version=version, control_version=champion.version,
        metrics=tuple(metrics), key=key, shares=tuple(shares or STAGES), alpha=alpha, days_per_stage=days_per_stage,
        maturity_days=maturity_days, missing=missing, minimum_units=minimum_units, outcomes=outcomes,
    )  # fmt: skip
    if unmet := missing_gates(model, ws.registry.verdicts(candidate.model_sha256, candidate.data_version), alias="canary"):
        raise PromotionRefusedError(f"{model} v{version} may not become canary. " + "; ".join(unmet))
    why = f"canary of v{version} beside v{champion.version}" + (f"; triggered by {trigger}" if trigger else "")
    # Of two at once one opens; only that one moves the alias.
    opened = repository.start(spec, who=who, why=why, now=now)
    current = ws.registry.alias(model, "canary")
    ws.registry.promote(
        model, version, alias="canary", who=who, why=f"canary beside v{champion.version}", now=now,
        expected_current=None if current is None else current.version,
    )  # fmt: skip
    return opened


def step_canary(ws: Workspace, model: str, *, on: date, now: datetime, who: str) -> CanaryRecord | None:
    """Take the one step that is due: finish an intention, or look and write down what follows. None when no canary is open.

    Outcomes are those recorded so far (`record_canary_outcomes`); `on` is the day that they are judged on. Safe to call at any time, by
    several processes: of two that decide on the same state one wins, the other raises `ExperimentStateError`."""
    from within_pipelines.database import CanaryRepository

    repository = CanaryRepository(ws.database)
    canary = repository.open(model)
    if canary is None:
        return None
    if canary.state is CanaryState.PAUSED:
        return canary
    if canary.state is CanaryState.RUNNING:
        canary = _look(ws, canary, on=on, now=now, who=who)
    if canary.state is CanaryState.PROMOTING:
        canary = _promote(ws, canary, now=now, who=who)
    if canary.state is CanaryState.ROLLING_BACK:
        canary = _roll_back(ws, canary, now=now, who=who)
    return canary


def due_canaries(ws: Workspace, *, on: date) -> list[str]:
    """What is due, one text a canary: model, revision and number of recorded outcomes. An intention that is not finished is due always, a
    running canary when it was not looked at today or when outcomes have come since."""
    from within_pipelines.database import CanaryRepository
    from within_pipelines.registry import REQUIRED_GATES

    repository = CanaryRepository(ws.database)
    due = []
    for model in REQUIRED_GATES:
        canary = repository.open(model)
        if canary is None or canary.state is CanaryState.PAUSED:
            continue
        known, state = repository.known_outcomes(canary), f"{model}:{canary.id}:{canary.revision}"
        looks = [move.look for move in repository.moves(canary) if move.look is not None]
        fresh = not looks or looks[-1].on != on or looks[-1].known != known
        if canary.state is not CanaryState.RUNNING or fresh:
            due.append(f"{state}:{known}:{on}")
    return due


def _look(ws: Workspace, canary: CanaryRecord, *, on: date, now: datetime, who: str) -> CanaryRecord:
    from within_pipelines.database import CanaryRepository

    repository = CanaryRepository(ws.database)
    champion = ws.registry.alias(canary.spec.model, "champion")
    if champion is None or champion.version != canary.spec.control_version:
        found = "nobody" if champion is None else f"v{champion.version}"
        why = f"{NO_CONTROL}{canary.spec.control_version} is no longer the champion ({found} is), so there is nothing left to compare with."
        return repository.move(canary, state=CanaryState.ROLLING_BACK, who=who, why=why, now=now)
    known = repository.known_outcomes(canary)
    seen = replace(look(canary.spec, repository.outcomes(canary), on=on, stage=canary.stage, stage_since=canary.stage_since), known=known)
    state = {Step.ROLL_BACK: CanaryState.ROLLING_BACK, Step.PROMOTE: CanaryState.PROMOTING}.get(seen.step, CanaryState.RUNNING)
    stage = canary.stage + 1 if seen.step is Step.ADVANCE else canary.stage
    moved = repository.move(canary, state=state, stage=stage, who=who, why=seen.reason, now=now, found=seen)
    if state is CanaryState.RUNNING and stage == canary.stage and on - canary.stage_since >= STALLED_AFTER:
        tell_stalled(ws, moved, now=now)
    else:
        close_stalled(ws, canary.spec.model, now=now)
    return moved


def _promote(ws: Workspace, canary: CanaryRecord, *, now: datetime, who: str) -> CanaryRecord:
    from within_pipelines.database import CanaryRepository

    spec, repository = canary.spec, CanaryRepository(ws.database)
    champion = ws.registry.alias(spec.model, "champion")
    if champion is None or champion.version != spec.version:
        try:
            ws.registry.promote(
                spec.model, spec.version, who=who, why=f"{BY_CANARY}{canary.reason}", now=now, expected_current=spec.control_version
            )
        except PromotionRefusedError as refusal:
            return repository.move(canary, state=CanaryState.ROLLING_BACK, who=who, why=f"{REFUSED}{refusal}", now=now)
    ws.registry.withdraw(spec.model, "canary", version=spec.version, who=who, why="it is the champion now", now=now)
    serving, before = (ws.registry.get(spec.model, number) for number in (spec.version, spec.control_version))
    place_beside(ws, serving, before, serving, now=now, who=who)
    close_rolled_back(ws, spec.model, now=now)
    return repository.move(canary, state=CanaryState.PROMOTED, who=who, why=canary.reason, now=now)


def _roll_back(ws: Workspace, canary: CanaryRecord, *, now: datetime, who: str) -> CanaryRecord:
    from within_pipelines.database import CanaryRepository

    spec = canary.spec
    ws.registry.withdraw(spec.model, "canary", version=spec.version, who=who, why=canary.reason, now=now)
    close_stalled(ws, spec.model, now=now)
    tell_rolled_back(ws, canary, now=now)
    return CanaryRepository(ws.database).move(canary, state=CanaryState.ROLLED_BACK, who=who, why=canary.reason, now=now)


def _open(ws: Workspace, model: str) -> CanaryRecord:
    from within_pipelines.database import CanaryRepository

    canary = CanaryRepository(ws.database).open(model)
    if canary is None:
        raise ModelNotFoundError(f"{model} has no open canary; `within canary status` shows the last one.")
    return canary


def pause_canary(ws: Workspace, model: str, *, who: str, why: str, now: datetime) -> CanaryRecord:
    """Give the canary's units back to control until it is resumed; what was seen is kept.

    Raises `ModelNotFoundError` without an open canary and `ExperimentStateError` when it is not running."""
    return _by_hand(ws, model, wanted=CanaryState.RUNNING, state=CanaryState.PAUSED, who=who, why=why, now=now)


def resume_canary(ws: Workspace, model: str, *, who: str, why: str, now: datetime) -> CanaryRecord:
    """Go on in the stage that was paused. Raises as `pause_canary`."""
    return _by_hand(ws, model, wanted=CanaryState.PAUSED, state=CanaryState.RUNNING, who=who, why=why, now=now)


def _by_hand(ws: Workspace, model: str, *, wanted: CanaryState, state: CanaryState, who: str, why: str, now: datetime) -> CanaryRecord:
    from within_pipelines.database import CanaryRepository

    canary = _open(ws, model)
    if canary.state is not wanted:
        raise ExperimentStateError(
            f"The canary of {model} is {canary.state.value.replace('_', ' ')}; this needs one that is {wanted.value}."
        )
    return CanaryRepository(ws.database).move(canary, state=state, who=who, why=why, now=now)


def abort_canary(ws: Workspace, model: str, *, who: str, why: str, now: datetime) -> CanaryRecord:
    """Roll back by hand: the intention first, then the deed.

    Raises `ModelNotFoundError` without an open canary, and `ExperimentStateError` when it is being promoted already."""
    from within_pipelines.database import CanaryRepository

    canary = _open(ws, model)
    if canary.state is CanaryState.PROMOTING:
        raise ExperimentStateError(f"The canary of {model} is being promoted; promote the earlier version again to undo it.")
    if canary.state is not CanaryState.ROLLING_BACK:
        canary = CanaryRepository(ws.database).move(canary, state=CanaryState.ROLLING_BACK, who=who, why=why, now=now)
    return _roll_back(ws, canary, now=now, who=who)


def record_canary_outcomes(ws: Workspace, model: str, outcomes: pl.DataFrame) -> int:
    """Keep what units of the open canary showed: `unit`, `arm`, `day`, `known_on` and a column per metric; returns how many rows changed.

    Raises `SchemaError` for a missing column, `SampleError` for another arm than canary and control, `ModelNotFoundError` without an
    open canary."""
    from within_pipelines.database import CanaryRepository
    from within_pipelines.exceptions import SampleError
    from within_pipelines.validation import matured

    canary = _open(ws, model)
    # The reader that the looks use says what is missing.
    matured(outcomes, [metric.name for metric in canary.spec.metrics], on=canary.stage_since, maturity_days=0)
    if strange := sorted(set(outcomes["arm"].to_list()) - {"canary", "control"}):
        raise SampleError(f"The arms {strange} are neither canary nor control; give the arm that answered.")
    return CanaryRepository(ws.database).record_outcomes(canary, outcomes)
