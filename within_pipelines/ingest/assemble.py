"""Turn the rows of a file into facts and creatives, and set aside every row that cannot be one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from within_pipelines.ingest.accounts import AccountsFile
from within_pipelines.ingest.calendar_days import read_days
from within_pipelines.ingest.decode import RefusedFileError, Table
from within_pipelines.ingest.dialects import ENTITY_LEVELS
from within_pipelines.ingest.faults import Faults
from within_pipelines.ingest.layout import Layout, Part, advice
from within_pipelines.ingest.numerals import read_numbers
from within_pipelines.lake.schema import CREATIVE_KEY, FACT_KEY, MEASURES

NO_CURRENCY = "XXX"
# Somewhere on Earth it is already the next day 14 hours before it is in UTC.
EARLIEST_ZONE = timedelta(hours=14)
_TOTAL_ROW = r"(?i)^\s*(grand )?(total|gesamt|summe|insgesamt)\s*(:.*|of \d+.*|)$"
_BLANK = ("", "--", "-")
_GENDERS = {
    "f": "female", "female": "female", "women": "female", "weiblich": "female", "frauen": "female",
    "m": "male", "male": "male", "men": "male", "männlich": "male", "männer": "male",
    "unknown": "unknown", "undetermined": "unknown", "unbekannt": "unknown", "none": "unknown",
}  # fmt: skip
_ID_COLUMNS = {"campaign": "campaign_id", "ad_group": "ad_group_id", "ad": "ad_id"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known about a file from where it lies."""

    accounts: AccountsFile
    folder_account: str | None
    latest: datetime  # nothing can have happened after this moment


@dataclass(frozen=True, slots=True)
class Assembled:
    """Facts and creatives still without as-of columns, and the rows set aside."""

    facts: pl.DataFrame | None
    creatives: pl.DataFrame | None
    bad: list[tuple[int, str, str, str]]  # line, reason, detail, raw
    accepted: int


def assemble(table: Table, layout: Layout, around: Surroundings) -> Assembled:
    """Facts and creatives of `table`.

    Raises `RefusedFileError` when the file lacks something that every row needs."""
    _check_columns(table, layout, around)
    frame = table.frame
    faults = Faults(frame.height)
    _mark_headers(frame, table.header, faults)
    columns = _keys(frame, layout, around, faults, table)
    if layout.has_facts:
        columns |= _facts(frame, layout, around, faults, table.header, columns)
    keyed = pl.DataFrame(columns)
    key = [name for name in (FACT_KEY if layout.has_facts else CREATIVE_KEY) if name in keyed.columns]
    texts = _texts(frame, layout)
    compared = [name for name in (*MEASURES, "currency") if name in keyed.columns] if layout.has_facts else []
    _mark_duplicates(keyed if layout.has_facts else keyed.hstack(texts), key, compared or [s.name for s in texts], faults)
    bad = faults.described(frame, table.lines, table.raw) if faults.any else []
    good = faults.good
    if faults.any:
        mask = pl.Series(good)
        keyed = keyed.filter(mask)
        texts = [series.filter(mask) for series in texts]
    creatives = _creatives(keyed, texts, layout) if layout.has_creatives else None
    broken = [(row.line, row.reason, row.detail, row.raw) for row in table.broken]
    for line, reason, detail, raw in broken:
        # A total line is often shorter than the rows above it.
        total = pl.Series([raw.split(table.delimiter)[0].strip('" ')]).str.contains(_TOTAL_ROW).item()
        bad.append((line, "total_row" if total else reason, "a total of other rows, not a fact" if total else detail, raw))
    bad.sort(key=lambda entry: entry[0])
    return Assembled(keyed if layout.has_facts else None, creatives, bad, int(good.sum()))


def _check_columns(table: Table, layout: Layout, around: Surroundings) -> None:
    header = ", ".join(name.strip() for name in table.header[:20])
    if not layout.has_facts and "ad" not in layout.entities:
        raise RefusedFileError("missing_column", f"no metric column and no ad id among: {header}")
    if layout.has_facts and layout.days.absent:
        raise RefusedFileError("missing_column", f"no day column among: {header}; {advice(layout.platform, 'date')}")
    if layout.account is None and around.folder_account is None and around.accounts.only is None:
        raise RefusedFileError(
            "missing_account",
            f"no account id; {advice(layout.platform, 'account')}, or put the file into landing/{layout.platform}/<account id>/",
        )


