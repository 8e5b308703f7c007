"""Gather what was recorded about one promotion, and file it as a printable page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.pipeline.canary import BY_CANARY
from within_pipelines.pipeline.experiments import read_result
from within_pipelines.pipeline.shadow import SCALES
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.reporting import Decision, decision_html, decision_markdown

if TYPE_CHECKING:
    from within_pipelines.database import CanaryMove, CanaryRecord
    from within_pipelines.registry import AliasMove


def decide(ws: Workspace, model: str, version: int | None = None, *, now: datetime) -> Decision:
    """The record of the last move of `champion` to `version` (default: to the one that serves).

    Raises `ModelNotFoundError` when that version never became champion."""
    from within_pipelines.database import CanaryRepository, PredictionRepository
    from within_pipelines.registry import AliasMove
    from within_pipelines.validation import compare_shadow

    history = [row for row in ws.registry.alias_history(model).iter_rows(named=True) if row["alias"] == "champion"]
    moves = [row for row in history if version is None or row["to_version"] == version]
    if not moves:
        what = "No version" if version is None else f"v{version}"
        raise ModelNotFoundError(f"{what} of {model} has become champion, so there is no decision to show; `within models show {model}`.")
    move = AliasMove(model=model, **moves[-1])
    own = ws.registry.get(model, move.to_version)
    before = None if move.from_version is None else ws.registry.get(model, move.from_version)
    shadow = realised = None
    if before is not None and before.model_sha256 != own.model_sha256:
        predictions = PredictionRepository(ws.database).predictions(model)
        scale = SCALES.get(model)
        earlier, later = predictions["answered_at"] < move.moved_at, predictions["answered_at"] >= move.moved_at
        shadow = compare_shadow(
            predictions.filter(earlier), champion_sha256=before.model_sha256, shadow_sha256=own.model_sha256, scale=scale
        )
        realised = compare_shadow(
            predictions.filter(later), champion_sha256=own.model_sha256, shadow_sha256=before.model_sha256, scale=scale
        )
    canary = _canary_of(ws, move)
    looks = [] if canary is None else CanaryRepository(ws.database).moves(canary)
    # A promotion by a canary names the canary's reason; what started the release is in the canary's first entry.
    told = [move.why, *(look.why for look in looks[:1] if move.why.startswith(BY_CANARY))]
    return Decision(
        move=move,
        version=own,
        before=before,
        verdicts=tuple(ws.registry.verdicts_of(move)),
        shadow=shadow,
        canary=tuple(_look_row(look) for look in looks),
        realised=realised,
        written_at=now,
        trigger=next((why.partition("triggered by ")[2] for why in told if "triggered by " in why), ""),
        canary_outcomes="" if canary is None else _OUTCOMES[canary.spec.outcomes],
        experiments=tuple(_experiment_rows(ws, model, own.version)),
    )


_OUTCOMES = {
    "live": "those of answers that people got",
    "replay": "those of days in the lake that both versions answered afterwards; nobody was served by it",
    "recorded": "recorded by hand",
}


def _canary_of(ws: Workspace, move: AliasMove) -> CanaryRecord | None:
    """The newest canary of the version that began before it became champion."""
    from within_pipelines.database import CanaryRepository

    own = [
        canary
        for canary in CanaryRepository(ws.database).canaries(move.model)
        if canary.spec.version == move.to_version and canary.started_at <= move.moved_at
    ]
    return own[-1] if own else None


def _look_row(move: CanaryMove) -> tuple[str, ...]:
    gain = "" if move.look is None else "; ".join(f"{metric.metric} {metric.gain}" for metric in move.look.metrics)
    return (f"{move.moved_at:%Y-%m-%d %H:%M}", move.state.value.replace("_", " "), f"{move.share:.0%}", gain, move.who, move.why)


def _experiment_rows(ws: Workspace, model: str, version: int) -> Iterator[tuple[str, ...]]:
    from within_pipelines.database import ExperimentRepository

    repository = ExperimentRepository(ws.database)
    for experiment in repository.experiments():
        spec = experiment.spec
        if spec.model != model or version not in spec.versions.values():
            continue
        looks = repository.looks(spec.name)
        found = read_result(looks[-1][1]) if looks else None
        arms = ", ".join(f"{arm} v{number}{' (control)' if arm == spec.control else ''}" for arm, number in spec.versions.items())
        seen = "" if found is None else "; ".join(f"{own.arm}: {own.metric} {own.difference}" for own in found.primary)
        outcome, why = ("nobody has looked yet", "") if found is None else (found.outcome.value.replace("_", " "), found.reason)
        yield spec.name, experiment.state.value, arms, outcome, seen, why


def write_decision(ws: Workspace, decision: Decision) -> tuple[Path, Path]:
    """File the record below the artifacts: (HTML, Markdown). A later call for the same move, when more is known, replaces it."""
    from within_pipelines.files import write_text

    name = f"{decision.version.model}-v{decision.version.version}-{decision.move.moved_at:%Y%m%dT%H%M%S}"
    page, text = (ws.settings.artifacts / "decisions" / f"{name}.{kind}" for kind in ("html", "md"))
    write_text(page, decision_html(decision))
    write_text(text, decision_markdown(decision))
    return page, text
