"""Read any CSV or Parquet file through a declared mapping: a small YAML file that says which column is what.

A mapping executes nothing: it is read by a safe loader and checked against the schema below before any data is touched."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from within_pipelines.exceptions import MappingError
from within_pipelines.ingest.decode import RefusedFileError
from within_pipelines.ingest.dialects import normalised
from within_pipelines.ingest.layout import Days, Layout, Measure, Part

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Source(BaseModel):
    """Where an identifier comes from: `columns` (several are joined by "/"), a `constant`, or the row's number."""

    model_config = _STRICT

    columns: tuple[str, ...] = ()
    constant: str | None = None
    row_number: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (bool(self.columns) + (self.constant is not None) + self.row_number) != 1:
            raise ValueError("give exactly one of columns, constant, row_number")
        return self


def _source(value: object) -> object:
    if isinstance(value, str):
        return {"columns": (value,)}
    if isinstance(value, list):
        return {"columns": tuple(value)}
    return value


SourceField = Annotated[Source, BeforeValidator(_source)]


class Day(BaseModel):
    """Where the day comes from: `column` (with a strptime `format` when it is unusual), `month` + `day` + `year`, `iso_week`
    (yyyyww, dated by its Monday), `start` + `end` (only rows of one day are facts), or a `constant`."""

    model_config = _STRICT

    column: str | None = None
    format: str | None = None
    month: str | None = None
    day: str | None = None
    year: int | str | None = Field(default=None, description="A year, or the column that holds it.")
    iso_week: str | None = None
    start: str | None = None
    end: str | None = None
    constant: date | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.column, self.month, self.iso_week, self.start, self.constant)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give exactly one of column, month + day + year, iso_week, start + end, constant")
        if self.month is not None and (self.day is None or self.year is None):
            raise ValueError("month needs day and year")
        if (self.start is None) != (self.end is None):
            raise ValueError("start and end go together")
        return self


