"""Predictors fitted once for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest

from tests.prediction.worlds import creatives, feature_rows
from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, set_champion_source


@pytest.fixture(autouse=True)
def _no_champion() -> Iterator[None]:
    set_champion_source(None)
    yield
    set_champion_source(None)


@pytest.fixture(scope="session")
def ads() -> pl.DataFrame:
    """A hundred groups of four ads."""
    return creatives()


@pytest.fixture(scope="session")
def new_ads() -> pl.DataFrame:
    """Groups that no predictor has seen."""
    return creatives(60, seed=6, first=100)


@pytest.fixture(scope="session")
def ad_predictor(ads: pl.DataFrame) -> AdScorePredictor:
    """The blend, fitted on `ads`."""
    return AdScorePredictor(encoder="none").fit(ads)


@pytest.fixture(scope="session")
def longer_headline(ads: pl.DataFrame) -> AdScorePredictor:
    """The simple rival, fitted on `ads`."""
    return AdScorePredictor(kind="longer_headline").fit(ads)


@pytest.fixture(scope="session")
def health_rows() -> pl.DataFrame:
    """Feature rows with planted drops."""
    return feature_rows()


@pytest.fixture(scope="session")
def health_predictor(health_rows: pl.DataFrame) -> AccountHealthPredictor:
    """The calibrated blend, fitted on `health_rows`."""
    return AccountHealthPredictor().fit(health_rows)
