from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction import AccountHealthPredictor


def test_two_fits_write_the_same_bytes_and_loading_gives_the_same_answers(
    health_rows: pl.DataFrame, health_predictor: AccountHealthPredictor, tmp_path: Path
) -> None:
    first = health_predictor.save(tmp_path / "one")
    assert AccountHealthPredictor().fit(health_rows).save(tmp_path / "two") == first
    pandas = health_rows.to_pandas().set_index(pd.Index([3] * health_rows.height))
    assert AccountHealthPredictor().fit(pandas.drop(columns="degraded"), pandas["degraded"]).save(tmp_path / "three") == first
    assert AccountHealthPredictor().fit(health_rows, seed=8).save(tmp_path / "four") != first
    loaded = AccountHealthPredictor.load(tmp_path / "one")
    assert loaded.predict(health_rows.head(50)) == health_predictor.predict(health_rows.head(50))
    assert loaded.save(tmp_path / "again") == first


def test_an_artifact_of_another_model_or_a_damaged_one_is_refused(
    health_predictor: AccountHealthPredictor, ad_predictor: Any, tmp_path: Path
) -> None:
    ad_predictor.save(tmp_path / "ad")
    with pytest.raises(ArtifactError, match="holds a ad_score model, not account_health"):
        AccountHealthPredictor.load(tmp_path / "ad")
    health_predictor.save(tmp_path / "health")
    (tmp_path / "health" / "model.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"changed after it was written: model\.json"):
        AccountHealthPredictor.load(tmp_path / "health")


def test_an_artifact_of_other_parts_is_refused(health_rows: pl.DataFrame, tmp_path: Path) -> None:
    from within_pipelines.prediction.artifact import write_artifact

    write_artifact(tmp_path / "old", {"model.json": b'{"linear": {}}'}, {"model": "account_health", "kind": "persistence"})
    with pytest.raises(ArtifactError, match=r"was written by an older version that kept other parts; train the model again"):
        AccountHealthPredictor.load(tmp_path / "old")
