"""Cases with an expectation each, and expectations of whole slices: hard cases, and replays of confirmed incidents.

Together with the frozen sample (part `representative`: answers as recorded) they are the golden set. A set is a file named by the hash of
its content; a change writes a new file that names its parent and a reason, and the old file stays."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import Counter
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
# Format 2 adds expectations of slices. A set without any is written in format 1, byte for byte as before.
FORMATS = (1, 2)


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
class SliceExpectation:
    """What is expected of the cases of one model, part and slice together. What is not said tolerates nothing.

    At least `least_share` of the cases are met (1: every one). A challenger misses at most `most_lost` cases that the champion meets.
    The mean answer lies in [`low`, `high`], in units of the model's answers: each case counts once, with the mean of the answers that it
    names. A model that does not answer a case is never within any of this."""

    model: str
    part: Part
    slice: str
    least_share: float = 1.0
    most_lost: int = 0
    low: float = -math.inf
    high: float = math.inf
    note: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.least_share <= 1:
            raise GoldenSetError(
                f"{self.name} wants a share of {self.least_share} of its cases met; give more than 0, which any model meets, and at most 1."
            )
        if self.most_lost < 0:
            raise GoldenSetError(f"{self.name} lets a challenger lose {self.most_lost} cases; give a number of cases from 0.")
        if self.most_lost and self.least_share == 1:
            raise GoldenSetError(
                f"{self.name} lets a challenger lose {self.most_lost} cases and wants every case met; give a smaller share as well."
            )
        if not (self.low <= self.high and self.low < math.inf and self.high > -math.inf):
            raise GoldenSetError(f"{self.name} wants its mean answer in [{self.low}, {self.high}]; no number lies there.")

    @property
    def key(self) -> tuple[str, Part, str]:
        """Model, part and slice: which cases it is about."""
        return self.model, self.part, self.slice

    @property
    def name(self) -> str:
        """Those in words."""
        return f"{self.model}, {self.part.value}: {self.slice}"

    @property
    def wanted(self) -> str:
        """The expectation in words.

        >>> SliceExpectation("m", Part.HARD, "s").wanted
        'every case met'
        >>> SliceExpectation("m", Part.HARD, "s", least_share=0.8, most_lost=1, low=0.1).wanted
        'at least 80 % of cases met, at most 1 lost to the champion, mean answer in [0.1, inf]'
        """
        if self.least_share == 1:
            # Then a lost case is an unmet one, whatever a champion does.
            words = ["every case met"]
        else:
            lost = f"at most {self.most_lost}" if self.most_lost else "none"
            words = [f"at least {100 * self.least_share:g} % of cases met", f"{lost} lost to the champion"]
        if math.isfinite(self.low) or math.isfinite(self.high):
            words.append(f"mean answer in [{self.low:g}, {self.high:g}]")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """A version of the set: `number` counts up, `version` adds a hash of everything in it; `parent` is the version before.

    `slices` holds what is expected of whole slices; of one that is not named there, every case is wanted met."""

    number: int
    parent: str
    reason: str
    who: str
    at: str
    cases: tuple[GoldenCase, ...]
    slices: tuple[SliceExpectation, ...] = ()

    def __post_init__(self) -> None:
        keys = [expectation.key for expectation in self.slices]
        if twice := sorted({each.name for each in self.slices if keys.count(each.key) > 1}):
            raise GoldenSetError(f"More than one thing is expected of {'; '.join(twice)}; keep one expectation of a slice.")
        asked = {_key(case) for case in self.cases}
        if empty := sorted(each.name for each in self.slices if each.key not in asked):
            raise GoldenSetError(f"{'; '.join(empty)} has no cases to expect something of; `within golden list` shows the slices.")

    def of(self, model: str) -> tuple[GoldenCase, ...]:
        """The cases of one model."""
        return tuple(case for case in self.cases if case.model == model)

    def expected(self, model: str, part: Part, name: str) -> SliceExpectation:
        """What is expected of one slice: what the set says, else that every case is met."""
        key = (model, part, name)
        return next((each for each in self.slices if each.key == key), SliceExpectation(model, part, name))

    def expectations(self) -> tuple[tuple[SliceExpectation, int], ...]:
        """What is expected of every slice, and how many cases it has, in the order of their names."""
        count = Counter(_key(case) for case in self.cases)
        return tuple((self.expected(*key), count[key]) for key in sorted(count))

    @property
    def format(self) -> int:
        """The format of the file: the oldest one that can hold the set."""
        return 2 if self.slices else 1

    def to_json(self) -> str:
        """The file's content."""
        plain = {
            "format": self.format, "number": self.number, "parent": self.parent, "reason": self.reason, "who": self.who, "at": self.at,
            "cases": [_plain(case) for case in self.cases],
        }  # fmt: skip
        if self.slices:
            plain["slices"] = [_plain_slice(expectation) for expectation in self.slices]
        return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @property
    def version(self) -> str:
        """Number and the first 12 digits of the content's SHA-256."""
        return f"{self.number}-{hashlib.sha256(self.to_json().encode()).hexdigest()[:12]}"


