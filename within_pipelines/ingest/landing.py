"""Find what has landed, and what a file's place and name say about it.

A landing folder holds exports as `landing/<platform>/<account>/file.csv` or directly, beside `accounts.yaml` and `mappings/*.yaml`."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from within_pipelines.ingest.accounts import ACCOUNTS_FILE, AccountsFile, load_accounts, plain_account
from within_pipelines.ingest.decode import RefusedFileError
from within_pipelines.ingest.dialects import PLATFORMS
from within_pipelines.ingest.mapping import Mapping, load_mapping

SIDECAR_SUFFIX = ".meta.json"
MAPPINGS_FOLDER = "mappings"
_AS_OF_IN_NAME = re.compile(r"_asof_(\d{8}T\d{6})Z(?=[._]|$)")


@dataclass(frozen=True, slots=True)
class ExportTime:
    """When the platform made the report; `at` is None when nothing says so."""

    at: datetime | None
    source: str  # sidecar | file | assumed_lag


def printable(path: Path, landing: Path | None) -> str:
    r"""A file's name below the landing folder with everything unprintable escaped.

    >>> printable(Path("in/a\nb.csv"), Path("in"))
    'a\\nb.csv'
    """
    relative = path.relative_to(landing) if landing is not None and path.is_relative_to(landing) else Path(path.name)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in relative.as_posix())


def landing_files(landing: Path) -> list[Path]:
    """The exports below `landing` by export time, then name; files without an export time come first.

    Dotfiles, sidecars, `accounts.yaml` and mappings are left out. A symbolic link is listed but never followed to a folder: `ingest`
    reports the ones that lead out of the landing folder."""
    found: list[Path] = []
    for folder, folders, names in os.walk(landing, followlinks=False):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink() and not _inside(here / name, landing)]
        folders[:] = sorted(
            name for name in folders
            if not name.startswith(".") and not (here == landing and name == MAPPINGS_FOLDER) and not (here / name).is_symlink()
        )  # fmt: skip
        for name in (*names, *links):
            if name.startswith(".") or name.endswith(SIDECAR_SUFFIX) or (here == landing and name == ACCOUNTS_FILE):
                continue
            found.append(here / name)
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda path: (_time_for_order(path) or earliest, printable(path, landing), os.fsencode(path)))


def _time_for_order(path: Path) -> datetime | None:
    try:
        return export_time(path).at
    except RefusedFileError:
        return None


def _inside(path: Path, landing: Path) -> bool:
    try:
        return path.resolve().is_relative_to(landing.resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def why_not_readable(path: Path, landing: Path) -> str | None:
    """Why a listed path must not be opened, None when it may."""
    lexically_inside = Path(os.path.normpath(path.absolute())).is_relative_to(Path(os.path.normpath(landing.absolute())))
    if lexically_inside and not _inside(path, landing):
        return "a symbolic link leads out of the landing folder or to itself; copy the file into it instead"
    if not path.exists():
        return "the file is gone, or the link leads nowhere"
    if not path.is_file():
        return "not a regular file"
    return None


def sidecar_path(path: Path) -> Path:
    """Where a file's sidecar lies: `report.csv.meta.json` beside `report.csv`."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def export_time(path: Path) -> ExportTime:
    """When the export was made: from its sidecar `{"exported_at": "2026-06-01T05:30:00Z"}`, else from `..._asof_20260601T053000Z` in its
    name.

    Raises `RefusedFileError` when a sidecar is there but cannot be understood."""
    sidecar = sidecar_path(path)
    if sidecar.is_file():
        try:
            content = json.loads(sidecar.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(content["exported_at"])
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedFileError(
                "bad_sidecar",
                f'the sidecar is not {{"exported_at": "<ISO time with offset>"}} ({type(error).__name__}); correct or remove it',
            ) from error
        if at.tzinfo is None:
            raise RefusedFileError("bad_sidecar", "exported_at has no UTC offset; write for example 2026-06-01T05:30:00Z")
        return ExportTime(at.astimezone(UTC), "sidecar")
    named = _AS_OF_IN_NAME.search(path.name)
    if named is None:
        return ExportTime(None, "assumed_lag")
    try:
        return ExportTime(datetime.strptime(named[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC), "file")
    except ValueError as error:
        raise RefusedFileError("bad_export_time", f"{named[1]!r} in the file name is no time") from error


def folder_hints(path: Path, platforms: tuple[str, ...] = PLATFORMS) -> tuple[str | None, str | None]:
    """Platform and account that the folders `<platform>/<account>/` above a file name, None where they do not.

    >>> folder_hints(Path("landing/meta_ads/act_42/export.csv"))
    ('meta_ads', '42')
    """
    account, platform = path.parent.name, path.parent.parent.name
    if platform in platforms:
        return platform, plain_account(account)
    if account in platforms:
        return account, None
    return None, None


def landing_accounts(landing: Path) -> AccountsFile:
    """The landing folder's `accounts.yaml`, also for a landing folder that is one account's; empty when there is none.

    Raises `MappingError` when it breaks its schema."""
    candidates = [landing]
    if landing.parent.name in PLATFORMS:
        candidates.append(landing.parent.parent)
    elif landing.name in PLATFORMS:
        candidates.append(landing.parent)
    for folder in candidates:
        path = folder / ACCOUNTS_FILE
        if path.is_file():
            return load_accounts(path)
    return AccountsFile()


def landing_mappings(landing: Path) -> list[Mapping]:
    """The mappings in `landing/mappings`, by file name.

    Raises `MappingError` when one breaks its schema."""
    return [load_mapping(path) for path in sorted((landing / MAPPINGS_FOLDER).glob("*.yaml")) if not path.name.startswith(".")]