def _plain_ids(column: pl.Series) -> bool:
    """Whether every cell is digits alone, so that nothing needs cleaning."""
    return column.null_count() == 0 and column.cast(pl.Int64, strict=False).null_count() == 0 and not column.str.starts_with("+").any()


def _joined(frame: pl.DataFrame, part: Part) -> pl.Series:
    """The cleaned text of a part for every row; "" where it is blank."""
    if part.constant is not None:
        return pl.Series("part", [part.constant]).new_from_index(0, frame.height)
    if part.row_number:
        return frame.select(pl.int_range(1, pl.len()).cast(pl.String).alias("part")).to_series()
    if len(part.columns) == 1 and not part.derived_from_name and _plain_ids(frame.get_column(str(part.columns[0]))):
        return frame.get_column(str(part.columns[0])).alias("part")
    cleaned = []
    for column in part.columns:
        text = pl.col(str(column)).fill_null("").str.strip_chars().str.replace(r'^="(.*)"$', "${1}")
        text = pl.when(text.is_in(_BLANK)).then(pl.lit("")).otherwise(text)
        if not part.derived_from_name:
            text = text.str.replace(r"^(\d{6,})\.0$", "${1}")
        cleaned.append(text)
    joined = cleaned[0] if len(cleaned) == 1 else pl.concat_str(cleaned, separator="/")
    if part.derived_from_name:
        joined = pl.when(joined == "").then(pl.lit("")).otherwise(pl.lit("name:") + joined)
    return frame.select(joined.alias("part")).to_series()


def _keys(frame: pl.DataFrame, layout: Layout, around: Surroundings, faults: Faults, table: Table) -> dict[str, pl.Series]:
    height = frame.height
    header = table.header
    columns: dict[str, pl.Series] = {}

    def constant(name: str, value: str) -> pl.Series:
        return pl.Series(name, [value], dtype=pl.String).new_from_index(0, height)

    entities = {level: _joined(frame, part) for level, part in layout.entities.items()}
    _mark_totals(frame, layout, entities, faults)
    columns["platform"] = constant("platform", layout.platform)
    fallback = around.folder_account or around.accounts.only
    if layout.account is None:
        columns["account_id"] = constant("account_id", fallback or "")
    else:
        account = _joined(frame, layout.account)
        if not _plain_ids(account):
            text = pl.col("part").str.strip_prefix("act_")
            digits = text.str.replace_all("-", "", literal=True)
            account = (
                account.to_frame().select(pl.when(digits.str.contains(r"^\d+$")).then(digits).otherwise(text).alias("part")).to_series()
            )
            blank = (account == "").to_numpy()
            if blank.any():
                if fallback:
                    account = (
                        account.to_frame()
                        .select(pl.when(pl.col("part") == "").then(pl.lit(fallback)).otherwise(pl.col("part")))
                        .to_series()
                    )
                else:
                    faults.add(blank, "missing_id", "the account id is empty")
        _mark_damaged(account, faults, layout.account, header)
        columns["account_id"] = account.alias("account_id")
    for level, name in _ID_COLUMNS.items():
        if level not in entities:
            columns[name] = constant(name, "")
            continue
        ids = entities[level]
        part = layout.entities[level]
        if part.columns:
            blank = (ids == "").to_numpy()
            if blank.any():
                faults.add(
                    blank,
                    "missing_id",
                    f"the {level.replace('_', ' ')} id is empty",
                    column=str(part.columns[0]),
                    title=header[part.columns[0]].strip(),
                )
            _mark_damaged(ids, faults, part, header)
        columns[name] = ids.alias(name)
    return columns


def _mark_damaged(ids: pl.Series, faults: Faults, part: Part, header: tuple[str, ...]) -> None:
    if part.columns and not part.derived_from_name:
        damaged = ids.str.contains(r"^\d(\.\d+)?[eE]\+\d+$").fill_null(False)
        if damaged.any():
            faults.add(
                damaged.to_numpy(), "damaged_id", "a spreadsheet rounded this id; export again and do not save it from the spreadsheet",
                column=str(part.columns[0]), title=header[part.columns[0]].strip(),
            )  # fmt: skip


