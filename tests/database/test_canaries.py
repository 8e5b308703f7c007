"""A canary's state has one writer at a time: whoever decided on an older state is told so."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, date, datetime

import polars as pl
import pytest

from within_pipelines.database import CanaryRepository, Database
from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.validation import CanaryMetric, CanarySpec, CanaryState, ExperimentStateError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SPEC = CanarySpec("ad_score/canary/a", "ad_score", 2, 1, (CanaryMetric("won", margin=0.05),), key="k", shares=(0.1, 0.5, 1.0))
HAND = {"who": "ada", "why": "to see", "now": NOW}


def test_stages_and_pauses_change_the_share_that_is_served(database: Database) -> None:
    repository = CanaryRepository(database)
    assert repository.running("ad_score") is None
    canary = repository.start(SPEC, **HAND)
    assert repository.running("ad_score") == (2, 0.1)
    canary = repository.move(canary, state=CanaryState.RUNNING, stage=1, **HAND)
    assert repository.running("ad_score") == (2, 0.5)
    canary = repository.move(canary, state=CanaryState.PAUSED, **HAND)
    assert repository.running("ad_score") is None
    canary = repository.move(canary, state=CanaryState.RUNNING, **HAND)
    assert (canary.stage, canary.share, canary.spec) == (1, 0.5, SPEC)
    canary = repository.move(canary, state=CanaryState.ROLLING_BACK, **HAND)
    assert repository.running("ad_score") is None
    canary = repository.move(canary, state=CanaryState.ROLLED_BACK, **HAND)
    assert (repository.open("ad_score"), canary.ended_at) == (None, NOW)
    assert [move.state.value for move in repository.moves(canary)] == [
        "running", "running", "paused", "running", "rolling_back", "rolled_back",
    ]  # fmt: skip


def test_who_decided_on_an_older_state_changes_nothing(database: Database) -> None:
    repository = CanaryRepository(database)
    seen = repository.start(SPEC, **HAND)
    repository.move(seen, state=CanaryState.PAUSED, **HAND)
    with pytest.raises(ExperimentStateError, match="moved since it was read at revision 0"):
        repository.move(seen, state=CanaryState.RUNNING, stage=1, **HAND)
    assert repository.latest("ad_score").state is CanaryState.PAUSED
    assert len(repository.moves(seen)) == 2


def test_a_model_has_one_open_canary(database: Database) -> None:
    repository = CanaryRepository(database)
    canary = repository.start(SPEC, **HAND)
    with pytest.raises(ExperimentStateError, match="open already"):
        repository.start(SPEC, **HAND)
    repository.move(canary, state=CanaryState.ROLLED_BACK, **HAND)
    assert repository.start(SPEC, **HAND).id != canary.id
    with pytest.raises(ModelNotFoundError, match="no canary yet"):
        repository.latest("anomaly")


def test_outcomes_that_come_later_fill_the_gap_and_reported_ones_stay(database: Database) -> None:
    repository = CanaryRepository(database)
    canary = repository.start(SPEC, **HAND)
    day = date(2026, 7, 1)

    def rows(known: date | None, won: float | None, arm: str = "canary") -> pl.DataFrame:
        schema = {"unit": pl.String, "arm": pl.String, "day": pl.Date, "known_on": pl.Date, "won": pl.Float64}
        return pl.DataFrame([["u", arm, day, known, won]], schema=schema, orient="row")

    changed = [repository.record_outcomes(canary, rows(*given)) for given in ((None, None), (day, 1.0), (day, 0.0), (day, 0.0, "control"))]
    assert changed == [1, 1, 0, 0]
    assert repository.outcomes(canary).rows() == [("u", "canary", day, day, 0.1, 1.0)]


def _race(url: str, barrier: object) -> str:
    opened = Database(url)
    repository = CanaryRepository(opened)
    seen = repository.open("ad_score")
    assert seen is not None
    barrier.wait()  # type: ignore[attr-defined]
    try:
        repository.move(seen, state=CanaryState.RUNNING, stage=seen.stage + 1, **HAND)
    except ExperimentStateError:
        return "told"
    finally:
        opened.dispose()
    return "won"


def test_of_two_racing_controllers_exactly_one_moves(database: Database) -> None:
    repository = CanaryRepository(database)
    canary = repository.start(SPEC, **HAND)
    url = database.url.render_as_string(hide_password=False)
    with multiprocessing.get_context("spawn").Manager() as manager, multiprocessing.get_context("spawn").Pool(2) as pool:
        barrier = manager.Barrier(2)
        results = pool.starmap(_race, [(url, barrier), (url, barrier)])
        # Left to itself the pool kills its processes, and one that is just ending may then never end.
        pool.close()
        pool.join()
    assert sorted(results) == ["told", "won"]
    assert (repository.latest("ad_score").stage, len(repository.moves(canary))) == (1, 2)
