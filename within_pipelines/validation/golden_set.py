"""Cases with an expectation each: hard ones that every version must get right, and replays of confirmed incidents.

Together with the frozen sample (part `representative`: answers as recorded) they are the golden set. A set is a file named by the hash of
its content; a change writes a new file that names its parent and a reason, and the old file stays."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.exceptions import WithinError
from within_pipelines.files import write_bytes, write_text
from within_pipelines.validation.golden_sample import DTYPES

POINTER = "golden-set.json"
FORMAT = 1


class GoldenSetError(WithinError, ValueError):
    """A golden set or one of its cases cannot be read, was changed after it was written, or lacks a reason."""


class Part(StrEnum):
    """Where a case comes from. The frozen sample is `representative`; cases with expectations are `hard` or an `incident`."""

    REPRESENTATIVE = "representative"
    HARD = "hard"
    INCIDENT = "incident"


class Kind(StrEnum):
    """What is expected of the answers: each inside an interval, each larger than the next, or all alike."""

    INTERVAL = "interval"
    ORDER = "order"
    INVARIANCE = "invariance"


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """Inputs, which answers count, and what is expected of them.

    `inputs` are frames that the model is asked one by one; `points` name answers as (input, position), negative positions from the end.
    `interval`: every answer lies in [low, high]. `order`: each answer exceeds the next by at least `tolerance`. `invariance`: the largest
    and the smallest answer differ by at most `tolerance`. `group` names the rows' group (columns and values) that training leaves out;
    of `until` (an ISO day) only rows up to that day."""

    id: str
    model: str
    part: Part
    slice: str
    kind: Kind
    inputs: tuple[pl.DataFrame, ...]
    points: tuple[tuple[int, int], ...]
    low: float = -math.inf
    high: float = math.inf
    tolerance: float = 0.0
    note: str = ""
    group: Mapping[str, str] = field(default_factory=dict)
    until: str = ""

    def __post_init__(self) -> None:
        if self.part is Part.REPRESENTATIVE:
            raise GoldenSetError(f"The case {self.id!r} is named representative; that part is the frozen sample. Give hard or incident.")
        if not self.inputs or any(frame.is_empty() for frame in self.inputs):
            raise GoldenSetError(f"The case {self.id!r} has no rows; an expectation needs something to ask.")
        if not self.points or any(not 0 <= which < len(self.inputs) for which, _ in self.points):
            raise GoldenSetError(
                f"The case {self.id!r} counts the answers {self.points} of {len(self.inputs)} inputs; name answers of them."
            )
        if self.kind is not Kind.INTERVAL and len(self.points) < 2:
            raise GoldenSetError(f"The case {self.id!r} expects {self.kind.value} of one answer; name at least two.")
        if self.kind is Kind.INTERVAL and not (self.low <= self.high and math.isfinite(self.low) + math.isfinite(self.high) > 0):
            raise GoldenSetError(f"The case {self.id!r} expects answers in [{self.low}, {self.high}]; that holds for none or for all.")

    @property
    def wanted(self) -> str:
        """The expectation in words."""
        if self.kind is Kind.INTERVAL:
            return f"in [{self.low:g}, {self.high:g}]"
        if self.kind is Kind.ORDER:
            return "falling" + (f" by at least {self.tolerance:g}" if self.tolerance else "")
        return f"alike within {self.tolerance:g}"

    def met(self, answers: Sequence[float]) -> bool:
        """Whether the answers are as expected; NaN never is.

        >>> rows = pl.DataFrame({"x": [1.0, 2.0]})
        >>> case = GoldenCase("a", "m", Part.HARD, "s", Kind.ORDER, (rows,), ((0, 1), (0, 0)))
        >>> case.met([2.0, 1.0]), case.met([1.0, 2.0]), case.met([1.0, float("nan")])
        (True, False, False)
        """
        values = np.asarray(answers, dtype=np.float64)
        if self.kind is Kind.INTERVAL:
            return bool(np.all((values >= self.low) & (values <= self.high)))
        if self.kind is Kind.ORDER:
            gaps = values[:-1] - values[1:]
            return bool(np.all(gaps > 0) and np.all(gaps >= self.tolerance))
        return bool(values.max() - values.min() <= self.tolerance)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """A version of the set: `number` counts up, `version` adds a hash of everything in it; `parent` is the version before."""

    number: int
    parent: str
    reason: str
    who: str
    at: str
    cases: tuple[GoldenCase, ...]

    def of(self, model: str) -> tuple[GoldenCase, ...]:
        """The cases of one model."""
        return tuple(case for case in self.cases if case.model == model)

    def to_json(self) -> str:
        """The file's content."""
        plain = {
            "format": FORMAT, "number": self.number, "parent": self.parent, "reason": self.reason, "who": self.who, "at": self.at,
            "cases": [_plain(case) for case in self.cases],
        }  # fmt: skip
        return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @property
    def version(self) -> str:
        """Number and the first 12 digits of the content's SHA-256."""
        return f"{self.number}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:12]}"


