"""The tables of the lake, column by column."""

from __future__ import annotations

import pyarrow as pa

UTC_TIME = pa.timestamp("us", tz="UTC")

# What identifies a fact: the same key on the same day is the same fact, whatever is reported about it later. Strings are never null;
# "" means "not at this grain".
FACT_KEY: tuple[str, ...] = (
    "platform",  # google_ads, meta_ads, tiktok_ads, or the platform that a mapping names
    "account_id",
    "campaign_id",
    "ad_group_id",
    "ad_id",
    "breakdown",  # "" or sorted "name=value" pairs joined by "|", e.g. "age=18-24|gender=female"
    "attribution",  # attribution setting as exported, "" when the export does not say
    "event_date",
)

MEASURES: tuple[str, ...] = ("impressions", "clicks", "reach", "spend_micros", "conversions", "revenue_micros")

# Columns that a reader fills. Measures are null where the export does not report them, never zero.
FACT_COLUMNS = pa.schema(
    [
        pa.field("platform", pa.string(), nullable=False),
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("campaign_id", pa.string(), nullable=False),
        pa.field("ad_group_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string(), nullable=False),
        pa.field("breakdown", pa.string(), nullable=False),
        pa.field("attribution", pa.string(), nullable=False),
        # Level and breakdown names, e.g. "ad", "campaign", "ad|age,gender". A read chooses exactly one, so nothing is summed twice.
        pa.field("grain", pa.string(), nullable=False),
        pa.field("event_date", pa.date32(), nullable=False),  # the account's own calendar day
        pa.field("currency", pa.string(), nullable=False),  # ISO 4217; "XXX" (no currency) when the export has no money
        pa.field("timezone", pa.string(), nullable=False),  # IANA name of the account's time zone
        pa.field("impressions", pa.int64()),
        pa.field("clicks", pa.int64()),
        pa.field("reach", pa.int64()),
        pa.field("spend_micros", pa.int64()),  # millionths of the currency's unit
        pa.field("conversions", pa.float64()),  # platforms credit fractions of conversions
        pa.field("revenue_micros", pa.int64()),
        pa.field("as_of", UTC_TIME, nullable=False),  # when the platform reported this
        pa.field("as_of_source", pa.string(), nullable=False),  # file | sidecar | assumed_lag
        pa.field("file_sha256", pa.string(), nullable=False),
    ]
)

# Columns that the lake adds when it commits.
COMMIT_COLUMNS: tuple[pa.Field, ...] = (
    pa.field("ingested_at", UTC_TIME, nullable=False),
    pa.field("commit_seq", pa.int64(), nullable=False),
)
PARTITION_COLUMNS: tuple[pa.Field, ...] = (
    pa.field("event_month", pa.string(), nullable=False),  # "2026-03"
    pa.field("account_bucket", pa.int32(), nullable=False),  # stable hash of (platform, account_id)
)

CREATIVE_KEY: tuple[str, ...] = ("platform", "account_id", "ad_id")
CREATIVE_COLUMNS = pa.schema(
    [
        pa.field("platform", pa.string(), nullable=False),
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("campaign_id", pa.string(), nullable=False),
        pa.field("ad_group_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string(), nullable=False),
        pa.field("campaign_name", pa.string()),
        pa.field("ad_group_name", pa.string()),
        pa.field("ad_name", pa.string()),
        pa.field("headline", pa.string()),
        pa.field("description", pa.string()),
        pa.field("call_to_action", pa.string()),
        pa.field("format", pa.string()),  # image, video, carousel, text, ... as exported, lower case
        pa.field("audience_segment", pa.string()),
        pa.field("image_path", pa.string()),
        pa.field("as_of", UTC_TIME, nullable=False),
        pa.field("as_of_source", pa.string(), nullable=False),
        pa.field("file_sha256", pa.string(), nullable=False),
    ]
)

QUARANTINE_COLUMNS = pa.schema(
    [
        pa.field("file_sha256", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),  # as landed, relative to the landing folder, escaped to printable text
        pa.field("row_number", pa.int64(), nullable=False),  # 1-based line of the file; 0 when the file as a whole was refused
        pa.field("reason", pa.string(), nullable=False),  # a short code: negative_spend, bad_date, range_row, ...
        pa.field("detail", pa.string(), nullable=False),  # one readable sentence
        pa.field("raw", pa.string(), nullable=False),  # the row as found
    ]
)

INGEST_LOG_COLUMNS = pa.schema(
    [
        pa.field("file_sha256", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("platform", pa.string(), nullable=False),  # "" when the file was refused as a whole
        pa.field("status", pa.string(), nullable=False),  # ingested | refused
        pa.field("kind", pa.string(), nullable=False),  # facts | creatives | both | ""
        pa.field("rows_in", pa.int64(), nullable=False),
        pa.field("rows_accepted", pa.int64(), nullable=False),  # new or changed
        pa.field("rows_unchanged", pa.int64(), nullable=False),  # the lake already knew exactly this
        pa.field("rows_quarantined", pa.int64(), nullable=False),
        pa.field("first_date", pa.date32()),
        pa.field("last_date", pa.date32()),
        pa.field("covered", pa.list_(pa.string())),  # "platform/account_id" of every account in the file
        pa.field("as_of", UTC_TIME),
        pa.field("reason", pa.string(), nullable=False),  # why the file was refused, else ""
    ]
)
