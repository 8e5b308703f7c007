"""Where in a file each fact stands: what a platform's header or a declared mapping is turned into before any row is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from within_pipelines.ingest.decode import RefusedFileError
from within_pipelines.ingest.dialects import BREAKDOWN_PREFIX, CREATIVE_ROLES, ENTITY_LEVELS, MEASURE_ROLES, language, role_of


@dataclass(frozen=True, slots=True)
class Part:
    """A value per row: one column, several joined by "/", the row's number, or one constant."""

    columns: tuple[int, ...] = ()
    constant: str | None = None
    row_number: bool = False
    derived_from_name: bool = False


@dataclass(frozen=True, slots=True)
class Days:
    """Where the day of a row stands; exactly one of the ways is used."""

    column: int | None = None
    format: str | None = None
    start: int | None = None  # a range: only rows whose start equals their end are days
    end: int | None = None
    month: int | None = None
    day: int | None = None
    year_column: int | None = None
    year: int | None = None
    iso_week: int | None = None
    constant: str | None = None
    whole_range: str = ""  # name of the column when every row covers a week, month, quarter or year

    @property
    def absent(self) -> bool:
        """Whether the file says nothing about days."""
        return (
            self.column is None and self.start is None and self.month is None and self.iso_week is None
            and self.constant is None and not self.whole_range
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """A numeric column; `unit` is "count", "number", "currency" (units of money) or "micros"."""

    column: int
    unit: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands."""

    platform: str
    days: Days
    account: Part | None
    entities: dict[str, Part]  # campaign, ad_group, ad
    measures: dict[str, Measure]  # by fact column
    currency: Part | None
    header_currency: str | None = None
    timezone: str | None = None
    breakdowns: tuple[tuple[str, int], ...] = ()  # sorted by name
    values: dict[str, dict[str, str]] = field(default_factory=dict)  # breakdown name -> value as found -> value
    attribution: Part | None = None
    creative: dict[str, tuple[int, ...]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)  # campaign_name, ad_group_name, ad_name
    result_type: int | None = None  # column that says what the conversions column counts
    clicks_may_exceed: bool = False
    video_columns: tuple[int, ...] = ()  # columns in which "video" excuses more clicks than impressions
    decimal: str | None = None
    language: str = "en"

    @property
    def level(self) -> str:
        """Deepest entity that a row is about."""
        return next((level for level in reversed(ENTITY_LEVELS) if level in self.entities), "account")

    @property
    def grain(self) -> str:
        """Level and breakdown names, e.g. "ad|age,gender"."""
        names = ",".join(name for name, _ in self.breakdowns)
        return f"{self.level}|{names}" if names else self.level

    @property
    def has_facts(self) -> bool:
        """Whether any metric column is there."""
        return bool(self.measures)

    @property
    def has_creatives(self) -> bool:
        """Whether rows describe ads.

        A report with metrics counts only when it holds the ad's text or image: names or a format alone would replace, as the
        newest knowledge, texts that another report brought."""
        if "ad" not in self.entities:
            return False
        if not self.has_facts:
            return True
        return any(role in self.creative for role in ("headline", "description", "image_path"))

    @property
    def money(self) -> bool:
        """Whether a money column is there."""
        return "spend_micros" in self.measures or "revenue_micros" in self.measures


_NUMBERED = ("headline", "description")
_UNITS = {
    "impressions": ("impressions", "count"),
    "clicks": ("clicks", "count"),
    "reach": ("reach", "count"),
    "spend": ("spend_micros", "currency"),
    "spend_micros": ("spend_micros", "micros"),
    "conversions": ("conversions", "number"),
    "revenue": ("revenue_micros", "currency"),
    "revenue_micros": ("revenue_micros", "micros"),
}


@lru_cache(maxsize=1024)
def platform_layout(platform: str, header: tuple[str, ...]) -> Layout:
    """The layout of a platform's own export.

    Raises `RefusedFileError` when a column that is needed stands twice or is missing."""
    best: dict[str, tuple[int, int, str]] = {}
    several: dict[str, list[tuple[int, int]]] = {}
    for position, name in enumerate(header):
        known = role_of(platform, name)
        if known is None:
            continue
        role, rank, currency = known
        several.setdefault(role, []).append((rank, position))
        if role not in best or rank < best[role][0]:
            best[role] = (rank, position, currency)
    columns = {role: position for role, (_, position, _) in best.items()}
    for role, (best_rank, position, _) in best.items():
        if sum(rank == best_rank for rank, _ in several[role]) > 1:
            name = header[position].strip()
            raise RefusedFileError("duplicate_column", f"the header holds {name!r} more than once, and nothing says which one counts")
    entities = {
        level: Part((columns[f"{level}_{kind}"],), derived_from_name=kind == "name")
        for level in ENTITY_LEVELS
        for kind in ("name", "id")  # the id wins where both are there
        if f"{level}_{kind}" in columns
    }
    measures: dict[str, Measure] = {}
    for role in MEASURE_ROLES:
        if role in columns:
            fact_column, unit = _UNITS[role]
            measures.setdefault(fact_column, Measure(columns[role], unit))
    result_type = None
    if platform == "meta_ads" and "conversions" not in measures and {"results", "result_type"} <= set(columns):
        measures["conversions"] = Measure(columns["results"], "number")
        result_type = columns["result_type"]
    headers = {currency for _, _, currency in best.values() if currency}
    if len(headers) > 1:
        raise RefusedFileError("currency_conflict", f"the header names several currencies: {', '.join(sorted(headers))}; export them apart")
    clicks = measures.get("clicks")
    return Layout(
        platform=platform,
        days=_days(columns, header),
        account=Part((columns["account_id"],)) if "account_id" in columns else None,
        entities=entities,
        measures=measures,
        currency=Part((columns["currency"],)) if "currency" in columns else None,
        header_currency=next(iter(headers), None),
        breakdowns=tuple(sorted((role.removeprefix(BREAKDOWN_PREFIX), at) for role, at in columns.items() if role[:3] == BREAKDOWN_PREFIX)),
        attribution=Part((columns["attribution"],)) if "attribution" in columns else None,
        creative={
            # A responsive search ad has up to fifteen headlines; elsewhere several columns are several names of one text.
            role: tuple(at for _, at in sorted(several[role])) if platform == "google_ads" and role in _NUMBERED else (columns[role],)
            for role in CREATIVE_ROLES if role in columns
        },
        names={f"{level}_name": columns[f"{level}_name"] for level in ENTITY_LEVELS if f"{level}_name" in columns},
        result_type=result_type,
        # Meta counts every tap on the ad in "Clicks (all)", and TikTok counts clicks of replayed videos.
        clicks_may_exceed=platform == "tiktok_ads" or (clicks is not None and "(al" in header[clicks.column].casefold()),
        video_columns=tuple(columns[role] for role in ("format", "campaign_type") if role in columns) if platform == "google_ads" else (),
        language=language(header),
    )  # fmt: skip


def _days(columns: dict[str, int], header: tuple[str, ...]) -> Days:
    if "date" in columns:
        return Days(column=columns["date"])
    if "range_start" in columns and "range_end" in columns:
        return Days(start=columns["range_start"], end=columns["range_end"])
    for role in ("week", "month", "quarter", "year"):
        if role in columns:
            return Days(whole_range=header[columns[role]].strip())
    return Days()


# Where to add a missing column, in the platform's own words.
REPORT_EDITORS = {
    "google_ads": {
        "account": 'add the column "Customer ID" (Attributes) in the report editor',
        "currency": 'add the column "Currency code" (Attributes) in the report editor',
        "date": 'add "Day" (Segments > Time) in the report editor',
    },
    "meta_ads": {
        "account": 'add "Account ID" (Columns > Customise columns) in Ads Manager\'s Ads reporting',
        "currency": 'export "Amount spent" with its currency, or add the column "Currency"',
        "date": 'choose Breakdown > By time > Day before exporting',
    },
    "tiktok_ads": {
        "account": 'add the dimension "Advertiser ID" in a custom report',
        "currency": 'add the column "Currency" in a custom report',
        "date": 'add the dimension "By Day" in a custom report',
    },
}  # fmt: skip


def advice(platform: str, what: str) -> str:
    """What to change in the platform's report so that the column is there."""
    return REPORT_EDITORS.get(platform, {}).get(what, f"declare `{what}` in the mapping")
