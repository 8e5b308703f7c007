"""Creative features: an ad's texts, format, call to action, audience and siblings as numbers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SchemaError
from within_pipelines.features.lexicon import COMMON, KINDS, NEGATIVE, POSITIVE
from within_pipelines.features.plain import LOOK_ALIKE, plain_text
from within_pipelines.features.remembered import FEW, Remembered
from within_pipelines.features.spec import FeatureSpec
from within_pipelines.features.text import TEXT_FEATURES, text_counts

Floats = NDArray[np.float64]

TEXT_COLUMNS: tuple[str, ...] = ("headline", "description", "call_to_action")
SIBLING_COLUMNS: tuple[str, ...] = (
    "siblings_before", "group_impressions_before", "group_clicks_before", "group_ctr_before", "account_ctr_before",
)  # fmt: skip
# Patterns are tried in this order: a "responsive video ad" is a video.
_FORMATS: tuple[tuple[str, str], ...] = (
    ("video", r"video|reel|bumper|in-?stream|spark|tiktok"),
    ("carousel", r"carousel|slideshow|multi"),
    ("collection", r"collection|instant experience|catalog"),
    ("shopping", r"shopping|product"),
    ("story", r"story|stories"),
    ("image", r"image|photo|picture|static|banner|display"),
    ("text", r"text|search|responsive|expanded|headline"),
)
_CALLS: tuple[tuple[str, str], ...] = (
    ("shop", r"shop|buy|order|add to cart|purchase"),
    ("learn", r"learn|see more|read|discover|find out|more info"),
    ("sign_up", r"sign ?up|register|join|subscribe|apply|create account"),
    ("offer", r"offer|deal|save|discount|coupon|quote|free"),
    ("contact", r"contact|call|message|chat|whatsapp|visit"),
    ("download", r"download|install|use app|play|get the app|open"),
    ("book", r"book|reserve|schedule|appointment"),
    ("watch", r"watch|listen"),
)
_PLATFORMS: tuple[tuple[str, str], ...] = (
    ("google", r"^google"),
    ("meta", r"^(meta|facebook|instagram)"),
    ("tiktok", r"^tiktok"),
)
_AUDIENCE: tuple[tuple[str, str], ...] = (
    ("female", r"\b(women|woman|female|girls?|moms?|mothers?)\b"),
    ("male", r"\b(men|man|male|boys?|dads?|fathers?)\b"),
    ("broad", r"broad|all|everyone|any"),
    ("retargeting", r"retarget|remarket|visitor|returning|cart"),
    ("lookalike", r"lookalike|similar"),
)
_KNOWN = {"format": _FORMATS, "call_to_action": _CALLS, "platform": _PLATFORMS, "audience_segment": _AUDIENCE}
_BUCKETS = {"format": 4, "call_to_action": 4, "platform": 2, "audience_segment": 8}
_SIBLING_CLICKS = 50.0  # prior clicks that pull a group's history to its account's
_SIBLING_FEATURES = ("sibling_count", "sibling_log_ctr_ratio", "sibling_reliability", "account_history_missing")


def _category_columns(name: str) -> tuple[str, ...]:
    return (*(f"{name}_{label}" for label, _ in _KNOWN[name]), *(f"{name}_other_{i}" for i in range(_BUCKETS[name])), f"{name}_missing")


_COLUMNS: tuple[str, ...] = (
    *(f"headline_{name}" for name in TEXT_FEATURES),
    *(f"description_{name}" for name in TEXT_FEATURES),
    *(column for name in _BUCKETS for column in _category_columns(name)),
    "audience_age_from",
    "audience_age_to",
    "audience_age_missing",
    "headline_in_description",
    *_SIBLING_FEATURES,
)


def _vocabulary_number() -> float:
    """A number that changes when a word list or pattern does, so that the spec's hash does."""
    content = repr([sorted(words) for words in (*KINDS.values(), POSITIVE, NEGATIVE, COMMON)])
    content += repr((_FORMATS, _CALLS, _PLATFORMS, _AUDIENCE, LOOK_ALIKE))
    return float(int(hashlib.sha256(content.encode()).hexdigest()[:12], 16))


