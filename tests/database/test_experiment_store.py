"""Experiments are kept as they were planned, and every look with them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from within_pipelines.database import Database, ExperimentRepository, GoldenResultRepository
from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.validation import ExperimentSpec, ExperimentState, ExperimentStateError, Metric

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SPEC = ExperimentSpec("headline", {"new": 0.5, "old": 0.5}, "old", Metric("clicks"), minimum_effect=0.1, planned_units=100, key="k")


def test_an_experiment_goes_through_its_life_and_keeps_its_looks(database: Database) -> None:
    repository = ExperimentRepository(database)
    repository.create(SPEC, now=NOW)
    with pytest.raises(ExperimentStateError, match="give a new one a new name"):
        repository.create(SPEC, now=NOW)
    with pytest.raises(ExperimentStateError, match="draft cannot stop"):
        repository.move("headline", "stop", now=NOW)
    repository.move("headline", "start", now=NOW)
    assert [repository.record_look("headline", {"outcome": n}, now=NOW) for n in (1, 2)] == [1, 2]
    repository.move("headline", "stop", now=NOW)
    decided = repository.move("headline", "decide", now=NOW, decision={"winner": "new"})
    assert repository.get("headline") == decided == repository.experiments()[0]
    assert (decided.spec, decided.state, decided.decision) == (SPEC, ExperimentState.DECIDED, {"winner": "new"})
    assert [look["outcome"] for _, look in repository.looks("headline")] == [1, 2]


def test_an_unknown_name_is_said(database: Database) -> None:
    repository = ExperimentRepository(database)
    asked = [
        repository.get,
        repository.looks,
        lambda name: repository.move(name, "start", now=NOW),
        lambda name: repository.record_look(name, {}, now=NOW),
    ]
    for ask in asked:
        with pytest.raises(ModelNotFoundError, match="no experiment 'nothing'"):
            ask("nothing")


def test_golden_results_come_back_in_order(database: Database) -> None:
    repository = GoldenResultRepository(database)
    for met in (3, 2):
        repository.record(
            model="ad_score", version=1, model_sha256="a" * 64, set_version="1-ab", passed=met == 3, met=met, cases=3, slices={}, now=NOW
        )
    assert repository.history("ad_score")["met"].to_list() == [3, 2]
    assert repository.history("anomaly").is_empty()
