"""An unfitted predictor answers with the champion, or says how to get one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from within_pipelines.exceptions import NotFittedError
from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, champion_folder, set_champion_source


class Shelf:
    """Knows the champions of some models."""

    def __init__(self, **folders: Path) -> None:
        self.folders = folders

    def artifact_folder(self, model: str) -> Path | None:
        return self.folders.get(model)


def test_without_a_source_or_a_champion_the_way_out_is_named() -> None:
    with pytest.raises(NotFittedError, match=r"This ad_score predictor is not fitted and no champion is registered.*`within run`"):
        champion_folder("ad_score")
    set_champion_source(Shelf())
    with pytest.raises(NotFittedError, match="within run"):
        champion_folder("ad_score")


def test_a_source_can_be_forgotten(tmp_path: Path) -> None:
    set_champion_source(Shelf(ad_score=tmp_path))
    assert champion_folder("ad_score") == tmp_path
    set_champion_source(None)
    with pytest.raises(NotFittedError):
        champion_folder("ad_score")


def test_unfitted_predictors_say_so(ads: pl.DataFrame, health_rows: pl.DataFrame, tmp_path: Path) -> None:
    for unfitted, rows in ((AdScorePredictor(), ads), (AccountHealthPredictor(), health_rows)):
        assert not unfitted.fitted
        for asked in (unfitted.predict, unfitted.explain):
            with pytest.raises(NotFittedError, match=f"This {unfitted.model} predictor.*`within run`"):
                asked(rows)
        with pytest.raises(NotFittedError, match=r"call fit\(\)"):
            unfitted.save(tmp_path / "nothing")
    with pytest.raises(NotFittedError, match=r"call fit\(\)"):
        AccountHealthPredictor().probability(health_rows)
    with pytest.raises(NotFittedError, match=r"call fit\(\)"):
        AdScorePredictor().contrasts(ads)
    assert list(tmp_path.iterdir()) == []


def test_unfitted_predictors_become_the_champion(
    ad_predictor: AdScorePredictor,
    health_predictor: AccountHealthPredictor,
    new_ads: pl.DataFrame,
    health_rows: pl.DataFrame,
    tmp_path: Path,
) -> None:
    ad_predictor.save(tmp_path / "ad")
    health_predictor.save(tmp_path / "health")
    set_champion_source(Shelf(ad_score=tmp_path / "ad", account_health=tmp_path / "health"))
    asked = AdScorePredictor(kind="longer_headline")
    assert asked.predict(new_ads) == ad_predictor.predict(new_ads)
    assert asked.kind == "stack"
    assert AdScorePredictor().explain(new_ads).equals(ad_predictor.explain(new_ads))
    some = health_rows.head(30)
    assert AccountHealthPredictor().predict(some) == health_predictor.predict(some)
    assert AccountHealthPredictor().explain(some).equals(health_predictor.explain(some))
