from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from within_pipelines.exceptions import SchemaError
from within_pipelines.features import ACCOUNT_FEATURES, CREATIVE_FEATURES, creative_features

text = st.one_of(st.none(), st.text(max_size=60))


def row(**columns: object) -> dict[str, float]:
    return creative_features(pl.DataFrame({name: [value] for name, value in columns.items()})).to_dicts()[0]


def test_a_headline_is_counted_by_hand() -> None:
    found = row(headline="WOW: why 3 mothers love 12.5% off, “really”? Try it!", description=None)
    expected = {
        "headline_missing": 0, "headline_words": math.log1p(8), "headline_digits": 4, "headline_numbers": 2, "headline_question": 1,
        "headline_exclamation": 1, "headline_sentences": 2, "headline_capital_words": 1, "headline_quotes": 2, "headline_percent_sign": 1,
        "headline_people_words": 1, "headline_price_words": 1, "headline_curiosity_words": 2, "headline_positive_words": 1,
        "headline_sentiment": 0.5, "headline_distinct_share": 1, "description_missing": 1, "description_words": 0,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_phrases_and_rare_words_are_found() -> None:
    found = row(headline="Only while stocks last: synergistic espresso for your family")
    assert found["headline_urgency_words"] == 2  # the phrase and its word "last"
    assert found["headline_jargon_words"] == 1
    assert found["headline_rare_word_share"] == pytest.approx(3 / 9)  # stocks, synergistic, espresso
    assert found["headline_long_word_share"] == pytest.approx(1 / 9)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"headline": text, "description": text, "call_to_action": text, "format": text}), min_size=1, max_size=6)
)
def test_any_text_gives_finite_numbers_row_by_row(rows: list[dict[str, str | None]]) -> None:
    schema = dict.fromkeys(("headline", "description", "call_to_action", "format"), pl.String)
    table = creative_features(pl.DataFrame(rows, schema=schema))
    assert table.columns == list(CREATIVE_FEATURES.columns)
    assert set(table.dtypes) == {pl.Float64}
    assert np.isfinite(table.to_numpy()).all()
    alone = pl.concat([creative_features(pl.DataFrame([row], schema=schema)) for row in rows])
    assert_frame_equal(alone, table, abs_tol=1e-12)


def test_categories_are_read_as_platforms_write_them() -> None:
    found = row(
        headline="x", format="Responsive video ad", call_to_action="SHOP_NOW", platform="google_ads", audience_segment="women 18-44"
    )
    on = {name for name in CREATIVE_FEATURES.columns if name.startswith(("format_", "call_", "platform_", "audience_")) and found[name]}
    assert on == {
        "format_video",
        "call_to_action_shop",
        "platform_google",
        "audience_segment_female",
        "audience_age_from",
        "audience_age_to",
    }
    assert (found["audience_age_from"], found["audience_age_to"]) == (0.18, 0.44)
    assert row(headline="x", audience_segment="men 65+")["audience_age_to"] == 0.99


def test_an_unknown_category_falls_into_the_same_bucket_in_every_process() -> None:
    found = row(headline="x", format="hologram", platform="pinterest_ads", audience_segment="cat owners")
    on = [name for name in CREATIVE_FEATURES.columns if "_other_" in name and found[name]]
    assert on == ["format_other_2", "platform_other_0", "audience_segment_other_6"]
    assert row(headline="x")["format_missing"] == 1


def test_siblings_count_relative_to_their_account() -> None:
    before = {
        "siblings_before": 3,
        "group_impressions_before": 10_000,
        "group_clicks_before": 450,
        "group_ctr_before": 0.045,
        "account_ctr_before": 0.03,
    }
    found = row(headline="x", **before)
    assert found["sibling_log_ctr_ratio"] == pytest.approx(math.log(500 / 350))
    assert found["sibling_reliability"] == pytest.approx(450 / 500)
    assert found["sibling_count"] == pytest.approx(math.log(4))
    assert row(headline="x", **{**before, "group_clicks_before": None})["sibling_log_ctr_ratio"] == 0
    new = row(headline="x", **{**before, "account_ctr_before": None})
    assert (new["sibling_log_ctr_ratio"], new["account_history_missing"]) == (0, 1)
    assert row(headline="x")["account_history_missing"] == 1


def test_a_table_without_text_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"no text column among \['format'\]; give at least one of \['headline'"):
        creative_features(pl.DataFrame({"format": ["image"]}))
    with pytest.raises(SchemaError, match="column 'headline' holds Int64"):
        creative_features(pl.DataFrame({"headline": [1]}))


def test_a_specs_hash_is_its_definition() -> None:
    assert CREATIVE_FEATURES.sha256 != ACCOUNT_FEATURES.sha256
    assert len(set(CREATIVE_FEATURES.columns)) == len(CREATIVE_FEATURES.columns)
    assert len(CREATIVE_FEATURES.sha256) == 64
