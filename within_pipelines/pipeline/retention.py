"""Which artifacts may go? Never one that an alias, an audit, a running canary or an experiment needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion

KEEP_NEWEST = 3
KEEP_DAYS = 30


@dataclass(frozen=True, slots=True)
class Kept:
    """One version and why its artifact is needed; no reason means that it may go."""

    version: ModelVersion
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """What was looked at and what went: artifact folders, bytes; `dry_run` when nothing was removed."""

    kept: tuple[Kept, ...]
    removed: tuple[Path, ...]
    bytes: int
    dry_run: bool


def retention(ws: Workspace, model: str, *, now: datetime, keep_newest: int = KEEP_NEWEST, keep_days: int = KEEP_DAYS) -> list[Kept]:
    """Every version of a model with the reasons to keep its artifact: an alias points to it; it has served (rollback, audit); a champion
    was judged against it; it is the canary or control of an open canary, or an arm of an experiment; it is among the newest of its kind or
    younger than `keep_days`."""
    from within_pipelines.database import CanaryRepository, ExperimentRepository

    versions = ws.registry.versions(model)
    history = ws.registry.alias_history(model)
    pointed = {alias: ws.registry.alias(model, alias) for alias in ("champion", "challenger", "shadow", "canary")}
    served = {row["to_version"] for row in history.iter_rows(named=True) if row["alias"] in ("champion", "canary")}
    canary = CanaryRepository(ws.database).open(model)
    running = set() if canary is None else {canary.spec.version, canary.spec.control_version}
    arms: dict[int, str] = {}
    for experiment in ExperimentRepository(ws.database).experiments():
        if experiment.spec.model == model:
            arms |= dict.fromkeys(experiment.spec.versions.values(), experiment.spec.name)
    rivals = {
        verdict.baseline_sha256
        for version in versions
        if version.version in served
        for verdict in ws.registry.verdicts(version.model_sha256, version.data_version)
    }
    newest = {
        version.version
        for kind in {version.kind for version in versions}
        for version in [own for own in versions if own.kind == kind][-keep_newest:]
    }
    found = []
    for version in versions:
        reasons = [f"alias {alias}" for alias, target in pointed.items() if target is not None and target.version == version.version]
        reasons += ["it has served"] if version.version in served else []
        reasons += ["part of the open canary"] if version.version in running else []
        reasons += [f"arm of the experiment {arms[version.version]}"] if version.version in arms else []
        reasons += ["a version that served was judged against it"] if version.model_sha256 in rivals else []
        reasons += [f"among the newest {keep_newest} of its kind"] if version.version in newest else []
        reasons += [f"younger than {keep_days} days"] if now - version.trained_at < timedelta(days=keep_days) else []
        found.append(Kept(version, tuple(reasons)))
    return found


def collect_garbage(
    ws: Workspace, *, now: datetime, dry_run: bool, keep_newest: int = KEEP_NEWEST, keep_days: int = KEEP_DAYS
) -> Collected:
    """Remove artifact folders that no version needs, and folders that no version names and that are older than `keep_days`.

    Rows of versions, verdicts and moves stay for ever; a version whose artifact is gone can be trained again from its inputs."""
    kept = [entry for model in MODELS for entry in retention(ws, model, now=now, keep_newest=keep_newest, keep_days=keep_days)]
    # Two versions may share one artifact; it is needed while either needs it.
    needed = {entry.version.artifact for entry in kept if entry.reasons}
    known = {entry.version.artifact for entry in kept}
    going = []
    for model in MODELS:
        for folder in sorted((ws.artifacts.root / model).glob("*")) if (ws.artifacts.root / model).is_dir() else ():
            name = f"{model}/{folder.name}"
            age = now.timestamp() - folder.stat().st_mtime
            if name in needed or not folder.is_dir() or (name not in known and age < keep_days * 86_400):
                continue
            going.append(folder)
    size = sum(file.stat().st_size for folder in going for file in folder.rglob("*") if file.is_file())
    if not dry_run:
        for folder in going:
            shutil.rmtree(folder)
    return Collected(tuple(kept), tuple(going), size, dry_run)
