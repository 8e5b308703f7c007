"""Turn tables of metrics into regular series side by side, gaps as NaN, and refuse what cannot be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.frames import as_polars, names

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
LONGEST_HOLE_US = 3653 * DAY_US
ID_COLUMNS: tuple[str, ...] = ("platform", "account_id", "campaign_id", "series_id")
KEY: tuple[str, ...] = (*ID_COLUMNS, "metric")
_TIME_NAMES = ("timestamp", "date", "event_date")
_RESERVED = (*ID_COLUMNS, "metric", "value", "maturity", "currency", *_TIME_NAMES)
# Younger values are still growing: judging them would report yesterday's missing conversions as an incident.
MATURE = 0.9


@dataclass(frozen=True, slots=True)
class Observations:
    """Rows in the order given: series key, time in microseconds (UTC for aware times), value (NaN where missing), maturity.

    `original` is the time column as given, `aware` whether it carries a time zone, `ids` the id columns that the caller's table has."""

    keys: pl.DataFrame
    time: Ints
    value: Floats
    maturity: Floats
    currency: list[str | None]
    original: pl.Series
    aware: bool
    ids: tuple[str, ...]

    @property
    def wall_clock(self) -> Ints:
        """The times in microseconds as their own zone's clock shows them; as `time` where there is no zone."""
        kind = self.original.dtype
        if not (isinstance(kind, pl.Datetime) and kind.time_zone is not None):
            return self.time
        local: Ints = self.original.dt.replace_time_zone(None).dt.cast_time_unit("us").to_physical().to_numpy().astype(np.int64)
        return local

    def as_given(self, time: int) -> Any:
        """`time` (microseconds) as the table's times are given: a date, a datetime, or ISO text."""
        kind = self.original.dtype
        moment = pl.Series([time]).cast(pl.Datetime("us"))
        if kind == pl.Date:
            return moment.cast(pl.Date).item()
        if kind == pl.String:
            plain = moment.dt.replace_time_zone("UTC").item() if self.aware else moment.item()
            days = len(self.original) > 0 and len(self.original[0]) == len("2026-01-31")
            return plain.date().isoformat() if days else plain.isoformat()
        zone = kind.time_zone if isinstance(kind, pl.Datetime) else None
        return moment.item() if zone is None else moment.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).item()


def microseconds_of(now: Any, observed: Observations) -> int | None:
    """`now` (a date, datetime or ISO text) in microseconds; None stays None.

    Raises `SchemaError` for anything else, and for a time zone where the table's times have none, or none where they have one."""
    if now is None:
        return None
    try:
        times, aware = _microseconds(pl.Series("now", [now]), "now")
    except (SchemaError, SampleError, TypeError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"now={now!r} is no moment; give a date, a datetime or ISO text like the table's times.") from error
    if aware != observed.aware and len(observed.time):
        raise SchemaError(
            f"now={now!r} comes {zone_in_words(aware)} and the table's times {zone_in_words(observed.aware)}; give both the same way."
        )
    return int(times[0])


def zone_in_words(aware: bool) -> str:
    """How times come."""
    return "with a time zone" if aware else "without a time zone"


