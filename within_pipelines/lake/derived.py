"""Tables that can be computed again: feature tables and training sets, named by a fingerprint of all that went into them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.files import atomic_path, write_text

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


class DerivedTables:
    """Content-addressed Parquet files `root/derived/<name>/<fingerprint>.parquet`; a file that exists is complete."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root) / "derived"

    def put(self, name: str, fingerprint: str, frame: pl.DataFrame) -> Path:
        """Store a table and make it the latest of its name."""
        path = self._path(name, fingerprint)
        with atomic_path(path) as temporary:
            frame.write_parquet(temporary, compression="zstd")
        write_text(path.parent / "latest.json", json.dumps({"fingerprint": fingerprint}))
        return path

    def get(self, name: str, fingerprint: str) -> pl.DataFrame | None:
        """The table, or None when it has not been computed."""
        path = self._path(name, fingerprint)
        return pl.read_parquet(path, hive_partitioning=False) if path.is_file() else None

    def latest(self, name: str) -> tuple[str, pl.DataFrame] | None:
        """Fingerprint and content of the table stored last under `name`."""
        pointer = self.root / name / "latest.json"
        if not pointer.is_file():
            return None
        fingerprint: str = json.loads(pointer.read_text())["fingerprint"]
        frame = self.get(name, fingerprint)
        return None if frame is None else (fingerprint, frame)

    def forget(self, name: str, keep: Collection[str]) -> int:
        """Remove every table of `name` but those in `keep` and the latest; returns how many went."""
        latest = self.latest(name)
        kept = {*keep, *([latest[0]] if latest else [])}
        old = [path for path in (self.root / name).glob("*.parquet") if path.stem not in kept]
        for path in old:
            path.unlink()
        return len(old)

    def _path(self, name: str, fingerprint: str) -> Path:
        if not _NAME.fullmatch(name) or not _FINGERPRINT.fullmatch(fingerprint):
            raise SchemaError(f"{name!r} / {fingerprint!r} is no name / fingerprint of a derived table; give a_name and a hex digest.")
        return self.root / name / f"{fingerprint}.parquet"
