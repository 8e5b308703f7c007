"""Turn the rows of a file into facts and creatives, and set aside every row that cannot be one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from within_pipelines.ingest.calendar_days import read_days
from within_pipelines.ingest.creatives import creative_rows, read_texts
from within_pipelines.ingest.decode import RefusedFileError, Table
from within_pipelines.ingest.denominations import denominate
from within_pipelines.ingest.draft import Draft
from within_pipelines.ingest.duplicates import mark_duplicates
from within_pipelines.ingest.faults import BadRow, Faults
from within_pipelines.ingest.identity import Surroundings, identify
from within_pipelines.ingest.layout import Layout, advice
from within_pipelines.ingest.numerals import read_numbers
from within_pipelines.ingest.parts import only_value, part_text, strip_text
from within_pipelines.ingest.strays import is_total, mark_strays
from within_pipelines.lake.schema import CREATIVE_KEY, FACT_KEY, MEASURES

# Somewhere on Earth it is already the next day 14 hours before it is in UTC.
EARLIEST_ZONE = timedelta(hours=14)
_GENDERS = {
    "f": "female", "female": "female", "women": "female", "weiblich": "female", "frauen": "female",
    "m": "male", "male": "male", "men": "male", "männlich": "male", "männer": "male",
    "unknown": "unknown", "undetermined": "unknown", "unbekannt": "unknown", "none": "unknown",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Assembled:
    """Facts and creatives still without as-of columns, and the rows set aside."""

    facts: pl.DataFrame | None
    creatives: pl.DataFrame | None
    constants: dict[str, str]  # columns that hold the same everywhere
    bad: list[BadRow]
    accepted: int


def assemble(table: Table, layout: Layout, around: Surroundings) -> Assembled:
    """Facts and creatives of `table`.

    Raises `RefusedFileError` when the file lacks something that every row needs."""
    _check_columns(table, layout, around)
    bad = [_broken(row.line, row.reason, row.detail, row.raw, table.delimiter) for row in table.broken]
    strays = Faults(table.frame.height)
    mark_strays(table.frame, table.header, layout, strays)
    frame, lines, kept = table.frame, table.lines, None
    if strays.any:
        bad += strays.described(frame, lines, table.raw)
        kept = np.flatnonzero(strays.good)
        frame, lines = frame.filter(pl.Series(strays.good)), lines[kept]
    draft = Draft(frame, table.header, Faults(frame.height))
    identify(draft, layout, around)
    if layout.has_facts:
        _facts(draft, layout, around)
    texts = read_texts(draft, layout) if layout.has_creatives else []
    if layout.has_facts:
        mark_duplicates(draft, FACT_KEY, (*MEASURES, "currency"))
    else:
        mark_duplicates(draft, CREATIVE_KEY, texts)
    if draft.faults.any:
        bad += draft.faults.described(frame, lines, lambda rows: table.raw(rows if kept is None else kept[rows]))
    bad.sort(key=lambda row: row.line)
    rows = pl.DataFrame(list(draft.columns.values()))
    if draft.faults.any:
        rows = rows.filter(pl.Series(draft.faults.good))
    accepted = int(np.count_nonzero(draft.faults.good))
    creatives = creative_rows(rows, texts, dated=layout.has_facts) if layout.has_creatives and accepted else None
    return Assembled(rows if layout.has_facts and accepted else None, creatives, draft.constants, bad, accepted)


def _broken(line: int, reason: str, detail: str, raw: str, delimiter: str) -> BadRow:
    # A total line is often shorter than the rows above it.
    if is_total(raw.split(delimiter)[0].strip('" ')):
        return BadRow(line, "total_row", "a total of other rows, not a fact", raw)
    return BadRow(line, reason, detail, raw)


def _check_columns(table: Table, layout: Layout, around: Surroundings) -> None:
    header = ", ".join(name.strip() for name in table.header[:20])
    if not layout.has_facts and "ad" not in layout.entities:
        raise RefusedFileError("missing_column", f"no metric column and no ad id among: {header}")
    if layout.has_facts and layout.days.absent:
        raise RefusedFileError("missing_column", f"no day column among: {header}; {advice(layout.platform, 'date')}")
    if layout.account is None and around.account is None:
        raise RefusedFileError(
            "missing_account",
            f"no account id; {advice(layout.platform, 'account')}, or put the file into landing/{layout.platform}/<account id>/",
        )


def _facts(draft: Draft, layout: Layout, around: Surroundings) -> None:
    days = layout.days
    shown = next((at for at in (days.column, days.start, days.month, days.iso_week) if at is not None), None)
    day, problems = read_days(draft.frame, days)
    for problem in problems:
        draft.blame(problem.rows, problem.reason, problem.wanted, shown)
    latest = (around.latest + EARLIEST_ZONE).date()
    newest = day.max()
    if isinstance(newest, date) and newest > latest:
        late = (day > latest).fill_null(False).to_numpy()
        draft.blame(late, "future_date", f"the day lies after {latest.isoformat()}, when the report was made", shown)
    draft.columns["event_date"] = day.alias("event_date")
    _measures(draft, layout)
    denominate(draft, layout, around)
    _breakdown(draft, layout)
    if layout.attribution is None:
        draft.constants["attribution"] = ""
    elif (only := only_value(draft.frame, layout.attribution)) is not None:
        draft.constants["attribution"] = only
    else:
        draft.columns["attribution"] = draft.frame.select(part_text(layout.attribution).alias("attribution")).to_series()


def _measures(draft: Draft, layout: Layout) -> None:
    for name, parsed in read_numbers(draft.frame, layout.measures, language=layout.language, decimal=layout.decimal).items():
        at = layout.measures[name].column
        for fault in parsed.faults:
            draft.blame(fault.rows, fault.reason, fault.wanted, at)
        draft.columns[name] = parsed.values.alias(name)
        smallest = parsed.values.min()
        if isinstance(smallest, int | float) and smallest < 0:
            negative = (parsed.values < 0).fill_null(False).to_numpy()
            draft.blame(negative, f"negative_{name.removesuffix('_micros')}", "wanted zero or more", at)
    if layout.result_type is not None:
        draft.columns["conversions"] = _results(draft.columns["conversions"], draft.frame.get_column(str(layout.result_type)))
    if "clicks" in draft.columns and "impressions" in draft.columns and not layout.clicks_may_exceed:
        exceeds = draft.columns["clicks"] > draft.columns["impressions"]
        if exceeds.any():
            rows = exceeds.fill_null(False).to_numpy()
            for at in layout.video_columns:
                rows = rows & ~draft.frame.get_column(str(at)).str.contains(r"(?i)video").fill_null(False).to_numpy()
            draft.blame(rows, "clicks_exceed_impressions", "more clicks than impressions", layout.measures["clicks"].column)


def _results(results: pl.Series, kind: pl.Series) -> pl.Series:
    """Meta's "Results" count whatever a campaign optimises for: they are conversions only where the file has one kind of conversion."""
    conversion = kind.str.contains(r"(?i)purchase|lead|offsite_conversion|complete_registration|kauf").fill_null(False)
    if kind.filter(conversion).n_unique() > 1:
        conversion = conversion & False
    return pl.DataFrame({"value": results, "is": conversion}).select(pl.when("is").then("value").alias("conversions")).to_series()


def _breakdown(draft: Draft, layout: Layout) -> None:
    if not layout.breakdowns:
        draft.constants["breakdown"] = ""
        return
    parts = []
    for name, at in layout.breakdowns:
        text = strip_text(str(at))
        text = pl.when(text == "").then(pl.lit("unknown")).otherwise(text)
        if name == "gender":
            text = text.str.to_lowercase().replace(_GENDERS)
        elif name == "age":
            text = text.str.to_lowercase().str.replace(r"\s*(or more|und älter|\+)$", "+")
        if name in layout.values:
            text = text.replace(layout.values[name])
        # The separators of the breakdown text must not come out of a value.
        parts.append(pl.lit(f"{name}=") + text.str.replace_all("|", "/", literal=True).str.replace_all("=", ":", literal=True))
    draft.columns["breakdown"] = draft.frame.select(pl.concat_str(parts, separator="|").alias("breakdown")).to_series()
