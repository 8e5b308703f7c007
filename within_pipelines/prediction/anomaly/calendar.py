"""Days on which a change was planned: alarms then are kept apart, with the reason, and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import numpy as np

from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction.anomaly.series import DAY_US, Ints


@dataclass(frozen=True, slots=True)
class Planned:
    """From `first` to `last` (days, both included) `reason` explains changes of the series that `where` matches.

    `where` maps id columns and "metric" to the only value that counts, e.g. {"account_id": "123", "metric": "spend"}; empty: all."""

    first: date
    last: date
    reason: str
    where: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Calendar:
    """Planned changes and holidays; where several match, the first counts.

    >>> calendar = Calendar.of({"planned": [{"first": "2026-11-27", "last": "2026-11-30", "reason": "Black Friday"}]})
    >>> calendar.planned[0].reason, len(calendar.planned)
    ('Black Friday', 1)
    """

    planned: tuple[Planned, ...] = ()

    @classmethod
    def of(cls, values: object) -> Self:
        """Read plain values: {"planned": [{first, last, reason, where}]}; `last` defaults to `first`, `where` to everything.

        Raises `SchemaError` saying what is wrong."""
        from pydantic import BaseModel, ConfigDict, Field, ValidationError

        class Entry(BaseModel):
            model_config = ConfigDict(extra="forbid")
            first: date
            last: date | None = None
            reason: str = Field(min_length=1)
            where: dict[str, str] = Field(default_factory=dict)

        class File(BaseModel):
            model_config = ConfigDict(extra="forbid")
            planned: list[Entry]

        try:
            entries = File.model_validate(values).planned
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise SchemaError(f"The calendar is wrong at {place or 'its top'}: {first['msg']}.") from error
        planned = tuple(Planned(entry.first, entry.last or entry.first, entry.reason, entry.where) for entry in entries)
        backward = [entry for entry in planned if entry.last < entry.first]
        if backward:
            raise SchemaError(f"The calendar's {backward[0].reason!r} ends on {backward[0].last}, before it begins on {backward[0].first}.")
        known = {"platform", "account_id", "campaign_id", "series_id", "metric"}
        strange = sorted({name for entry in planned for name in entry.where} - known)
        if strange:
            raise SchemaError(f"The calendar asks for {strange} in 'where'; give any of {sorted(known)}.")
        return cls(planned)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a YAML file with a safe loader.

        Raises `SchemaError` when there is no such file, it is not valid or does not fit the schema."""
        import yaml

        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, TypeError) as error:
            raise SchemaError(f"No calendar can be read from {path!s}: {error}; give the path of a YAML file.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SchemaError(f"{path} is no valid YAML: {error}.") from error
        return cls.of(values)

    def reasons(self, keys: Sequence[Mapping[str, str]], time: Ints) -> list[str | None]:
        """The reason that explains each row (its ids and metric, its time in microseconds by its own clock), None where none does."""
        found: list[str | None] = [None] * len(keys)
        days: Ints = time // DAY_US
        for entry in reversed(self.planned):
            low, high = ((day - date(1970, 1, 1)).days for day in (entry.first, entry.last))
            for row in np.nonzero((days >= low) & (days <= high))[0]:
                if all(keys[row].get(name) == value for name, value in entry.where.items()):
                    found[row] = entry.reason
        return found
