"""Look at a deployment without changing it, and say what is wrong and what to do about it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from within_pipelines.exceptions import WithinError

if TYPE_CHECKING:
    from within_pipelines.database import Database
    from within_pipelines.settings import Settings

State = Literal["ok", "warning", "missing", "broken"]
# A demo run needs about half a gigabyte.
LITTLE_DISK = 2 * 1024**3
NO_DISK = 200 * 1024**2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `missing` is what a first run will create; only `broken` needs somebody now."""

    name: str
    state: State
    detail: str
    next_step: str = ""


def diagnose(settings: Settings, *, environ: Mapping[str, str] | None = None, now: datetime | None = None) -> tuple[Finding, ...]:
    """Python, packages, folders, lake, database, champions, sensors, alert channels, retraining, Dagster and disk. Creates nothing and
    shows no password.

    `now` is the time against which the sensors' last ticks are held (default: the wall clock). `environ` stands in for the process's
    environment."""
    return (
        _python(),
        _packages(),
        _alibi(),
        _home(settings.home),
        _landing(settings.landing),
        _lake(settings),
        *_database(settings, datetime.now(UTC) if now is None else now),
        _retraining(settings),
        _dagster(os.environ if environ is None else environ),
        _disk(settings.home),
    )


def _python() -> Finding:
    shown = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", shown)
    return Finding("python", "warning", f"{shown} is untested", "use Python 3.11, 3.12 or 3.13")


def _packages() -> Finding:
    required = [line for line in metadata.requires("within-pipelines") or () if "extra ==" not in line]
    names = sorted(found[0] for line in required if (found := re.match(r"[A-Za-z0-9._-]+", line)))
    absent = [name for name in names if not _installed(name)]
    if absent:
        return Finding("packages", "broken", f"not installed: {', '.join(absent)}", "run `make install`")
    return Finding("packages", "ok", f"all {len(names)} required packages are installed")


