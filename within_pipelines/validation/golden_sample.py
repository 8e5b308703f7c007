"""A frozen sample of inputs, and the answers that a model gave when it was registered."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from within_pipelines.exceptions import WithinError
from within_pipelines.robustness import Predict, ask
from within_pipelines.stats import Estimate, Status, Verdict

INDEX = "golden.json"
FORMAT = 1
DTYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "date": pl.Date(),
    "utc_time": pl.Datetime("us", "UTC"),
}


class GoldenSampleError(WithinError, ValueError):
    """A golden sample is missing, was changed after it was frozen, or its index cannot be read."""


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """Inputs that never change while their `version` stays: the number that people count, and a hash of content and column types.

    `per_row` says that a model answers once per row; otherwise (daily facts of an account) the number of answers is the model's own."""

    model: str
    version: str
    rows: pl.DataFrame
    per_row: bool = True


@dataclass(frozen=True, slots=True)
class GoldenPredictions:
    """What a model answered to one version of the golden sample: `values`, or the `fault` that it showed instead."""

    model: str
    sample_version: str
    values: tuple[float, ...]
    fault: str = ""

    @property
    def usable(self) -> bool:
        """True when the model answered; a fault is recorded too, and never passes."""
        return not self.fault

    def to_json(self) -> str:
        """JSON in which every number survives the way back bit for bit."""
        content = {"model": self.model, "sample_version": self.sample_version, "values": list(self.values), "fault": self.fault}
        return json.dumps(content, allow_nan=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> GoldenPredictions:
        """The inverse of `to_json`.

        Raises `GoldenSampleError` when the text is not such JSON.

        >>> GoldenPredictions.from_json(GoldenPredictions("ad_score", "1-ab", (0.1,)).to_json()).values
        (0.1,)
        """
        try:
            content = json.loads(text)
            values = tuple(float(value) for value in content["values"])
            predictions = cls(str(content["model"]), str(content["sample_version"]), values, str(content["fault"]))
        except (TypeError, KeyError, ValueError) as failure:
            raise GoldenSampleError(f"The recorded golden predictions cannot be read ({failure}); record them again.") from failure
        if not all(map(math.isfinite, values)):
            raise GoldenSampleError("The recorded golden predictions hold numbers that are not finite; record them again.")
        return predictions


def sample_version(number: int, entry: dict[str, Any]) -> str:
    """The version of a sample: its number and the first 12 digits of a hash over its index entry (content hash, types, constants)."""
    return f"{number}-{hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:12]}"


def _typed(name: str, kind: str) -> pl.Expr:
    column = pl.col(name)
    if kind == "utc_time":
        return column.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    if kind == "date":
        return column.str.to_date("%Y-%m-%d")
    return column.cast(DTYPES[kind])


def load_golden(folder: Path, model: str) -> GoldenSample:
    """The golden sample of `model` from `folder`, which holds `golden.json` and one content-addressed CSV file per model.

    The file's bytes must have the SHA-256 that its name and the index state. Raises `GoldenSampleError` when they do not, when the index
    is missing or of another format, or when it has no sample for `model`."""
    index_path = folder / INDEX
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        number, samples = int(index["version"]), dict(index["samples"])
        found = int(index["format"])
    except FileNotFoundError as missing:
        raise GoldenSampleError(f"{index_path} does not exist; `data/golden/README.md` says how the golden samples are made.") from missing
    except (TypeError, KeyError, ValueError) as broken:
        raise GoldenSampleError(f"{index_path} cannot be read as an index of golden samples: {broken!r}.") from broken
    if found != FORMAT:
        raise GoldenSampleError(f"{index_path} has format {found}; this version of the package reads format {FORMAT}.")
    if model not in samples:
        raise GoldenSampleError(f"{index_path} has samples for {sorted(samples)}, none for {model!r}.")
    entry = samples[model]
    stated = str(entry["sha256"])
    # The name is built here and not read from the index, so an index cannot point outside its folder.
    path = folder / f"{model}-{stated}.csv"
    try:
        content = path.read_bytes()
    except FileNotFoundError as missing:
        raise GoldenSampleError(f"{path} does not exist, but the index names it; restore it from version control.") from missing
    actual = hashlib.sha256(content).hexdigest()
    if actual != stated:
        raise GoldenSampleError(f"{path} has SHA-256 {actual}, the index states {stated}; the sample was changed after it was frozen.")
    text = pl.read_csv(content, infer_schema=False)
    kinds: dict[str, str] = entry["columns"]
    constants: dict[str, Any] = entry["constants"]
    rows = text.with_columns(pl.lit(value, dtype=pl.String).alias(name) for name, value in constants.items())
    rows = rows.select(_typed(name, kind) for name, kind in kinds.items())
    return GoldenSample(model, sample_version(number, entry), rows, bool(entry["per_row"]))


def record_golden(predict: Predict, sample: GoldenSample) -> GoldenPredictions:
    """Ask `predict` about the sample and keep its answers, or its fault: that it raised, answered with NaN or in the wrong shape."""
    answers = ask(predict, sample.rows, expected=len(sample.rows) if sample.per_row else None)
    return GoldenPredictions(sample.model, sample.version, tuple(answers.values.tolist()), answers.fault)


def check_golden(predict: Predict, sample: GoldenSample, recorded: GoldenPredictions, *, tolerance: float) -> Verdict:
    """The gate `golden_sample`: the model answers the frozen sample, and answers it as recorded.

    Failed when the model raises, answers with a number that is not finite or in another shape (now or when it was recorded), or when any
    answer differs from the recorded one by more than `tolerance` (in units of the answer). Insufficient when the sample is empty or the
    predictions were recorded for another sample or model. The estimate is the largest absolute deviation; it is exact, not sampled.

    Raises `GoldenSampleError` when `tolerance` is negative or not finite."""
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise GoldenSampleError(f"tolerance is {tolerance}; give a finite number >= 0 in units of the model's answers.")

    def verdict(status: Status, reason: str, deviation: float | None = None, evidence: dict[str, Any] | None = None) -> Verdict:
        n = len(recorded.values)
        estimate = None if deviation is None else Estimate(deviation, deviation, deviation, n=n, level=1.0)
        sizes = {"rows": len(sample.rows), "answers": n}
        return Verdict(
            "golden_sample", status, estimate, tolerance, sizes, reason, golden_set_version=sample.version, evidence=evidence or {}
        )

    if sample.rows.is_empty():
        return verdict(Status.INSUFFICIENT, f"The golden sample of {sample.model} is empty; it shows nothing.")
    if (recorded.model, recorded.sample_version) != (sample.model, sample.version):
        was = f"{recorded.model} {recorded.sample_version}"
        return verdict(
            Status.INSUFFICIENT, f"Predictions were recorded for {was}, the sample is {sample.model} {sample.version}; record them anew."
        )
    if recorded.fault:
        return verdict(Status.FAILED, f"When it was recorded, the model {recorded.fault}.")
    answers = ask(predict, sample.rows, expected=len(sample.rows) if sample.per_row else len(recorded.values))
    if not answers.usable:
        return verdict(Status.FAILED, f"The model {answers.fault}.")
    before = np.asarray(recorded.values)
    if before.shape != answers.values.shape:
        return verdict(Status.FAILED, f"{len(before)} answers were recorded, the model now gives {len(answers.values)}.")
    deviations = np.abs(answers.values - before)
    beyond = np.flatnonzero(deviations > tolerance)
    worst = float(deviations.max())
    evidence = {"beyond_tolerance": len(beyond), "first_beyond": beyond[:10].tolist()}
    if len(beyond):
        reason = f"{len(beyond)} of {len(before)} answers differ from the recorded ones by more than {tolerance:g}, at most by {worst:.3g}."
        return verdict(Status.FAILED, reason, worst, evidence)
    return verdict(
        Status.PASSED, f"All {len(before)} answers are within {tolerance:g} of the recorded ones (at most {worst:.3g}).", worst, evidence
    )
