"""What every command needs: the settings that are in force, and the open workspace of a deployment in which something has run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from within_pipelines.exceptions import SettingsError, WithinError

if TYPE_CHECKING:
    from within_pipelines.pipeline import Workspace
    from within_pipelines.settings import Settings


class NothingHereError(WithinError, FileNotFoundError):
    """A command needs results, and nothing has run in this folder yet."""


def wall_clock() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


def settings_of(context: typer.Context) -> Settings:
    """The settings in force, with `--home` on top.

    Raises `SettingsError` that names the variable to correct."""
    from pydantic import ValidationError

    from within_pipelines.settings import Settings

    home: Path | None = context.obj
    try:
        return Settings() if home is None else Settings(home=home)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(str(part) for part in problem["loc"]).upper()
        raise SettingsError(f"WITHIN_{name}: {problem['msg']}; correct or unset it.") from None


@contextmanager
def workspace_of(context: typer.Context) -> Iterator[Workspace]:
    """The workspace of a command that only makes sense after a run.

    Raises `NothingHereError` when nothing has run."""
    from within_pipelines.pipeline import Workspace

    settings = settings_of(context)
    if settings.database_url is None and not (settings.home / "within.db").is_file():
        raise NothingHereError(f"Nothing has run in {settings.home} yet; start with `within run`, or name another folder with --home.")
    with Workspace.open(settings) as ws:
        yield ws


def login_name() -> str:
    """Who types, as far as the system knows; empty when it does not."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def person() -> str:
    """Who types, or "unknown"."""
    return login_name() or "unknown"
