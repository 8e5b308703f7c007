"""Tidying changes no answer."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.conftest import Agency
from within_pipelines.files import TEMPORARY_PREFIX
from within_pipelines.pipeline import MODELS, Workspace, tidy, training_set

pytestmark = pytest.mark.slow


def test_what_nothing_needs_goes_and_every_answer_stays(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        facts = ws.lake.facts()
        sets = {model: training_set(ws, pin, model) for model in MODELS}
        ws.derived.put("creative_features", "0" * 64, pl.DataFrame({"old": [1]}))
        newest = ws.derived.latest("metric_series")
        ws.derived.put("metric_series", "0" * 64, pl.DataFrame({"new": [1]}))
        (ws.settings.artifacts / f"{TEMPORARY_PREFIX}rest").write_text("half")
        tidied = tidy(ws)
        assert newest is not None
        assert ws.derived.get("metric_series", newest[0]) is None
        assert tidied.temporaries_removed == 1
        assert tidied.tables_forgotten >= 2
        assert ws.lake.facts().equals(facts)
        for model, rows in sets.items():
            assert training_set(ws, pin, model).equals(rows)
            champion = ws.registry.alias(model, "champion")
            assert champion is not None
            assert ws.artifacts.verify(champion)
