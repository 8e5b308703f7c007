from __future__ import annotations

from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from tests.prediction.anomaly.metrics import daily, fitted, old, steady
from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction.anomaly import AnomalyDetector

KINDS = ("ensemble_tail", "trailing_z")


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_detector_answers_the_same_and_saves_to_the_same_bytes(kind: str, tmp_path: Path) -> None:
    detector, frame = fitted(kind=kind, sensitivity=0.9)
    digest = detector.save(tmp_path / "one")
    assert AnomalyDetector(kind=kind, sensitivity=0.9).fit(old(daily(steady(1)))).save(tmp_path / "two") == digest
    loaded = AnomalyDetector.load(tmp_path / "one")
    assert (loaded.model_kind, loaded.sensitivity, loaded.fitted) == (kind, 0.9, True)
    assert_frame_equal(loaded.score_series(frame), detector.score_series(frame), check_exact=True)


def test_a_changed_or_foreign_artifact_is_refused(tmp_path: Path) -> None:
    detector, _ = fitted()
    detector.save(tmp_path / "model")
    (tmp_path / "model" / "detector.json").write_bytes(b"0")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        AnomalyDetector.load(tmp_path / "model")
    from within_pipelines.prediction.artifact import write_artifact

    write_artifact(tmp_path / "other", {"x.json": b"{}"}, {"model": "ad_score"})
    with pytest.raises(ArtifactError, match="holds a ad_score model, not anomaly"):
        AnomalyDetector.load(tmp_path / "other")