def _mark_headers(frame: pl.DataFrame, header: tuple[str, ...], faults: Faults) -> None:
    """Files that were pasted together repeat the header among the rows."""
    if len(header) < 2:
        return
    repeated = (frame.get_column("0") == header[0].strip()).fill_null(False)
    if repeated.any():
        for at in range(1, len(header)):
            repeated &= (frame.get_column(str(at)) == header[at].strip()).fill_null(header[at].strip() == "")
        faults.add(repeated.to_numpy(), "header_row", "the header again, not a fact")


def _mark_totals(frame: pl.DataFrame, layout: Layout, entities: dict[str, pl.Series], faults: Faults) -> None:
    """Rows that sum other rows: no day and no ids, or a first cell that says so."""
    first = frame.get_column("0")
    says = first.str.contains(_TOTAL_ROW).fill_null(False).to_numpy()
    empty = np.ones(frame.height, dtype=bool)
    for level, part in layout.entities.items():
        if part.columns:
            empty &= (entities[level] == "").to_numpy()
    keyed = any(part.columns for part in layout.entities.values())
    days = layout.days.column if layout.days.column is not None else layout.days.start
    if days is None:
        total = says if not keyed else empty
    else:
        day = frame.get_column(str(days))
        dayless = (day.is_null() | (day.str.strip_chars().is_in([*_BLANK]))).fill_null(True).to_numpy() | ~day.str.contains(
            r"\d"
        ).fill_null(False).to_numpy()
        total = (says & (empty | dayless)) | (empty & dayless & np.bool_(keyed or not layout.entities))
        if keyed and layout.days.start is not None:
            total |= empty
    faults.add(total, "total_row", "a total of other rows, not a fact")


def _facts(
    frame: pl.DataFrame, layout: Layout, around: Surroundings, faults: Faults, header: tuple[str, ...], keys: dict[str, pl.Series]
) -> dict[str, pl.Series]:
    height = frame.height
    columns: dict[str, pl.Series] = {}
    day, problems = read_days(frame, layout.days)
    shown = next((at for at in (layout.days.column, layout.days.start, layout.days.month, layout.days.iso_week) if at is not None), None)
    for problem in problems:
        faults.add(
            problem.rows,
            problem.reason,
            problem.wanted,
            column=None if shown is None else str(shown),
            title="" if shown is None else header[shown].strip(),
        )
    latest = (around.latest + EARLIEST_ZONE).date()
    newest = day.max()
    if isinstance(newest, date) and newest > latest:
        late = (day > latest).fill_null(False).to_numpy()
        faults.add(
            late,
            "future_date",
            f"the day lies after {latest.isoformat()}, when the report was made",
            column=None if shown is None else str(shown),
            title="" if shown is None else header[shown].strip(),
        )
    columns["event_date"] = day.alias("event_date")
    columns |= _measures(frame, layout, faults, header)
    columns["currency"] = _currency(frame, layout, around, faults, header, keys["account_id"])
    columns["breakdown"] = _breakdown(frame, layout)
    columns["attribution"] = (
        pl.Series([""]).new_from_index(0, height) if layout.attribution is None else _joined(frame, layout.attribution)
    ).alias("attribution")
    columns["timezone"] = _timezone(layout, around, keys["account_id"])
    return columns


def _measures(frame: pl.DataFrame, layout: Layout, faults: Faults, header: tuple[str, ...]) -> dict[str, pl.Series]:
    numbers = read_numbers(frame, layout.measures, language=layout.language, decimal=layout.decimal)
    columns: dict[str, pl.Series] = {}
    for name, parsed in numbers.items():
        at = layout.measures[name].column
        for fault in parsed.faults:
            faults.add(fault.rows, fault.reason, fault.wanted, column=str(at), title=header[at].strip())
        columns[name] = parsed.values.alias(name)
        smallest = parsed.values.min()
        if isinstance(smallest, int | float) and smallest < 0:
            negative = (parsed.values < 0).fill_null(False).to_numpy()
            faults.add(
                negative, f"negative_{name.removesuffix('_micros')}", "wanted zero or more", column=str(at), title=header[at].strip()
            )
    if layout.result_type is not None:
        columns["conversions"] = _results(columns["conversions"], frame.get_column(str(layout.result_type)))
    if "clicks" in columns and "impressions" in columns and not layout.clicks_may_exceed:
        exceeds = (columns["clicks"] > columns["impressions"]).fill_null(False)
        if exceeds.any():
            excused = np.zeros(frame.height, dtype=bool)
            for at in layout.video_columns:
                excused |= frame.get_column(str(at)).str.contains(r"(?i)video").fill_null(False).to_numpy()
            at = layout.measures["clicks"].column
            faults.add(
                exceeds.to_numpy() & ~excused,
                "clicks_exceed_impressions",
                "more clicks than impressions",
                column=str(at),
                title=header[at].strip(),
            )
    return columns