def observations(data: Any, *, what: str) -> Observations:
    """Read a long table (timestamp, metric, value and optionally ids, maturity, currency) or a wide one (timestamp and numbers).

    Raises `SchemaError` when there is no time or no number or a name is none, and `SampleError` with counts for unreadable times, infinite
    values, maturities outside of 0 to 1 and repeated (series, timestamp) pairs."""
    frame = _as_frame(data)
    time_name = next((name for name in _TIME_NAMES if name in frame.columns), None)
    if time_name is None:
        raise SchemaError(f"{what} has no time column among {frame.columns}; give 'timestamp' (a date, a datetime or ISO text).")
    frame = frame.rename({time_name: "timestamp"})
    if not {"metric", "value"} <= set(frame.columns):
        frame = _long(frame, what)
    if not frame["value"].dtype.is_numeric() and frame["value"].dtype != pl.Null:
        raise SchemaError(f"{what} holds {frame['value'].dtype} in 'value'; it should hold numbers.")
    time, aware = _microseconds(frame["timestamp"], what)
    value = frame["value"].cast(pl.Float64).to_numpy().astype(np.float64)
    if infinite := int(np.isinf(value).sum()):
        raise SampleError(f"{what} holds {infinite} of {len(value)} infinite values; make them null, because they are no measurement.")
    ids = tuple(name for name in ID_COLUMNS if name in frame.columns)
    keys = frame.select(names(frame, name) if name in frame.columns else pl.lit("").alias(name) for name in KEY)
    if keys.height != frame.height:  # a frame without rows broadcasts its literals
        keys = keys.clear()
    maturity = np.ones(frame.height)
    if "maturity" in frame.columns:
        maturity = _maturity(frame["maturity"], what)
    currency = names(frame, "currency").replace("", None).to_list() if "currency" in frame.columns else [None] * frame.height
    repeated = int(keys.with_columns(t=pl.Series(time)).is_duplicated().sum())
    if repeated:
        raise SampleError(
            f"{what} holds {repeated} rows that share series and timestamp; give one row each, and tell series apart by "
            f"{', '.join(ID_COLUMNS)} or metric."
        )
    return Observations(keys, time, value, maturity, currency, frame["timestamp"], aware, ids)


def _maturity(column: pl.Series, what: str) -> Floats:
    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise SchemaError(f"{what} holds {column.dtype} in 'maturity'; give numbers: the share of its final size that a value has reached.")
    shares = column.cast(pl.Float64).fill_null(1.0).fill_nan(1.0).to_numpy().astype(np.float64)
    bad = int(np.sum((shares < 0) | (shares > 1)))
    if bad:
        raise SampleError(
            f"{what} holds {bad} of {len(shares)} maturities outside of 0 to 1; give shares (0.8 for 80 %), null where a value is final."
        )
    return shares


def _as_frame(data: Any) -> pl.DataFrame:
    if type(data).__module__.startswith("pandas") and hasattr(data, "columns"):
        named = {str(name) for name in data.columns}
        if not named & set(_TIME_NAMES) and "datetime" in str(data.index.dtype):
            data = data.rename_axis("timestamp").reset_index()
    return as_polars(data)


