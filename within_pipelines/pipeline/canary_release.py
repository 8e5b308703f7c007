"""From passed gates to a canary, where HOME/release.yaml asks for one: begun by the release, or later by the sensor once it may begin."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from within_pipelines.exceptions import PromotionRefusedError
from within_pipelines.pipeline.canary import start_canary
from within_pipelines.pipeline.release_policy import ReleaseRule, release_rules
from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.withdrawn import withdrawn_versions
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.validation import ExperimentStateError

if TYPE_CHECKING:
    from within_pipelines.database import CanaryRecord
    from within_pipelines.registry import ModelVersion


def through_canary(ws: Workspace, candidate: ModelVersion, *, now: datetime, who: str, trigger: str = "") -> str:
    """Begin the declared canary of `candidate`; returns what became of it, or nothing where the rule is to promote at once.

    A canary that is open already goes on. One that may not begin (a gate that did not pass, an open canary of another version, a running
    experiment) is told and changes nothing; `begin_waiting_canary` tries again."""
    from within_pipelines.database import CanaryRepository

    rule = release_rules(ws)[candidate.model]
    if rule.through == "direct":
        return ""
    current = CanaryRepository(ws.database).open(candidate.model)
    if current is not None and current.spec.version == candidate.version:
        return f"its canary is {current.state.value.replace('_', ' ')} at {current.share:.0%}"
    try:
        canary = _begin(ws, candidate, rule, now=now, who=who, trigger=trigger)
    except (PromotionRefusedError, ExperimentStateError) as refusal:
        return str(refusal)
    return f"it passed its gates, and its canary begins at {canary.share:.0%} ({rule.outcomes} outcomes)"


def waiting_canaries(ws: Workspace, *, on: date) -> list[str]:
    """Which declared canaries may begin, one text each (model, version, day), so that one state starts one run a day."""
    return [f"{model}:v{version.version}:waits:{on}" for model in MODELS if (version := _waiting(ws, model)) is not None]


def begin_waiting_canary(ws: Workspace, model: str, *, now: datetime, who: str) -> CanaryRecord | None:
    """Begin the canary of the challenger that waits for one; None when none waits or somebody else was faster."""
    version = _waiting(ws, model)
    if version is None:
        return None
    try:
        return _begin(ws, version, release_rules(ws)[model], now=now, who=who, trigger="a canary that waited")
    except (PromotionRefusedError, ExperimentStateError):
        return None


def _waiting(ws: Workspace, model: str) -> ModelVersion | None:
    """The challenger that passed its gates and has neither served nor been tried, while neither a canary nor an experiment is open."""
    from within_pipelines.database import CanaryRepository
    from within_pipelines.registry import missing_gates

    if release_rules(ws)[model].through == "direct":
        return None
    champion, challenger = ws.registry.alias(model, "champion"), ws.registry.alias(model, "challenger")
    if champion is None or challenger is None or challenger.version == champion.version:
        return None
    try:
        CanaryRepository(ws.database).check_free(model)
    except ExperimentStateError:
        return None
    history = ws.registry.alias_history(model)
    served = {row["to_version"] for row in history.iter_rows(named=True) if row["alias"] == "champion"}
    if challenger.version in served or challenger.version in withdrawn_versions(ws, model):
        return None
    verdicts = ws.registry.verdicts(challenger.model_sha256, challenger.data_version)
    return None if missing_gates(model, verdicts, alias="canary") else challenger


def _begin(ws: Workspace, version: ModelVersion, rule: ReleaseRule, *, now: datetime, who: str, trigger: str) -> CanaryRecord:
    return start_canary(
        ws, version.model, version.version, metrics=rule.canary_metrics(), key=ws.settings.serve_traffic_key, who=who, now=now,
        shares=rule.shares, alpha=rule.alpha, days_per_stage=rule.days_per_stage, maturity_days=rule.maturity_days, missing=rule.missing,
        minimum_units=rule.minimum_units, outcomes=rule.outcomes, trigger=trigger,
    )  # fmt: skip
