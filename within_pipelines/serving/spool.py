"""Answers on their way to the database: append-only files, so that a database that is away loses nothing and delays nobody.

A writer owns one open file, held by a lock; at the end of its term it is renamed from `open-` to `ready-`. Whoever loads takes `ready-`
files, stores their records under unique keys, and removes a file only after the database has confirmed it: a crash in between loads it
again, which changes nothing. Open files whose writer is gone are found by their lock being free."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from within_pipelines.exceptions import DatabaseError

Record = Mapping[str, Any]


class RecordStore(Protocol):
    """Where records end up; `database.PredictionRepository` is one."""

    def load(self, records: Sequence[Record]) -> int:
        """Store records; those that are there already are left alone. Returns how many were new."""


class SpoolWriter:
    """Appends records to one file at a time in `folder`. Not for several threads at once."""

    def __init__(self, folder: Path, *, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self._file: IO[bytes] | None = None
        self._path = folder
        self._written = 0
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, records: Sequence[Record], *, durable: bool) -> None:
        """Append records; with `durable` they are on disk when this returns.

        Raises `OSError` when they are not; a record that was cut short is then cut off again where the disk allows."""
        if not records:
            return
        file = self._opened()
        start = file.tell()
        try:
            file.write(b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records))
            file.flush()
            if durable:
                os.fsync(file.fileno())
        except OSError:
            self._cut(file, start)
            raise
        self._written += len(records)
        if self._written >= self.rows:
            self.rotate()

    def rotate(self) -> None:
        """End the open file, so that it can be loaded; an empty one goes."""
        if self._file is None:
            return
        file, self._file = self._file, None
        written, self._written = self._written, 0
        if written:
            os.fsync(file.fileno())
            self._path.rename(self._path.with_name(self._path.name.replace("open-", "ready-", 1)))
        else:
            self._path.unlink(missing_ok=True)
        file.close()

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            # Names sort by time, so that files are loaded in the order that they were written in.
            name = f"{_stamp()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            fresh, self._path = self.folder / f"new-{name}", self.folder / f"open-{name}"
            self._file = fresh.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # Locked before it has the name that others look for: nobody can take it for one whose writer is gone.
            fresh.rename(self._path)
            directory = os.open(self.folder, os.O_RDONLY)
            try:
                # A file whose name is not on disk is not on disk.
                os.fsync(directory)
            finally:
                os.close(directory)
        return self._file

    def _cut(self, file: IO[bytes], start: int) -> None:
        self._file, self._written = None, 0
        try:
            os.ftruncate(file.fileno(), start)
        finally:
            file.close()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one pass over the spool did: files and records taken, records that were new, lines that were cut short by a crash, and the
    files that wait because the database did not answer (`problem` says what it said). `refused` files hold something that no table takes;
    they are kept under the name `refused-` for a person to look at."""

    files: int
    records: int
    new: int
    torn: int
    refused: int
    waiting: int
    problem: str = ""


def load_spool(folder: Path, store: RecordStore) -> Loaded:
    """Store every ended file of the spool, oldest first, and remove it; stops at the first that the database does not take."""
    files = records = new = torn = refused = 0
    problem = ""
    for path in _ready(folder):
        found, broken = read_spool_file(path)
        try:
            new += store.load(found)
        except DatabaseError as error:
            problem = str(error)
            break
        except (ValueError, LookupError, TypeError) as error:
            path.rename(path.with_name(path.name.replace("ready-", "refused-", 1)))
            refused, problem = refused + 1, f"{path.name}: {error}"
            continue
        path.unlink(missing_ok=True)
        files, records, torn = files + 1, records + len(found), torn + broken
    return Loaded(files, records, new, torn, refused, len(backlog(folder)), problem)


def read_spool_file(path: Path) -> tuple[list[dict[str, Any]], int]:
    """(records, lines that are no record). Only the last line of a file whose writer was killed can be one."""
    records, broken = [], 0
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        # Another loader was faster; it stores the same records.
        return [], 0
    for line in content.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            broken += 1
    return records, broken


def backlog(folder: Path) -> list[Path]:
    """Ended files that wait to be loaded."""
    return sorted(folder.glob("ready-*.jsonl"))


def recover_spool(folder: Path) -> int:
    """End open files whose writer is gone; returns how many."""
    found = 0
    for path in sorted(folder.glob("open-*.jsonl")):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.rename(path.with_name(path.name.replace("open-", "ready-", 1)))
                found += 1
        except (BlockingIOError, FileNotFoundError):
            # Its writer lives, or has just ended it.
            continue
    return found


def _ready(folder: Path) -> Iterator[Path]:
    recover_spool(folder)
    yield from backlog(folder)


def _stamp() -> str:
    import time

    return f"{time.time_ns():020d}"
