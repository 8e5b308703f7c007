"""Where a canary is declared, a version that passed its gates begins one by itself, once, and only the canary makes it champion."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.test_canary import NOW, champion, day_of, registered
from within_pipelines.database import CanaryRepository
from within_pipelines.pipeline import (
    Workspace,
    abort_canary,
    begin_waiting_canary,
    draft_experiment,
    record_canary_outcomes,
    start_experiment,
    step_canary,
    stop_experiment,
    waiting_canaries,
)
from within_pipelines.pipeline.canary_release import through_canary
from within_pipelines.pipeline.withdrawn import withdrawn_versions
from within_pipelines.settings import Settings
from within_pipelines.validation import CanaryState, ExperimentSpec, Metric

MODEL = "ad_score"
TODAY = NOW.date()


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """v1 serves; v2 and v3 passed their gates, v4 did not; a canary is declared."""
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        for number in (1, 2, 3, 4):
            registered(opened, number, passed=number < 4)
        opened.registry.promote(MODEL, 1, who="ada", why="first", now=NOW, expected_current=None)
        opened.settings.releases.write_text(
            "ad_score: {through: canary, outcomes: recorded, metrics: ['won:0.1'], shares: [0.2, 0.5, 1], maturity_days: 0}\n"
        )
        yield opened


def tried(ws: Workspace, number: int, *, days: int = 0) -> str:
    return through_canary(ws, ws.registry.get(MODEL, number), now=NOW + timedelta(days=days), who="run", trigger="schedule weekly")


def waits(ws: Workspace, number: int) -> None:
    """Give a version the alias of the challenger, as a release does."""
    current = ws.registry.alias(MODEL, "challenger")
    ws.registry.promote(
        MODEL, number, alias="challenger", who="run", why="beside", now=NOW, expected_current=None if current is None else current.version
    )


def walk(ws: Workspace, *, effect: float, first: int = 0) -> CanaryState:
    """Days of outcomes and steps until the canary ends."""
    rng = np.random.default_rng(5)
    canary = CanaryRepository(ws.database).latest(MODEL)
    for number in range(first, first + 12):
        now = NOW + timedelta(days=number)
        record_canary_outcomes(ws, MODEL, day_of(canary, rng, now.date(), effect=effect))
        stepped = step_canary(ws, MODEL, on=now.date(), now=now, who="controller")
        assert stepped is not None
        canary = stepped
        if canary.state.final:
            break
    return canary.state


def test_the_canary_begins_by_itself_and_alone_moves_the_champion(ws: Workspace) -> None:
    assert "its canary begins at 20% (recorded outcomes)" in tried(ws, 2)
    canary = CanaryRepository(ws.database).open(MODEL)
    assert canary is not None
    assert (canary.spec.version, canary.spec.control_version, canary.spec.key, champion(ws)) == (2, 1, "within", 1)
    assert CanaryRepository(ws.database).moves(canary)[0].why.endswith("triggered by schedule weekly")
    assert "its canary is running at 20%" in tried(ws, 2)
    assert walk(ws, effect=0.0) is CanaryState.PROMOTED
    assert champion(ws) == 2
    # The one before answers in the shadow, so that the gain is seen.
    shadow = ws.registry.alias(MODEL, "shadow")
    assert shadow is not None
    assert shadow.version == 1
    assert withdrawn_versions(ws, MODEL) == {}


def test_one_that_is_bad_online_is_taken_back_and_not_tried_again_by_itself(ws: Workspace) -> None:
    tried(ws, 2)
    waits(ws, 2)
    assert walk(ws, effect=-0.4) is CanaryState.ROLLED_BACK
    assert champion(ws) == 1
    assert "its canary was rolled back (won lost beyond chance" in withdrawn_versions(ws, MODEL)[2]
    assert waiting_canaries(ws, on=TODAY) == []
    assert begin_waiting_canary(ws, MODEL, now=NOW, who="run") is None
    # Somebody who promotes it all the same has decided.
    ws.registry.promote(MODEL, 2, who="ada", why="I know better", now=NOW + timedelta(days=30), expected_current=1)
    assert withdrawn_versions(ws, MODEL) == {}


def test_a_version_that_did_not_pass_its_gates_gets_no_canary(ws: Workspace) -> None:
    assert "may not become canary" in tried(ws, 4)
    assert CanaryRepository(ws.database).open(MODEL) is None
    assert ws.registry.alias(MODEL, "canary") is None


def test_another_version_waits_until_the_canary_has_ended_and_then_begins(ws: Workspace) -> None:
    tried(ws, 2)
    assert "A canary of ad_score is open already" in tried(ws, 3)
    waits(ws, 3)
    assert waiting_canaries(ws, on=TODAY) == []
    assert begin_waiting_canary(ws, MODEL, now=NOW, who="run") is None
    abort_canary(ws, MODEL, who="ada", why="complaints", now=NOW)
    assert waiting_canaries(ws, on=TODAY) == [f"ad_score:v3:waits:{TODAY}"]
    canary = begin_waiting_canary(ws, MODEL, now=NOW, who="run")
    assert canary is not None
    assert canary.spec.version == 3
    assert waiting_canaries(ws, on=TODAY) == []


def test_an_experiment_about_the_versions_makes_it_wait(ws: Workspace) -> None:
    spec = ExperimentSpec(
        "newer", {"new": 0.5, "old": 0.5}, "old", Metric("observed"), 0.1, 60, key="own", model=MODEL, versions={"new": 2, "old": 1}
    )
    draft_experiment(ws, spec, now=NOW)
    start_experiment(ws, "newer", now=NOW)
    waits(ws, 2)
    assert "'newer' about ad_score runs" in tried(ws, 2)
    assert waiting_canaries(ws, on=TODAY) == []
    stop_experiment(ws, "newer", now=NOW)
    assert len(waiting_canaries(ws, on=TODAY)) == 1


def test_a_canary_that_lost_its_control_says_nothing_about_its_version(ws: Workspace) -> None:
    tried(ws, 2)
    waits(ws, 2)
    ws.registry.promote(MODEL, 3, who="ada", why="by hand", now=NOW, expected_current=1)
    stepped = step_canary(ws, MODEL, on=TODAY, now=NOW, who="run")
    assert stepped is not None
    assert stepped.state is CanaryState.ROLLED_BACK
    assert withdrawn_versions(ws, MODEL) == {}
    assert len(waiting_canaries(ws, on=TODAY)) == 1


def test_where_nothing_is_declared_nothing_waits(ws: Workspace) -> None:
    ws.settings.releases.unlink()
    waits(ws, 2)
    assert tried(ws, 2) == ""
    assert waiting_canaries(ws, on=TODAY) == []


def test_two_releases_at_once_begin_one_canary(ws: Workspace) -> None:
    def begin(number: int) -> str:
        with Workspace.open(ws.settings) as own:
            return tried(own, number)

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(begin, (2, 3)))
    assert sum("its canary begins" in each for each in said) == 1
    canary = CanaryRepository(ws.database).open(MODEL)
    alias = ws.registry.alias(MODEL, "canary")
    assert canary is not None
    assert alias is not None
    assert alias.version == canary.spec.version
    assert champion(ws) == 1
