"""On 2,491 real headline experiments (Upworthy Research Archive) the ad score tells the better sibling from the worse."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.prediction import AdScorePredictor, evaluate_ad_score
from within_pipelines.prediction.encoder import MINILM, installed


def _number(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)


def packages(path: Path, *, groups: int) -> pl.DataFrame:
    """Headlines that competed under the same picture, `groups` such groups chosen by a hash of their name."""
    ads = pl.read_parquet(path).filter(pl.col("impressions") > 0)
    ads = ads.with_columns(group_id=pl.concat_str("clickability_test_id", pl.col("eyecatcher_id").fill_null(""), separator="/"))
    ads = ads.filter(pl.len().over("group_id") > 1)
    chosen = sorted(ads["group_id"].unique().to_list(), key=_number)[:groups]
    return ads.filter(pl.col("group_id").is_in(chosen)).sort("group_id", "headline", "impressions").with_columns(first_day=date(2014, 1, 1))


# Measured here, all pairs and significant ones, by encoder: the mean of two fits with seeds 7 and 8, which differ by up to .013. The test
# asks for two hundredths less, because another machine's last digits move a fit about as much as another seed does.
MEASURED = {"all-MiniLM-L6-v2": (0.576, 0.676), "none": (0.553, 0.628)}
MARGIN = 0.02


@pytest.mark.slow
def test_the_better_headline_of_unseen_stories_is_told_from_the_worse(public_data: Path) -> None:
    encoder = MINILM.name if installed(MINILM) else "none"
    ads = packages(public_data / "upworthy_packages.parquet", groups=1700)
    stories = sorted(ads["story_id"].unique().to_list())
    unseen = pl.col("story_id").is_in([story for story in stories if _number(story) % 10 < 3])
    fitted_on, test = ads.filter(~unseen), ads.filter(unseen).filter(pl.len().over("group_id") > 1)
    candidate = AdScorePredictor(encoder=encoder).fit(fitted_on)
    rival = AdScorePredictor(kind="longer_headline").fit(fitted_on)
    found = evaluate_ad_score(candidate, rival, test, rng=np.random.default_rng(1), n_resamples=100)
    assert found.n["groups"] > 400
    every, significant = MEASURED[encoder]
    assert found.metrics["pairwise_accuracy_all"].value > every - MARGIN
    assert found.metrics["pairwise_accuracy_significant"].value > significant - MARGIN
    assert (found.difference.low if encoder != "none" else found.difference.value) > 0  # words alone gain .02 [.00, .04]
    assert found.metrics["coverage_90"].value == pytest.approx(0.9, abs=0.03)
