"""Gather what was recorded about one promotion, and file it as a printable page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.pipeline.shadow import SCALES
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.reporting import Decision, decision_html, decision_markdown


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
    return Decision(
        move=move,
        version=own,
        before=before,
        verdicts=tuple(ws.registry.verdicts(own.model_sha256, own.data_version)),
        shadow=shadow,
        canary=_canary_moves(CanaryRepository(ws.database), model, own.version),
        realised=realised,
        written_at=now,
    )


def _canary_moves(canaries: Any, model: str, version: int) -> tuple[tuple[str, ...], ...]:
    try:
        canary = canaries.latest(model)
    except ModelNotFoundError:
        return ()
    if canary.spec.version != version:
        return ()
    return tuple(
        (f"{look.moved_at:%Y-%m-%d %H:%M}", look.state.value, f"{look.share:.0%}", look.who, look.why) for look in canaries.moves(canary)
    )


def write_decision(ws: Workspace, decision: Decision) -> tuple[Path, Path]:
    """File the record below the artifacts: (HTML, Markdown). A later call for the same move, when more is known, replaces it."""
    from within_pipelines.files import write_text

    name = f"{decision.version.model}-v{decision.version.version}-{decision.move.moved_at:%Y%m%dT%H%M%S}"
    page, text = (ws.settings.artifacts / "decisions" / f"{name}.{kind}" for kind in ("html", "md"))
    write_text(page, decision_html(decision))
    write_text(text, decision_markdown(decision))
    return page, text