CREATIVE_FEATURES = FeatureSpec(
    name="creative_features",
    version=2,
    entity=("platform", "account_id", "ad_id"),
    windows=(),
    measures=("headline", "description", *_BUCKETS, "siblings"),
    columns=_COLUMNS,
    parameters=(("sibling_clicks", _SIBLING_CLICKS), ("vocabulary", _vocabulary_number())),
)


def creative_features(creatives: pl.DataFrame) -> pl.DataFrame:
    """One row per creative in the given order, exactly the Float64 columns of `CREATIVE_FEATURES`, never null.

    Texts are read from `headline`, `description` and `call_to_action`, categories from `format`, `platform` and `audience_segment`;
    an absent column counts as missing in every row. Categories become indicators of a fixed vocabulary; a value outside it falls into a
    bucket by its SHA-256, the same in every process. Texts are counted as `plain_text` writes them, so that look-alike letters, invisible
    characters and repeated marks change nothing. The sibling columns of `creative_table`, where present, become
    `sibling_log_ctr_ratio` = log of the group's click-through rate before the ad's first day over the account's, shrunk by 50 clicks,
    and `sibling_reliability` in [0, 1).

    Raises `SchemaError` when there is no text column at all or a column that should hold text does not."""
    values = creative_values(creatives)
    schema = dict.fromkeys(CREATIVE_FEATURES.columns, pl.Float64)
    if len(values) <= FEW:
        return pl.DataFrame(values.tolist(), schema=schema, orient="row")
    return pl.DataFrame([pl.Series(name, values[:, i]) for i, name in enumerate(CREATIVE_FEATURES.columns)], schema=schema)


def creative_values(creatives: pl.DataFrame) -> Floats:
    """`creative_features` as a matrix, its columns those of `CREATIVE_FEATURES`.

    Raises `SchemaError` like it."""
    given = [name for name in TEXT_COLUMNS if name in creatives.columns]
    if not given:
        raise SchemaError(f"There is no text column among {creatives.columns}; give at least one of {list(TEXT_COLUMNS)}.")
    texts = {name: _plain(creatives, name) for name in ("headline", "description", *_BUCKETS)}
    return np.column_stack(
        [
            text_counts(texts["headline"]),
            text_counts(texts["description"]),
            *(_categories(name, texts[name]) for name in _BUCKETS),
            _AGES.rows(texts["audience_segment"]),
            _OVERLAPS.rows(list(zip(texts["headline"], texts["description"], strict=True))),
            _siblings(creatives),
        ]
    )


def _text(creatives: pl.DataFrame, name: str) -> list[str | None]:
    if name not in creatives.columns:
        return [None] * creatives.height
    column = creatives[name]
    # A column without a single value has whatever type its reader made up.
    if column.null_count() == len(column):
        return [None] * creatives.height
    if column.dtype not in (pl.String, pl.Categorical, pl.Null) and not isinstance(column.dtype, pl.Enum):
        raise SchemaError(f"The column {name!r} holds {column.dtype}; it should hold text.")
    texts: list[str | None] = column.cast(pl.String).to_list()
    return texts


def _plain(creatives: pl.DataFrame, name: str) -> list[str | None]:
    """The texts as `plain_text` writes them."""
    return [None if text is None else plain_text(text) for text in _text(creatives, name)]


def _categories(name: str, values: list[str | None]) -> Floats:
    distinct = {value: row for row, value in enumerate(dict.fromkeys(values))}
    table = np.array([_category(name, (value or "").lower()) for value in distinct]).reshape(-1, len(_category_columns(name)))
    return table[np.array([distinct[value] for value in values], dtype=np.int64)]