def _plain(case: GoldenCase) -> dict[str, Any]:
    return {
        "id": case.id, "model": case.model, "part": case.part.value, "slice": case.slice, "kind": case.kind.value,
        "inputs": [_frame_text(frame, case.id) for frame in case.inputs], "points": [list(point) for point in case.points],
        "low": case.low if math.isfinite(case.low) else None, "high": case.high if math.isfinite(case.high) else None,
        "tolerance": case.tolerance, "note": case.note, "group": dict(case.group), "until": case.until,
    }  # fmt: skip


_KINDS = {str(dtype): kind for kind, dtype in DTYPES.items()}


def _frame_text(frame: pl.DataFrame, case: str) -> dict[str, Any]:
    kinds = {}
    for name, dtype in frame.schema.items():
        kind = "number" if dtype == pl.Float32 else "integer" if dtype.is_integer() else _KINDS.get(str(dtype))
        if kind is None:
            raise GoldenSetError(f"The column {name} of case {case!r} has type {dtype}; a golden case holds {', '.join(DTYPES)} only.")
        kinds[name] = kind
    text = frame.with_columns(
        pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ") if kind == "utc_time" else pl.col(name).cast(pl.Int64) if kind == "integer"
        else pl.col(name) for name, kind in kinds.items()
    )  # fmt: skip
    # What is the same in every row is written once: most columns of daily facts are.
    constants = {
        name: text[name].cast(pl.String)[0] for name in text.columns if text[name].n_unique() == 1 and text[name].null_count() == 0
    }
    varying = text.drop(constants) if len(constants) < text.width else text.select(text.columns[:1])
    written = {name: value for name, value in constants.items() if name not in varying.columns}
    csv = varying.write_csv(quote_style="non_numeric", null_value="")
    return {"columns": [list(item) for item in kinds.items()], "constants": written, "csv": csv}


def _read_frame(values: Mapping[str, Any]) -> pl.DataFrame:
    text = pl.read_csv(io.StringIO(values["csv"]), infer_schema=False)
    text = text.with_columns(pl.lit(value, dtype=pl.String).alias(name) for name, value in values["constants"].items())
    columns = []
    for name, kind in values["columns"]:
        column = pl.col(name)
        if kind == "utc_time":
            column = column.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
        elif kind == "date":
            column = column.str.to_date("%Y-%m-%d")
        else:
            column = column.cast(DTYPES[kind])
        columns.append(column)
    return text.select(columns)


def _read_case(values: Mapping[str, Any]) -> GoldenCase:
    low, high = values["low"], values["high"]
    return GoldenCase(
        id=values["id"], model=values["model"], part=Part(values["part"]), slice=values["slice"], kind=Kind(values["kind"]),
        inputs=tuple(_read_frame(frame) for frame in values["inputs"]), points=tuple((int(a), int(b)) for a, b in values["points"]),
        low=-math.inf if low is None else low, high=math.inf if high is None else high, tolerance=values["tolerance"],
        note=values["note"], group=dict(values["group"]), until=values["until"],
    )  # fmt: skip


