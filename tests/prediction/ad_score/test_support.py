"""What is unlike the training ads is said to be."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.prediction.ad_score.fakes import FakeEncoder
from tests.prediction.worlds import creatives
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.support import Support


def test_new_ads_of_the_same_kind_are_supported_and_strange_ones_are_not(ad_predictor: AdScorePredictor, new_ads: pl.DataFrame) -> None:
    assert ad_predictor.predict(new_ads).to_frame()["out_of_support"].mean() < 0.05  # type: ignore[operator]
    strange = pl.DataFrame({"headline": ["Qwertz uiop", "garden " * 80, "", None]})
    found = ad_predictor.predict(strange)
    assert all(score.out_of_support for score in found)
    assert "0% of its words are known" in found[0].support_reasons
    assert "headline characters beyond those of the training ads" in found[1].support_reasons


def test_a_headline_that_means_something_else_is_outside() -> None:
    ads = creatives(30)
    encoder = FakeEncoder()
    inputs = Inputs.learn(ads, features=["headline_characters"], words=False, encoder=encoder)
    rows = ads.with_columns(headline_characters=pl.lit(1.0))
    support = Support.learn(inputs, rows, inputs.matrix(rows), seed=1)
    inside = support.reasons(inputs, rows, inputs.matrix(rows))
    assert np.mean([bool(reasons) for reasons in inside]) <= 0.02
    far = rows.head(1).with_columns(headline=pl.lit("FAR"))
    assert support.reasons(inputs, far, inputs.matrix(far)) == [("its headline means something unlike the training ads",)]


def test_the_distance_is_that_of_mahalanobis() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((400, 3)) * [1, 5, 0.2] + 2
    ads = pl.DataFrame({"headline": [f"h{i}" for i in range(400)], "headline_characters": [1.0] * 400})
    encoder = FakeEncoder(dict(zip(ads["headline"].to_list(), points, strict=True)))
    inputs = Inputs.learn(ads, features=["headline_characters"], words=False, encoder=encoder)
    support = Support.learn(inputs, ads, inputs.matrix(ads), seed=1)
    centred = points.astype(np.float32) - points.astype(np.float32).mean(axis=0)
    wanted = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(centred.T)), centred)
    np.testing.assert_allclose(support.distance(points.astype(np.float32)), wanted, rtol=1e-4)


def test_it_survives_its_format(ad_predictor: AdScorePredictor) -> None:
    support = ad_predictor._state.support
    again = Support.restored(support.to_dict(), support.arrays())
    assert again.ranges == support.ranges
    assert again.known_share == support.known_share
    assert again.seen == support.seen


def test_a_platform_format_or_audience_that_no_training_ad_had_is_said(ad_predictor: AdScorePredictor) -> None:
    rows = pl.DataFrame(
        {"headline": ["Free coffee garden shoes"] * 2, "platform": ["Google_Ads ", "mars_ads"], "format": ["image", "hologram"]}
    )
    rows = rows.with_columns(audience_segment=pl.Series([None, "x"]))
    known, strange = ad_predictor.predict(rows)
    assert not known.out_of_support
    assert strange.support_reasons == (
        "no training ad had this platform", "no training ad had this format", "no training ad had this audience segment",
    )  # fmt: skip


def test_alike_ads_leave_no_direction_to_be_far_in() -> None:
    ads = pl.DataFrame({"headline": ["same"] * 20, "headline_characters": [1.0] * 20})
    inputs = Inputs.learn(ads, features=["headline_characters"], words=False, encoder=FakeEncoder())
    support = Support.learn(inputs, ads, inputs.matrix(ads), seed=1)
    assert support.farthest == np.inf
    assert support.to_dict()["farthest"] is None
    assert support.reasons(inputs, ads.head(1), inputs.matrix(ads.head(1))) == [()]
    assert Support.restored(support.to_dict(), support.arrays()).farthest == np.inf


@pytest.mark.parametrize("values", [[np.nan, np.nan]])
def test_a_feature_that_is_never_known_limits_nothing(values: list[float]) -> None:
    ads = pl.DataFrame({"headline": ["a", "b"], "headline_characters": values})
    inputs = Inputs.learn(ads, features=["headline_characters"], words=False, encoder=None)
    assert Support.learn(inputs, ads, inputs.matrix(ads), seed=1).ranges == {"headline_characters": (-np.inf, np.inf)}
