"""Replay what was known: from every version of every fact to the state of knowledge on any origin day.

Each version becomes a change that takes effect on the first origin whose knowledge time it had reached. The state on an origin is the sum
of all changes up to it, so one pass over the changes gives every origin, and nothing later can enter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.exceptions import SchemaError, WithinError
from within_pipelines.lake.knowledge import knowledge_time
from within_pipelines.lake.schema import FACT_KEY

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EPOCH = date(1970, 1, 1)
DAY_US = 86_400_000_000
KNOWLEDGE_DELAY_US = int((knowledge_time(EPOCH) - datetime.fromisoformat("1970-01-01T00:00:00+00:00")).total_seconds() * 1e6)

# One fact has one value per day: an export with another attribution setting replaces it, else its impressions would count twice.
_VERSION_KEY = tuple(name for name in FACT_KEY if name != "attribution")
_VERSION_ORDER = ("as_of", "commit_seq", "attribution", "file_sha256")
_COUNTS = ("impressions", "clicks", "spend_micros", "conversions", "revenue_micros")
_LATE = ("conversions", "revenue_micros")  # what keeps arriving for days

# Changes are kept as whole numbers (conversions in millionths), so that sums do not depend on their order.
CHANNELS: tuple[str, ...] = (
    "rows", "impressions", "clicks", "spend_micros",
    "conversions_final", "conversions_maturing", "revenue_micros_final", "revenue_micros_maturing",
    "has_impressions", "has_clicks", "has_spend_micros", "has_conversions", "has_revenue_micros",
)  # fmt: skip


class MixedCurrencyError(WithinError, ValueError):
    """Money of one unit is reported in more than one currency, so it cannot be added up."""


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def require_columns(frame: pl.DataFrame, wanted: Sequence[str], what: str) -> None:
    """Raise `SchemaError` naming the columns that `frame` lacks."""
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise SchemaError(f"{what} lacks the columns {missing}; it has {frame.columns}. Read it with Lake.history or Lake.facts.")


def one_grain(history: pl.DataFrame) -> None:
    """Raise `SchemaError` when `history` mixes grains, because a breakdown and its total would be added up."""
    if "grain" in history.columns:
        grains = history["grain"].unique().sort().to_list()
        if len(grains) > 1:
            raise SchemaError(
                f"The facts hold the grains {grains}; choose one, e.g. Lake.history(grain='ad'), because each holds the total."
            )


def currencies(history: pl.DataFrame, entity: Sequence[str]) -> pl.DataFrame:
    """One row per entity with its `currency`; "XXX" where no money is reported.

    Raises `MixedCurrencyError` when an entity has money in more than one currency."""
    money = pl.col("spend_micros").is_not_null() | pl.col("revenue_micros").is_not_null()
    found = history.group_by(*entity).agg(
        currency=pl.col("currency").filter(money).unique().sort(),
        declared=pl.col("currency").unique().sort().first(),
    )
    mixed = found.filter(pl.col("currency").list.len() > 1).sort(*entity)
    if mixed.height:
        names = "/".join(str(mixed[name][0]) for name in entity)
        raise MixedCurrencyError(
            f"{names} has money in {mixed['currency'][0].to_list()}; {mixed.height} of {found.height} units mix currencies. "
            "Add `currency` to the entity or convert before ingestion; amounts of different currencies are never added."
        )
    return found.select(*entity, currency=pl.coalesce(pl.col("currency").list.first(), pl.col("declared")))


def known_changes(history: pl.DataFrame, unit: Sequence[str]) -> pl.DataFrame:
    """Changes of knowledge per (unit, `day`, `known_from`), both days as day numbers, with one whole number per channel.

    `known_from` is the first origin o with `as_of <= knowledge_time(o)` and `event_date <= o`."""
    require_columns(history, [*_VERSION_KEY, *_COUNTS, "as_of", "as_of_source", "currency"], "The history")
    order = [name for name in _VERSION_ORDER if name in history.columns]
    final = pl.col("as_of_source") == "assumed_lag"
    micros = pl.col("as_of").dt.cast_time_unit("us").to_physical()
    whole = [pl.col(name).cast(pl.Int64).alias(name) for name in _COUNTS if name != "conversions"]
    versions = (
        history.select(
            *_VERSION_KEY,
            *order,
            *whole,
            (pl.col("conversions") * 1e6).round().cast(pl.Int64).alias("conversions"),
            final=final,
            day=pl.col("event_date").to_physical().cast(pl.Int64),
            reached=-((KNOWLEDGE_DELAY_US - micros) // DAY_US),
        )
        .with_columns(known_from=pl.max_horizontal("day", "reached"))
        .sort(*_VERSION_KEY, *order, *_COUNTS)
    )
    channels = versions.select(
        *dict.fromkeys([*_VERSION_KEY, *unit]),
        "day",
        "known_from",
        rows=pl.lit(1, pl.Int64),
        **{name: pl.col(name).fill_null(0) for name in ("impressions", "clicks", "spend_micros")},
        **{f"{name}_final": pl.when("final").then(name).fill_null(0) for name in _LATE},
        **{f"{name}_maturing": pl.when(~pl.col("final")).then(name).fill_null(0) for name in _LATE},
        **{f"has_{name}": pl.col(name).is_not_null().cast(pl.Int64) for name in _COUNTS},
    )
    same = pl.all_horizontal(*((pl.col(name) == pl.col(name).shift(1)) for name in _VERSION_KEY)).fill_null(False)
    # A later version replaces the one before it: its change is the difference.
    changes = channels.with_columns(pl.when(same).then(pl.col(c) - pl.col(c).shift(1)).otherwise(pl.col(c)).alias(c) for c in CHANNELS)
    return coarser(changes, unit)


def coarser(changes: pl.DataFrame, unit: Sequence[str]) -> pl.DataFrame:
    """Changes added up to larger units, sorted by unit, day and known_from."""
    return changes.group_by(*unit, "day", "known_from").agg(pl.col(c).sum() for c in CHANNELS).sort(*unit, "day", "known_from")


@dataclass(frozen=True, slots=True)
class Replay:
    """Units x days x channels of knowledge, replayed origin by origin.

    `units` has one row per unit in sorted order; `first_known[i]` is the first origin that knows anything of unit i, and
    `first_day_of[i]` the unit's first day as known then."""

    units: pl.DataFrame
    first_day: int
    n_days: int
    first_known: Ints
    first_day_of: Ints
    channels: tuple[str, ...]
    _codes: Ints
    _days: Ints
    _known_from: Ints
    _values: Floats

    @property
    def last_known(self) -> int:
        """The first origin that knows everything; the first day when there is nothing to know."""
        return max(int(self._known_from[-1]), self.first_day + self.n_days - 1) if len(self._known_from) else self.first_day

    @classmethod
    def of(cls, changes: pl.DataFrame, unit: Sequence[str], *, channels: tuple[str, ...] = CHANNELS) -> Replay:
        """Prepare the replay of `known_changes(history, unit)`."""
        units = changes.select(*unit).unique().sort(*unit)
        coded = changes.join(units.with_row_index("code"), on=list(unit), how="left", maintain_order="left").sort(
            "known_from", "code", "day"
        )
        codes, days, known = (coded[name].to_numpy().astype(np.int64) for name in ("code", "day", "known_from"))
        first_known = np.full(units.height, np.iinfo(np.int64).max)
        np.minimum.at(first_known, codes, known)
        first_day_of = np.full(units.height, np.iinfo(np.int64).max)
        at_first = known == first_known[codes]
        np.minimum.at(first_day_of, codes[at_first], days[at_first])
        first, last = (int(days.min()), int(days.max())) if len(days) else (0, -1)
        values = coded.select(channels).to_numpy().astype(np.float64)
        return cls(units, first, last - first + 1, first_known, first_day_of, channels, codes, days - first, known, values)

    def windows(self, origins: Sequence[int], length: int, *, cells: int = 3_000_000) -> Iterator[tuple[slice, Floats]]:
        """For rising `origins`, blocks of (which origins, what was known of the trailing `length` days).

        The array has the axes unit, origin, day (index 0 is the origin itself, 1 the day before, ...), channel. A block holds about
        `cells` numbers at most, so memory stays bounded."""
        state = np.zeros((self.units.height, self.n_days, len(self.channels)))
        flat = state.reshape(-1, len(self.channels))
        per_block = max(1, cells // max(1, self.units.height * length * len(self.channels)))
        applied = 0
        for start in range(0, len(origins), per_block):
            chosen = slice(start, min(start + per_block, len(origins)))
            block = np.zeros((self.units.height, chosen.stop - start, length, len(self.channels)))
            for j, origin in enumerate(origins[chosen]):
                until = int(np.searchsorted(self._known_from, origin, side="right"))
                rows = slice(applied, until)
                np.add.at(flat, self._codes[rows] * self.n_days + self._days[rows], self._values[rows])
                applied = max(applied, until)
                newest = origin - self.first_day  # index of the origin's own day
                low, high = max(0, newest - length + 1), min(self.n_days, newest + 1)
                if high > low:
                    block[:, j, newest + 1 - high : newest + 1 - low] = state[:, low:high][:, ::-1]
            yield chosen, block


def as_origins(origins: Sequence[date]) -> list[int]:
    """Distinct origins as rising day numbers."""
    return sorted({day_number(origin) for origin in origins})
