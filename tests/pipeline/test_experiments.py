"""An experiment is read by its rules, and only a sequential one carries its p-values on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.database import ExperimentRepository
from within_pipelines.pipeline import Workspace, analyse_experiment, draft_experiment, read_result, start_experiment, stop_experiment
from within_pipelines.settings import Settings
from within_pipelines.validation import ExperimentSpec, ExperimentState, ExperimentStateError, Metric, Outcome

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SPEC = ExperimentSpec(
    "headline", {"new": 0.5, "old": 0.5}, "old", Metric("y"), minimum_effect=0.2, planned_units=1000, key="k", analysis="sequential"
)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        yield opened


def units(effect: float, seed: int, n: int = 1000) -> pl.DataFrame:
    names = [f"u{number}" for number in range(n)]
    arms = [SPEC.arm_of(name) for name in names]
    return pl.DataFrame({"unit": names, "arm": arms, "y": np.random.default_rng(seed).normal(size=n) + effect * (np.array(arms) == "new")})


def test_looks_are_kept_and_a_stopped_experiment_is_decided_once(ws: Workspace) -> None:
    draft_experiment(ws, SPEC, now=NOW)
    with pytest.raises(ExperimentStateError, match="is draft; only"):
        analyse_experiment(ws, "headline", units(0.5, 1), now=NOW)
    start_experiment(ws, "headline", now=NOW)
    strong = analyse_experiment(ws, "headline", units(0.5, 1), now=NOW)
    assert strong.outcome is Outcome.WINNER
    dull = analyse_experiment(ws, "headline", units(0.0, 2), now=NOW)
    assert dull.primary[0].p_value == strong.primary[0].p_value
    stop_experiment(ws, "headline", now=NOW)
    decided = analyse_experiment(ws, "headline", units(0.5, 1), now=NOW)
    repository = ExperimentRepository(ws.database)
    kept = repository.get("headline")
    assert kept.state is ExperimentState.DECIDED
    assert kept.decision["winner"] == decided.winner == "new"
    assert len(repository.looks("headline")) == 3
    with pytest.raises(ExperimentStateError, match="is decided"):
        analyse_experiment(ws, "headline", units(0.5, 1), now=NOW)


def test_a_fixed_test_forgets_its_peeks_and_is_read_once(ws: Workspace) -> None:
    draft_experiment(ws, replace(SPEC, analysis="fixed"), now=NOW)
    start_experiment(ws, "headline", now=NOW)
    analyse_experiment(ws, "headline", units(0.5, 1, 500), now=NOW)
    assert ExperimentRepository(ws.database).get("headline").state is ExperimentState.RUNNING
    last = analyse_experiment(ws, "headline", units(0.0, 2), now=NOW)
    assert last.primary[0].p_value > 1e-4
    # It was read at its end, so it is over: another reading would be a peek.
    assert ExperimentRepository(ws.database).get("headline").decision["outcome"] == last.outcome.value
    with pytest.raises(ExperimentStateError, match="is decided"):
        analyse_experiment(ws, "headline", units(0.5, 1), now=NOW)


def test_a_kept_look_reads_back(ws: Workspace) -> None:
    draft_experiment(ws, SPEC, now=NOW)
    start_experiment(ws, "headline", now=NOW)
    result = analyse_experiment(ws, "headline", units(0.3, 3), now=NOW)
    ((_, kept),) = ExperimentRepository(ws.database).looks("headline")
    again = read_result(kept)
    assert (again.outcome, again.winner, again.primary, again.units) == (result.outcome, result.winner, result.primary, result.units)