def _results(results: pl.Series, kind: pl.Series) -> pl.Series:
    """Meta's "Results" count whatever each campaign optimises for: they are conversions only where the file has one kind of conversion."""
    conversion = kind.str.contains(r"(?i)purchase|lead|offsite_conversion|complete_registration|kauf").fill_null(False)
    if kind.filter(conversion).n_unique() > 1:
        return pl.Series("conversions", [None], dtype=pl.Float64).new_from_index(0, len(results))
    return pl.DataFrame({"value": results, "is": conversion}).select(pl.when("is").then(pl.col("value"))).to_series()


def _currency(
    frame: pl.DataFrame, layout: Layout, around: Surroundings, faults: Faults, header: tuple[str, ...], accounts: pl.Series
) -> pl.Series:
    height = frame.height

    def constant(value: str) -> pl.Series:
        return pl.Series("currency", [value], dtype=pl.String).new_from_index(0, height)

    if not layout.money:
        return constant(NO_CURRENCY)
    if layout.currency is not None:
        column = _joined(frame, layout.currency).str.to_uppercase()
        codes = column.unique().to_list()
        wrong = [code for code in codes if len(code) != 3 or not code.isascii() or not code.isalpha()]
        if layout.header_currency is not None and any(code not in wrong and code != layout.header_currency for code in codes):
            raise RefusedFileError(
                "currency_conflict",
                f"the header says {layout.header_currency}, the currency column {', '.join(sorted(set(codes) - set(wrong)))}; export them apart",
            )
        if wrong:
            title = header[layout.currency.columns[0]].strip() if layout.currency.columns else "currency"
            where = str(layout.currency.columns[0]) if layout.currency.columns else None
            faults.add(column.is_in(wrong).to_numpy(), "bad_currency", "wanted a three-letter currency code", column=where, title=title)
        return column.alias("currency")
    if layout.header_currency is not None:
        return constant(layout.header_currency)
    by_account = {account: entry.currency for account in accounts.unique().to_list() if (entry := around.accounts.get(account)) is not None}
    known = [account for account, code in by_account.items() if code]
    lacking = ~accounts.is_in(known).to_numpy()
    if lacking.any():
        named = ", ".join(accounts.filter(pl.Series(lacking)).unique().sort().head(3).to_list())
        wanted = f"no currency for account {named}; {advice(layout.platform, 'currency')}, or name it in landing/accounts.yaml"
        if lacking.all():
            raise RefusedFileError("missing_currency", wanted)
        faults.add(lacking, "missing_currency", wanted)
    return accounts.replace_strict(by_account, default=NO_CURRENCY, return_dtype=pl.String).alias("currency")


def _timezone(layout: Layout, around: Surroundings, accounts: pl.Series) -> pl.Series:
    if layout.timezone is not None:
        return pl.Series("timezone", [layout.timezone]).new_from_index(0, len(accounts))
    zones = {account: entry.timezone for account in accounts.unique().to_list() if (entry := around.accounts.get(account)) is not None}
    if len(set(zones.values())) <= 1 and len(zones) == accounts.n_unique():
        return pl.Series("timezone", [next(iter(zones.values()), "UTC")]).new_from_index(0, len(accounts))
    return accounts.replace_strict(zones, default="UTC", return_dtype=pl.String).alias("timezone")


