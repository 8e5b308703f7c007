"""The answers of a predictor are a sequence that becomes a table."""

from __future__ import annotations

import polars as pl

from within_pipelines.prediction import AdScorePredictor, AdScores


def test_scores_are_a_sequence_and_a_table(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    found = ad_predictor.predict(new_ads.head(8))
    assert len(found) == 8
    assert list(found) == [found[i] for i in range(8)]
    assert found[2:4] == (found[2], found[3])
    assert found[-1] in found
    table = found.to_frame()
    assert table.height == 8
    assert table["score"].to_list() == [score.score for score in found]
    assert table.schema["topic"] == pl.String


def test_no_scores_make_an_empty_table_with_the_same_columns(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    assert AdScores(()).to_frame().schema == ad_predictor.predict(new_ads.head(4)).to_frame().schema