def _alibi() -> Finding:
    if _installed("alibi-detect"):
        return Finding("extra alibi", "ok", f"alibi-detect {metadata.version('alibi-detect')}")
    return Finding(
        "extra alibi", "missing", "alibi-detect is not installed; nothing needs it", "pip install 'within-pipelines[alibi]' to have it"
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _home(home: Path) -> Finding:
    parent = _existing(home)
    if not parent.is_dir():
        return Finding("home", "broken", f"{parent} is a file", "name a folder with WITHIN_HOME or --home")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        return Finding("home", "broken", f"cannot write to {parent}: {error.strerror}", "correct its owner, or name another WITHIN_HOME")
    if parent != home:
        return Finding("home", "missing", f"{home} does not exist yet", "`within run` creates it")
    return Finding("home", "ok", str(home))


def _landing(landing: Path) -> Finding:
    from within_pipelines.ingest import landing_files

    files = len(landing_files(landing)) if landing.is_dir() else 0
    if files:
        return Finding("landing", "ok", f"{files:,} files in {landing}")
    return Finding("landing", "missing", f"no exports in {landing}", "put exports there; `within run` writes a demo agency otherwise")


def _lake(settings: Settings) -> Finding:
    from deltalake.exceptions import DeltaError

    from within_pipelines.lake import Lake

    if settings.lake_url is None and not Path(settings.lake).is_dir():
        return Finding("lake", "missing", f"no lake at {settings.lake} yet", "`within run` creates it")
    try:
        lake = Lake(settings.lake)
        watermark = lake.watermark()
        last = lake.last_event_date() if watermark else None
    except (WithinError, OSError, DeltaError) as error:
        return Finding("lake", "broken", f"{settings.lake}: {_first_line(error)}", "check the folder or WITHIN_LAKE_URL")
    if not watermark:
        return Finding("lake", "missing", "nothing has been ingested", "`within ingest` or `within run`")
    return Finding("lake", "ok", f"at commit {watermark}, facts up to {last}")


def _database(settings: Settings, now: datetime) -> Iterator[Finding]:
    from within_pipelines.database import Database

    if settings.database_url is None and not (settings.home / "within.db").is_file():
        yield Finding("database", "missing", f"no database in {settings.home} yet", "`within run` creates it")
        return
    try:
        database = Database(settings.database)
    except WithinError as error:
        yield Finding("database", "broken", _first_line(error), "correct WITHIN_DATABASE_URL")
        return
    try:
        yield from _schema(database, settings, now)
    except WithinError as error:
        yield Finding("database", "broken", _first_line(error), "check that it runs and that WITHIN_DATABASE_URL is right")
    finally:
        database.dispose()


def _schema(database: Database, settings: Settings, now: datetime) -> Iterator[Finding]:
    revision, newest = database.revision(), database.newest_revision()
    if revision is None:
        yield Finding("database", "missing", f"{database.shown} has no tables", "`within run` creates them")
        return
    if revision < newest:
        yield Finding(
            "database", "warning", f"{database.shown} is at revision {revision}, the code at {newest}", "the next run migrates it"
        )
        return
    if revision > newest:
        yield Finding("database", "broken", f"{database.shown} is at revision {revision}, the code at {newest}", "install the newer code")
        return
    yield Finding("database", "ok", f"{database.shown} at revision {revision}")
    yield from _champions(database, settings)
    yield _sensors(database, now)
    yield _alerting(database, settings)


def _champions(database: Database, settings: Settings) -> Iterator[Finding]:
    from within_pipelines.database import SqlRegistry
    from within_pipelines.registry import REQUIRED_GATES, ArtifactStore

    registry, artifacts = SqlRegistry(database), ArtifactStore(settings.artifacts)
    for model in REQUIRED_GATES:
        champion, name = registry.alias(model, "champion"), f"champion {model}"
        if champion is None:
            trained = len(registry.versions(model))
            hint = f"`within models show {model}` names the missing gates" if trained else "`within run` trains one"
            yield Finding(name, "missing", f"{trained} versions trained, none serves", hint)
        elif artifacts.verify(champion):
            yield Finding(name, "ok", f"v{champion.version} {champion.kind}, artifact verified")
        else:
            where = settings.artifacts / champion.artifact
            yield Finding(
                name, "broken", f"the artifact of v{champion.version} is missing or was changed: {where}", "restore it, or `within run`"
            )


def _sensors(database: Database, now: datetime) -> Finding:
    from within_pipelines.database import AlertRepository, HeartbeatRepository
    from within_pipelines.pipeline.heartbeats import AFTER_RUNS, silent_sensors

    beats = HeartbeatRepository(database).all()
    ticked = [beat for beat in beats if beat.ticks]
    if not ticked:
        return Finding("sensors", "missing", "none has ever ticked", "`make dev` starts the daemon that runs them")
    said = {
        found.sensor: f"{found.sensor} since {found.last_tick_at:%Y-%m-%d %H:%M} UTC" if found.ticks else f"{found.sensor} has never ticked"
        for found in silent_sensors(beats, now=now)
    }
    # Whether a run has ended that these should have heard of is in Dagster's own database; who reads it there has opened an alert.
    told = set(AlertRepository(database).alerts()["dedup_key"].to_list())
    said |= {sensor: f"{sensor}, see its alert" for sensor in AFTER_RUNS if f"sensor/{sensor}" in told}
    if said:
        shown = ", ".join(said[sensor] for sensor in sorted(said))
        return Finding("sensors", "warning", f"stopped: {shown}", "start the daemon (`make dev`), or see the sensor's ticks in the UI")
    newest = max(beat.last_tick_at for beat in ticked)
    return Finding("sensors", "ok", f"{len(ticked)} tick, the last on {newest:%Y-%m-%d at %H:%M} UTC")


def _alerting(database: Database, settings: Settings) -> Finding:
    from within_pipelines.database import Outbox
    from within_pipelines.exceptions import SettingsError
    from within_pipelines.monitoring import read_alert_settings

    try:
        channels = read_alert_settings(settings.alerts).channels
    except SettingsError as error:
        return Finding("alert channels", "broken", _first_line(error), "until then alerts reach only the log")
    status = Outbox(database).messages()["status"].to_list()
    shown = f"{', '.join(channel.name for channel in channels)}; {status.count('pending')} messages wait"
    if status.count("dead"):
        dead = f"{shown}, {status.count('dead')} were given up"
        return Finding("alert channels", "warning", dead, "`within alerts outbox` says why, `within alerts deliver --revive` tries again")
    return Finding("alert channels", "ok", shown)


def _retraining(settings: Settings) -> Finding:
    from within_pipelines.exceptions import SchemaError
    from within_pipelines.pipeline.retraining_policy import retraining_policy

    try:
        policy = retraining_policy(settings)
    except SchemaError as error:
        return Finding(
            "retraining", "broken", _first_line(error), "correct it; until then no model is trained because of drift or a request"
        )
    if not settings.retraining.is_file():
        return Finding("retraining", "ok", "no retraining.yaml; the defaults hold, about 20 EUR a retraining")
    costs = ", ".join(f"{cost:,g} {currency}" for currency, cost in sorted(policy.cost.items())) or "the default"
    return Finding("retraining", "ok", f"{settings.retraining}: a retraining costs {costs}")


def _dagster(environ: Mapping[str, str]) -> Finding:
    home = environ.get("DAGSTER_HOME", "")
    if not home:
        return Finding(
            "DAGSTER_HOME",
            "warning",
            "not set; `within run` then uses HOME/dagster",
            "export an absolute path, so that the UI shows the same runs",
        )
    if not Path(home).is_absolute():
        return Finding("DAGSTER_HOME", "broken", f"{home} is not absolute, and Dagster refuses that", "export an absolute path")
    if not (Path(home) / "dagster.yaml").is_file():
        return Finding("DAGSTER_HOME", "missing", f"no dagster.yaml in {home}", "`make run` puts one there")
    return Finding("DAGSTER_HOME", "ok", home)


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(_existing(home)).free
    shown = f"{free / 1024**3:.1f} GiB free"
    if free < NO_DISK:
        return Finding("disk", "broken", shown, "free some space")
    if free < LITTLE_DISK:
        return Finding("disk", "warning", shown, "a run may fill the disk; free some space")
    return Finding("disk", "ok", shown)


def _existing(path: Path) -> Path:
    """The nearest of a path and its parents that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