# Categories repeat from ad to ad; a single ad is answered in milliseconds.
@lru_cache(maxsize=4096)
def _category(name: str, text: str) -> tuple[float, ...]:
    """The indicators of one value: what it is known as, else its bucket, else that it is missing."""
    known = _KNOWN[name]
    row = [0.0] * (len(known) + _BUCKETS[name] + 1)
    hits = [i for i, (_, pattern) in enumerate(known) if re.search(pattern, text)] if text else []
    if not text:
        row[-1] = 1.0
    elif not hits:
        row[len(known) + int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % _BUCKETS[name]] = 1.0
    # An audience may be female and lookalike at once; a format or a call to action is one thing.
    for hit in hits if name == "audience_segment" else hits[:1]:
        row[hit] = 1.0
    return tuple(row)


def _audience_ages(values: Sequence[str | None]) -> Floats:
    """Youngest and oldest age of an audience such as "women 18-44" or "65+", in centuries; 0 and `missing` when none is named."""
    frame = pl.DataFrame({"t": pl.Series(values, dtype=pl.String).fill_null("")}).lazy()
    low = pl.coalesce(pl.col("t").str.extract(r"\b([0-9]{2})\s*(?:-|–|to)\s*[0-9]{2}\b"), pl.col("t").str.extract(r"\b([0-9]{2})\s*\+"))
    high = pl.col("t").str.extract(r"\b[0-9]{2}\s*(?:-|–|to)\s*([0-9]{2})\b")
    open_end = pl.col("t").str.contains(r"\b[0-9]{2}\s*\+")
    ages = frame.select(low=low.cast(pl.Float64), high=pl.when(open_end).then(99.0).otherwise(high.cast(pl.Float64)))
    found = ages.select(
        pl.col("low").fill_null(0.0) / 100.0,
        pl.col("high").fill_null(0.0) / 100.0,
        missing=pl.col("low").is_null().cast(pl.Float64),
    )
    return found.collect().to_numpy()


def _overlap(pairs: Sequence[tuple[str | None, str | None]]) -> Floats:
    """Share of the headline's distinct words that the description repeats."""
    word = r"[\p{L}\p{Nd}]+"
    texts = pl.DataFrame({name: pl.Series([pair[i] for pair in pairs], dtype=pl.String) for i, name in enumerate("hd")}).lazy()
    frame = texts.select(pl.col("h", "d").fill_null("").str.to_lowercase())
    words = frame.select(h=pl.col("h").str.extract_all(word).list.unique(), d=pl.col("d").str.extract_all(word))
    shared = pl.col("h").list.set_intersection("d").list.len().cast(pl.Float64)
    return words.select(shared / pl.max_horizontal(pl.col("h").list.len().cast(pl.Float64), pl.lit(1.0))).collect().to_numpy()


_AGES: Remembered[str | None] = Remembered(_audience_ages, width=3)
_OVERLAPS: Remembered[tuple[str | None, str | None]] = Remembered(_overlap, width=1)


def _siblings(creatives: pl.DataFrame) -> Floats:
    if not set(SIBLING_COLUMNS) <= set(creatives.columns):
        result = np.zeros((creatives.height, len(_SIBLING_FEATURES)))
        result[:, -1] = 1.0
        return result
    account = pl.col("account_ctr_before")
    clicks = pl.col("group_clicks_before").fill_null(0)
    # Clicks that are not known are not none: then the impressions tell nothing either.
    shown = pl.when(pl.col("group_clicks_before").is_not_null()).then(pl.col("group_impressions_before")).fill_null(0)
    expected = shown * account
    known = account.is_not_null() & (account > 0)
    ratio = ((clicks + _SIBLING_CLICKS) / (expected + _SIBLING_CLICKS)).log()
    found = creatives.select(
        sibling_count=pl.col("siblings_before").fill_null(0).cast(pl.Float64).log1p(),
        sibling_log_ctr_ratio=pl.when(known).then(ratio).otherwise(0.0).cast(pl.Float64),
        sibling_reliability=(clicks / (clicks + _SIBLING_CLICKS)).cast(pl.Float64),
        account_history_missing=(~known).fill_null(True).cast(pl.Float64),
    )
    return found.to_numpy()