def _long(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    numeric = [name for name in frame.columns if name not in _RESERVED and frame[name].dtype.is_numeric()]
    for name in set(frame.columns) - {*_RESERVED, *numeric}:
        # A metric that came as text would be left out in silence; a column of words is none.
        if frame[name].dtype == pl.String and frame[name].drop_nulls().len() and frame[name].cast(pl.Float64, strict=False).count():
            raise SchemaError(f"{what} holds the numbers of {name} as text; give them as numbers.")
    if not numeric and "value" in frame.columns:
        return frame.with_columns(metric=pl.lit("value"))
    if not numeric:
        raise SchemaError(f"{what} has no numbers among {frame.columns}; give the columns metric and value, or one number column a metric.")
    kept = [name for name in ("timestamp", *ID_COLUMNS, "maturity", "currency") if name in frame.columns]
    floats = frame.with_columns(pl.col(numeric).cast(pl.Float64))
    return floats.unpivot(on=numeric, index=kept, variable_name="metric", value_name="value")


def _microseconds(times: pl.Series, what: str) -> tuple[Ints, bool]:
    kind = times.dtype
    aware = isinstance(kind, pl.Datetime) and kind.time_zone is not None
    if kind == pl.Date:
        times = times.cast(pl.Datetime("us"))
    elif kind == pl.String:
        zoned = times.str.contains(r"(Z|[+-]\d{2}:?\d{2})$")
        if zoned.any() and not zoned.all():
            raise SchemaError(f"{what} mixes times with and without an offset ({int(zoned.sum())} of {len(zoned)}); convert all to UTC.")
        aware = bool(zoned.any())
        times = _from_text(times, aware=aware)
    elif not isinstance(kind, pl.Datetime):
        raise SchemaError(f"{what} holds {kind} in its time column; give dates, datetimes or ISO text.")
    unreadable = int(times.null_count())
    if unreadable:
        raise SampleError(f"{what} holds {unreadable} of {len(times)} missing or unreadable times; give ISO dates or datetimes.")
    physical: Ints = times.dt.cast_time_unit("us").to_physical().to_numpy().astype(np.int64)
    return physical, aware


def _from_text(times: pl.Series, *, aware: bool) -> pl.Series:
    """ISO text as datetimes, null where it cannot be read."""
    text = times.str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    try:
        if text.str.len_chars().max() == len("2026-01-31"):
            return text.str.to_date(strict=False).cast(pl.Datetime("us"))
        return text.str.to_datetime(time_unit="us", strict=False, time_zone="UTC" if aware else None)
    except pl.exceptions.ComputeError:  # not one value looks like a time
        return pl.Series([None], dtype=pl.Datetime("us")).new_from_index(0, len(text))


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Sampling step and phase of a series: observation i lies at `phase` + i x `step` microseconds."""

    step: int
    phase: int

    @property
    def season(self) -> int:
        """Points of one seasonal cycle: a day's for steps below a day, a week's for daily data, 1 for anything slower."""
        if self.step <= 12 * HOUR_US:
            return round(DAY_US / self.step)
        return 7 if self.step < 2 * DAY_US else 1

    @property
    def points_per_month(self) -> float:
        """Observations in 30 days."""
        return 30 * DAY_US / self.step

    @property
    def refractory(self) -> int:
        """Points of silence after an alarm: 36 hours, at least 3 points, so that one incident is one alarm."""
        return max(3, round(36 * HOUR_US / self.step))


def rhythm(times: Ints, fallback: Rhythm | None) -> Rhythm:
    """The rhythm of rising `times`: the median step; `fallback` (else daily) for fewer than two."""
    if len(times) < 2:
        return fallback or Rhythm(DAY_US, int(times[0]) % DAY_US if len(times) else 0)
    step = int(np.median(np.diff(times)))
    return Rhythm(step, int(times[0]) % step)


def positions(times: Ints, found: Rhythm, *, key: Sequence[str]) -> Ints:
    """Grid positions of rising `times`.

    Raises `SampleError` when two times fall on one position, because the series is not regular."""
    at: Ints = np.rint((times - found.phase) / found.step).astype(np.int64)
    between = len(at) - 1 - int(np.count_nonzero(np.diff(at)))
    if between > 0:
        raise SampleError(
            f"The series {name_of(key)} has a median step of {found.step / HOUR_US:g} h but {between} of {len(at)} values fall between "
            "steps; resample it to a regular step first."
        )
    return at


def refuse_hole(at: Ints, found: Rhythm, *, known_to: int | None, key: Sequence[str]) -> None:
    """Raise `SampleError` where more than ten years lie between two of the rising grid positions `at` and `known_to`, the last position of
    a known series: every point between them would be computed, and such times are mistakes (1970 for a missing time)."""
    ends = (int(at[0]), int(at[-1])) if known_to is None else (min(int(at[0]), known_to), max(int(at[-1]), known_to))
    if (ends[1] - ends[0]) * found.step <= LONGEST_HOLE_US:
        return
    moments = at if known_to is None else np.union1d(at, [known_to])
    wide = np.nonzero(np.diff(moments) > LONGEST_HOLE_US // found.step)[0]
    if len(wide):
        first, second = (
            np.datetime64(found.phase + int(moments[i]) * found.step, "us").astype("datetime64[D]") for i in (wide[0], wide[0] + 1)
        )
        raise SampleError(
            f"The series {name_of(key)} has no values between {first} and {second}, more than ten years; correct the times, or give what "
            "follows as a series of its own."
        )


def name_of(key: Sequence[str]) -> str:
    """A series in words: "google_ads/123/spend"."""
    return "/".join(part for part in key if part)
