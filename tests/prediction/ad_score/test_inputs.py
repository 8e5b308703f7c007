"""What the model sees of a creative, and how it is added up again for a person."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.prediction.ad_score.fakes import FakeEncoder
from within_pipelines.prediction.ad_score.inputs import BLOCKS, Inputs

ADS = pl.DataFrame(
    {
        "headline": ["Free coffee", "Free shoes", "Boring coffee", "Free coffee shoes"] * 5,
        "description": ["Order coffee", None, "Order now", None] * 5,
        "headline_words": [1.0, 2.0, 3.0, 4.0] * 5,
    }
)


def learned(encoder: FakeEncoder | None = None, frame: pl.DataFrame = ADS) -> Inputs:
    return Inputs.learn(frame, features=["headline_words"], words=True, encoder=encoder)


def test_columns_come_in_the_order_of_their_names() -> None:
    found = learned()
    assert found.names == ["headline_words", "word:coffee", "word:free", "word:order", "word:shoes"]
    x = found.matrix(ADS.head(2))
    assert x.tolist() == [[1, 1, 1, 1, 0], [2, 0, 1, 0, 1]]
    assert found.idf[found.vocabulary.index("order")] > found.idf[found.vocabulary.index("coffee")]


def test_texts_that_most_ads_lack_are_not_encoded_and_each_text_is_encoded_once() -> None:
    encoder = FakeEncoder()
    found = learned(encoder)
    assert found.meanings == ("headline", "description")
    assert found.names[-2:] == ["meaning:headline", "meaning:description"]
    x = found.matrix(ADS)
    assert x.shape == (20, 5 + 16)
    np.testing.assert_allclose(x[0, 5:13], encoder._vector("Free coffee"), rtol=1e-6)
    assert not x[1, 13:].any()
    assert len(encoder.asked) == 4 + 3
    rare = ADS.with_columns(description=pl.when(pl.int_range(20) == 0).then(pl.lit("x")))
    assert learned(encoder, rare).meanings == ("headline",)
    assert learned(encoder, ADS.drop("description")).meanings == ("headline",)


def test_contributions_of_a_meaning_are_added_up() -> None:
    found = learned(FakeEncoder())
    parts = np.arange(21.0)[None]
    assert found.explained(parts)[0].tolist() == [0, 1, 2, 3, 4, sum(range(5, 13)), sum(range(13, 21))]
    assert learned().explained(parts[:, :5]).tolist() == parts[:, :5].tolist()


def test_blocks_add_up_to_all_contributions_and_a_word_counts_where_it_stands() -> None:
    found = learned(FakeEncoder())
    # coffee stands in headline and description, free in the headline, order in the description, shoes nowhere.
    parts = np.array([[10.0, 4.0, 1.0, 2.0, 0.5, 100.0, 1000.0]])
    blocks = found.blocks(ADS.head(1), parts)
    assert blocks["headline"][0] == 10 + 2 + 1 + 0.5 + 100
    assert blocks["description"][0] == 2 + 2 + 1000
    assert sum(values[0] for values in blocks.values()) == parts.sum()
    assert set(blocks) == set(BLOCKS)


def test_every_feature_has_a_block_and_history_belongs_to_the_siblings() -> None:
    from within_pipelines.features import CREATIVE_FEATURES

    inputs = Inputs(CREATIVE_FEATURES.columns, (), np.zeros(0), (), None)
    one = np.eye(len(inputs.names))
    frame = pl.DataFrame({"headline": ["x"] * len(one)})
    blocks = inputs.blocks(frame, one)
    where = {name: next(b for b, values in blocks.items() if values[i]) for i, name in enumerate(inputs.names)}
    assert where["sibling_log_ctr_ratio"] == "siblings"
    assert where["account_history_missing"] == "siblings"
    assert where["audience_age_from"] == "audience"
    assert where["format_video"] == "format"
    assert where["headline_in_description"] == "headline"


def test_the_share_of_known_words() -> None:
    rows = pl.DataFrame({"headline": ["free zebra", None], "description": ["coffee", None]})
    assert learned().known_share(rows) == [pytest.approx(2 / 3), 0.0]