def _key(case: GoldenCase) -> tuple[str, Part, str]:
    return case.model, case.part, case.slice


def _plain_slice(wanted: SliceExpectation) -> dict[str, Any]:
    return {
        "model": wanted.model, "part": wanted.part.value, "slice": wanted.slice, "least_share": wanted.least_share,
        "most_lost": wanted.most_lost, "low": wanted.low if math.isfinite(wanted.low) else None,
        "high": wanted.high if math.isfinite(wanted.high) else None, "note": wanted.note,
    }  # fmt: skip


def _read_slice(values: Mapping[str, Any]) -> SliceExpectation:
    low, high = values["low"], values["high"]
    return SliceExpectation(
        values["model"], Part(values["part"]), values["slice"], least_share=values["least_share"], most_lost=values["most_lost"],
        low=-math.inf if low is None else low, high=math.inf if high is None else high, note=values["note"],
    )  # fmt: skip


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
        if values["format"] not in FORMATS:
            raise GoldenSetError(
                f"{path} has format {values['format']}; this version of the package reads the formats {', '.join(map(str, FORMATS))}."
            )
        cases = tuple(_read_case(case) for case in values["cases"])
        slices = tuple(_read_slice(each) for each in values.get("slices", ()))
        found = GoldenSet(values["number"], values["parent"], values["reason"], values["who"], values["at"], cases, slices)
        if found.format != values["format"]:
            raise GoldenSetError(f"{path} states format {values['format']} and holds format {found.format}; no release wrote it.")
        return found
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
    before: GoldenSet,
    *,
    add: Sequence[GoldenCase] = (),
    remove: Sequence[str] = (),
    expect: Sequence[SliceExpectation] = (),
    reason: str,
    who: str,
    now: datetime,
) -> GoldenSet:
    """The next version: cases added or removed, expectations of slices set, with the reason.

    A slice's expectation goes with its last case, so that what was tolerated of old cases is not tolerated of new ones unseen.

    Raises `GoldenSetError` without a reason or a change, for an id that is there already, for one to remove that is not, and for an
    expectation of a slice without cases."""
    if not reason.strip():
        raise GoldenSetError("A golden set changes with a reason; say what happened, because the next reader will not know.")
    ids = [case.id for case in before.cases]
    if not add and not remove and all(each in before.slices for each in expect):
        raise GoldenSetError("Nothing is added or removed, and nothing else is expected than before; the set stays as it is.")
    if unknown := sorted(set(remove) - set(ids)):
        raise GoldenSetError(f"The cases {', '.join(unknown)} are not in version {before.version}; `within golden list` shows them.")
    kept = tuple(case for case in before.cases if case.id not in set(remove))
    new = [case.id for case in add]
    if taken := sorted((set(new) & {case.id for case in kept}) | {name for name in new if new.count(name) > 1}):
        raise GoldenSetError(f"The cases {', '.join(taken)} are there already; give a new case a new id.")
    cases, renewed = (*kept, *add), {each.key for each in expect}
    asked = {_key(case) for case in kept}
    held = [each for each in before.slices if each.key in asked and each.key not in renewed]
    return replace(
        before, number=before.number + 1, parent=before.version, reason=reason.strip(), who=who, at=now.isoformat(), cases=cases,
        slices=tuple(sorted((*held, *expect), key=lambda each: each.key)),
    )  # fmt: skip


def set_difference(before: GoldenSet, after: GoldenSet) -> dict[str, tuple[str, ...]]:
    """Ids that were added, removed, and that stand for something else than before; and slices of which something else is expected.

    Of such a slice the text says what was wanted and what is; nothing is wanted of a slice that has no cases."""
    old, new = ({case.id: _plain(case) for case in each.cases} for each in (before, after))
    was, now = ({each.key: each for each in version.slices} for version in (before, after))
    moved = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    return {
        "added": tuple(sorted(set(new) - set(old))),
        "removed": tuple(sorted(set(old) - set(new))),
        "changed": tuple(sorted(name for name in set(old) & set(new) if old[name] != new[name])),
        "slices": tuple(f"{(now.get(key) or was[key]).name}: {_wanted(before, key)} -> {_wanted(after, key)}" for key in moved),
    }


def _wanted(version: GoldenSet, key: tuple[str, Part, str]) -> str:
    return version.expected(*key).wanted if any(_key(case) == key for case in version.cases) else "nothing"