def load_golden_set(folder: Path, version: str | None = None) -> GoldenSet:
    """The set that `golden-set.json` in `folder` points to, or an earlier version of it.

    Raises `GoldenSetError` when there is none, when its bytes do not have the hash that its version states, or when it cannot be read."""
    pointer = folder / POINTER
    try:
        wanted = version or str(json.loads(pointer.read_text(encoding="utf-8"))["version"])
    except FileNotFoundError as missing:
        raise GoldenSetError(f"{pointer} does not exist; restore it from version control.") from missing
    except (TypeError, KeyError, ValueError) as broken:
        raise GoldenSetError(f"{pointer} cannot be read as a pointer to a golden set: {broken!r}.") from broken
    # The version names a file in this folder and nothing else.
    path = folder / f"golden-set-{Path(wanted).name}.json"
    try:
        content = path.read_bytes()
    except FileNotFoundError as missing:
        raise GoldenSetError(f"{path} does not exist; `within golden list` names the versions that do.") from missing
    digest = hashlib.sha256(content).hexdigest()[:12]
    if wanted.split("-")[-1] != digest:
        raise GoldenSetError(f"{path} has the hash {digest}; the set was changed after it was written. Restore it and add cases instead.")
    try:
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise GoldenSetError(f"{path} has format {values['format']}; this version of the package reads format {FORMAT}.")
        cases = tuple(_read_case(case) for case in values["cases"])
        return GoldenSet(values["number"], values["parent"], values["reason"], values["who"], values["at"], cases)
    except (TypeError, KeyError, ValueError, pl.exceptions.PolarsError) as broken:
        if isinstance(broken, GoldenSetError):
            raise
        raise GoldenSetError(f"{path} cannot be read as a golden set: {broken!r}.") from broken


def write_golden_set(folder: Path, made: GoldenSet) -> Path:
    """Write the set under its version and point to it; a file that is there stays as it is."""
    path = folder / f"golden-set-{made.version}.json"
    if not path.exists():
        write_bytes(path, made.to_json().encode())
    write_text(folder / POINTER, json.dumps({"version": made.version}) + "\n")
    return path


def changed_set(
    before: GoldenSet, *, add: Sequence[GoldenCase] = (), remove: Sequence[str] = (), reason: str, who: str, now: datetime
) -> GoldenSet:
    """The next version: cases added or removed, with the reason.

    Raises `GoldenSetError` without a reason or a change, for an id that is there already, and for one to remove that is not."""
    if not reason.strip():
        raise GoldenSetError("A golden set changes with a reason; say what happened, because the next reader will not know.")
    ids = [case.id for case in before.cases]
    if not add and not remove:
        raise GoldenSetError("Nothing is added or removed; the set stays as it is.")
    if unknown := sorted(set(remove) - set(ids)):
        raise GoldenSetError(f"The cases {', '.join(unknown)} are not in version {before.version}; `within golden list` shows them.")
    kept = tuple(case for case in before.cases if case.id not in set(remove))
    new = [case.id for case in add]
    if taken := sorted((set(new) & {case.id for case in kept}) | {name for name in new if new.count(name) > 1}):
        raise GoldenSetError(f"The cases {', '.join(taken)} are there already; give a new case a new id.")
    return replace(
        before, number=before.number + 1, parent=before.version, reason=reason.strip(), who=who, at=now.isoformat(), cases=(*kept, *add)
    )


def set_difference(before: GoldenSet, after: GoldenSet) -> dict[str, tuple[str, ...]]:
    """Ids that were added, removed, and that stand for something else than before."""
    old, new = ({case.id: _plain(case) for case in each.cases} for each in (before, after))
    return {
        "added": tuple(sorted(set(new) - set(old))),
        "removed": tuple(sorted(set(old) - set(new))),
        "changed": tuple(sorted(name for name in set(old) & set(new) if old[name] != new[name])),
    }