def _breakdown(frame: pl.DataFrame, layout: Layout) -> pl.Series:
    if not layout.breakdowns:
        return pl.Series("breakdown", [""]).new_from_index(0, frame.height)
    parts = []
    for name, at in layout.breakdowns:
        text = pl.col(str(at)).fill_null("").str.strip_chars()
        text = pl.when(text.is_in(_BLANK)).then(pl.lit("unknown")).otherwise(text)
        if name == "gender":
            text = text.str.to_lowercase().replace(_GENDERS)
        elif name == "age":
            text = text.str.to_lowercase().str.replace(r"\s*(or more|und älter|\+)$", "+")
        if name in layout.values:
            text = text.replace(layout.values[name])
        # The separators of the breakdown text must not come out of a value.
        parts.append(pl.lit(f"{name}=") + text.str.replace_all("|", "/", literal=True).str.replace_all("=", ":", literal=True))
    return frame.select(pl.concat_str(parts, separator="|").alias("breakdown")).to_series()


def _mark_duplicates(keyed: pl.DataFrame, key: list[str], compared: list[str], faults: Faults) -> None:
    """Of rows with equal keys: the first stays when all say the same, none stays when they disagree."""
    good = faults.good
    varying = [name for name in key if keyed.height and (keyed.get_column(name).dtype == pl.Date or not _constant(keyed.get_column(name)))]
    if not keyed.height or (not varying and keyed.height == 1):
        return
    if varying and good.all() and keyed.select(varying).hash_rows(seed=1).n_unique() == keyed.height:
        return
    rows = keyed.select(*dict.fromkeys((*key, *compared))).with_columns(pl.int_range(pl.len()).alias("row")).filter(pl.Series(good))
    repeated = rows.filter(pl.len().over(key) > 1)
    if not repeated.height:
        return
    marked = repeated.select(
        "row",
        (pl.struct(compared).n_unique().over(key) > 1).alias("conflict"),
        (pl.col("row") != pl.col("row").min().over(key)).alias("later"),
    )
    conflict, duplicate = np.zeros(keyed.height, dtype=bool), np.zeros(keyed.height, dtype=bool)
    conflict[marked.filter("conflict").get_column("row").to_numpy()] = True
    duplicate[marked.filter(~pl.col("conflict") & pl.col("later")).get_column("row").to_numpy()] = True
    faults.add(
        conflict,
        "conflicting_rows",
        "another row has the same key and other values; perhaps an id or segment column is missing from the export",
    )
    faults.add(duplicate, "duplicate_row", "an earlier row of the file says exactly the same")


def _constant(column: pl.Series) -> bool:
    first, last = column.head(1), column.tail(1)
    return bool(first.item() == last.item()) and column.n_unique() == 1


def _texts(frame: pl.DataFrame, layout: Layout) -> list[pl.Series]:
    if not layout.has_creatives:
        return []
    expressions = []
    for name, at in (*((name, (at,)) for name, at in layout.names.items()), *layout.creative.items()):
        parts = []
        for column in at:
            text = pl.col(str(column)).str.strip_chars()
            parts.append(pl.when(text.is_in(_BLANK)).then(None).otherwise(text))
        joined = parts[0] if len(parts) == 1 else pl.concat_str(parts, separator=" | ", ignore_nulls=True)
        joined = pl.when(joined == "").then(None).otherwise(joined)
        expressions.append((joined.str.to_lowercase() if name == "format" else joined).alias(name))
    return frame.select(expressions).get_columns() if expressions else []


def _creatives(keyed: pl.DataFrame, texts: list[pl.Series], layout: Layout) -> pl.DataFrame:
    """One row an ad: with daily rows the texts of its newest day, and the first day on which it is seen."""
    ids = [*CREATIVE_KEY, *(f"{level}_id" for level in ENTITY_LEVELS if level != "ad")]
    rows = keyed.select([*ids, *(["event_date"] if layout.has_facts else [])]).hstack(texts)
    if not layout.has_facts:
        return rows
    first = rows.group_by(CREATIVE_KEY, maintain_order=True).agg(pl.col("event_date").min().alias("first_day"))
    newest = rows.sort("event_date", maintain_order=True).unique(CREATIVE_KEY, keep="last", maintain_order=True)
    return newest.join(first, on=list(CREATIVE_KEY), how="left", maintain_order="left").drop("event_date")