def _day(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Metric(BaseModel):
    """A metric column; money is in units of the currency or in micros (millionths)."""

    model_config = _STRICT

    column: str
    unit: Literal["currency", "micros"] = "currency"


def _metric(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


MetricField = Annotated[Metric, BeforeValidator(_metric)]
MetricName = Literal["impressions", "clicks", "reach", "spend", "conversions", "revenue"]
CreativeName = Literal["headline", "description", "call_to_action", "format", "audience_segment", "image_path"]


class Mapping(BaseModel):
    """Which column of a file is what."""

    model_config = _STRICT

    platform: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the platform in the lake.")
    files: str = Field(default="", description="File names that the mapping applies to, e.g. `adwords_daily*`.")
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    decimal: Literal[".", ","] | None = None
    account: SourceField | None = None
    campaign: SourceField | None = None
    ad_group: SourceField | None = None
    ad: SourceField | None = None
    date: Annotated[Day, BeforeValidator(_day)] | None = None
    currency: SourceField | None = None
    timezone: str | None = Field(default=None, description="IANA name; without it the accounts file decides, else UTC.")
    metrics: dict[MetricName, MetricField] = Field(default_factory=dict)
    breakdowns: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], str] = Field(default_factory=dict)
    values: dict[str, dict[str, str]] = Field(default_factory=dict, description="Breakdown values as found -> as kept.")
    attribution: SourceField | None = None
    names: dict[Literal["campaign", "ad_group", "ad"], str] = Field(default_factory=dict)
    creative: dict[CreativeName, str] = Field(default_factory=dict)
    clicks_may_exceed_impressions: bool = False

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            ZoneInfo(value or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone; write for example Europe/Berlin") from error
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.metrics and self.date is None:
            raise ValueError("metrics need a date")
        if self.currency is not None and self.currency.constant is not None and not _is_currency(self.currency.constant):
            raise ValueError(f"currency {self.currency.constant!r} is no three-letter code")
        if not self.metrics and (self.ad is None or self.ad.constant is not None):
            raise ValueError("give metrics, or ad and creative columns")
        unknown = set(self.values) - set(self.breakdowns)
        if unknown:
            raise ValueError(f"values name breakdowns that are not declared: {', '.join(sorted(unknown))}")
        return self


def _is_currency(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()


def load_mapping(path: Path) -> Mapping:
    """Read and check a mapping file.

    Raises `MappingError` that names the field which is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MappingError(f"{path.name} is no valid YAML: {error}.") from error
    if not isinstance(content, dict):
        raise MappingError(f"{path.name} holds a {type(content).__name__}; wanted fields such as platform, date and metrics.")
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the mapping"
        raise MappingError(f"{path.name}: {where}: {problem['msg']}.") from error


def header_names(mapping: Mapping) -> list[str]:
    """Every column that the mapping needs, for finding the header."""
    sources = [mapping.account, mapping.campaign, mapping.ad_group, mapping.ad, mapping.currency, mapping.attribution]
    names = [name for source in sources if source is not None for name in source.columns]
    day = mapping.date
    if day is not None:
        year = day.year if isinstance(day.year, str) else None
        names += [name for name in (day.column, day.month, day.day, year, day.iso_week, day.start, day.end) if name is not None]
    names += [metric.column for metric in mapping.metrics.values()]
    names += [*mapping.breakdowns.values(), *mapping.names.values(), *mapping.creative.values()]
    return list(dict.fromkeys(names))


def mapped_layout(mapping: Mapping, header: tuple[str, ...]) -> Layout:
    """Where the mapped columns stand in `header`.

    Raises `RefusedFileError` when a column is missing or stands twice."""
    plain = [normalised(name) for name in header]

    def at(name: str) -> int:
        exact = [position for position, found in enumerate(header) if found.strip() == name]
        found = exact or [position for position, known in enumerate(plain) if known == normalised(name)]
        if not found:
            raise RefusedFileError(
                "missing_column", f"the mapping needs column {name!r}; the file has {', '.join(n.strip() for n in header[:20])}"
            )
        if len(found) > 1:
            raise RefusedFileError("duplicate_column", f"the header holds {name!r} more than once")
        return found[0]

    def part(source: Source | None) -> Part | None:
        if source is None:
            return None
        return Part(tuple(at(name) for name in source.columns), source.constant, source.row_number)

    entities = {
        level: found
        for level, source in (("campaign", mapping.campaign), ("ad_group", mapping.ad_group), ("ad", mapping.ad))
        if (found := part(source)) is not None
    }
    measures = {}
    for name, metric in mapping.metrics.items():
        money = name in ("spend", "revenue")
        unit = metric.unit if money else "number" if name == "conversions" else "count"
        measures[f"{name}_micros" if money else name] = Measure(at(metric.column), unit)
    return Layout(
        platform=mapping.platform,
        days=_days(mapping.date, at),
        account=part(mapping.account),
        entities=entities,
        measures=measures,
        currency=part(mapping.currency),
        timezone=mapping.timezone,
        breakdowns=tuple(sorted((name, at(column)) for name, column in mapping.breakdowns.items())),
        values=mapping.values,
        attribution=part(mapping.attribution),
        creative={name: (at(column),) for name, column in mapping.creative.items()},
        names={f"{level}_name": at(column) for level, column in mapping.names.items()},
        clicks_may_exceed=mapping.clicks_may_exceed_impressions,
        decimal=mapping.decimal,
    )


def _days(day: Day | None, at: object) -> Days:
    if day is None or not callable(at):
        return Days()

    def place(name: str | None) -> int | None:
        return None if name is None else int(at(name))

    return Days(
        column=place(day.column),
        format=day.format,
        start=place(day.start),
        end=place(day.end),
        month=place(day.month),
        day=place(day.day),
        year_column=place(day.year) if isinstance(day.year, str) else None,
        year=day.year if isinstance(day.year, int) else None,
        iso_week=place(day.iso_week),
        constant=None if day.constant is None else day.constant.isoformat(),
    )
