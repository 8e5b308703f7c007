"""The controller: good canaries are promoted, bad ones are taken back, also when it is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.database import AlertRepository, CanaryMove, CanaryRecord, CanaryRepository, PredictionRepository
from within_pipelines.exceptions import ModelNotFoundError, PromotionRefusedError, SampleError, SchemaError
from within_pipelines.pipeline import (
    Workspace,
    abort_canary,
    feed_canary,
    outcomes_of_predictions,
    pause_canary,
    record_canary_outcomes,
    resume_canary,
    start_canary,
    step_canary,
)
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.settings import Settings
from within_pipelines.stats import Estimate, Status, Verdict
from within_pipelines.validation import CanaryMetric, CanaryState, ExperimentStateError

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
REPOSITORY = Path(__file__).resolve().parents[2]
DATA = "d" * 64


def registered(ws: Workspace, number: int, *, passed: bool = True) -> ModelVersion:
    sha = f"{number}" * 64
    version = ModelVersion(
        model="ad_score", version=0, kind="stack", model_sha256=sha, artifact=f"ad_score/{sha}", data_version=DATA, as_of=NOW, commit_seq=3,
        spec_sha256="s" * 64, training_fingerprint=sha, seed=7, trained_at=NOW, code_version="c",
    )  # fmt: skip
    stored = ws.registry.register(version)
    status = Status.PASSED if passed else Status.FAILED
    ws.registry.record_verdicts(
        Verdict(gate, status, Estimate(0.1, 0.05, 0.2, 40), 0.0, {"units": 40}, "Looked at.").bind(
            model_sha256=sha, data_version=DATA, policy_version=POLICY_VERSION
        )
        for gate in REQUIRED_GATES["ad_score"]
    )
    return stored


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A deployment whose ad score v1 serves and v2 waits."""
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        for number in (1, 2):
            registered(opened, number)
        opened.registry.promote("ad_score", 1, who="ada", why="first", now=NOW, expected_current=None)
        yield opened


def begin(ws: Workspace, **options: object) -> CanaryRecord:
    made: dict[str, object] = {"metrics": [CanaryMetric("won", margin=0.1)], "key": "k", "shares": (0.2, 0.5, 1.0)} | options
    return start_canary(ws, "ad_score", 2, who="ada", now=NOW, **made)  # type: ignore[arg-type]


def day_of(canary: CanaryRecord, rng: np.random.Generator, day: date, *, effect: float, n: int = 500) -> pl.DataFrame:
    units = [f"{day}-{number}" for number in range(n)]
    arms = [canary.spec.arm_of(unit, share=canary.share) for unit in units]
    won = (rng.random(n) < 0.4 * (1 + effect * (np.array(arms) == "canary"))).astype(float)
    return pl.DataFrame({"unit": units, "arm": arms, "day": [day] * n, "known_on": [day] * n, "won": won})


def walk(ws: Workspace, *, effect: float, days: int = 12) -> CanaryRecord:
    rng = np.random.default_rng(5)
    canary = begin(ws)
    for number in range(days):
        now = NOW + timedelta(days=number)
        record_canary_outcomes(ws, "ad_score", day_of(canary, rng, now.date(), effect=effect))
        stepped = step_canary(ws, "ad_score", on=now.date(), now=now, who="controller")
        assert stepped is not None
        canary = stepped
        if canary.state.final:
            break
    return canary


def champion(ws: Workspace) -> int:
    found = ws.registry.alias("ad_score", "champion")
    assert found is not None
    return found.version


def test_a_canary_that_holds_becomes_champion_stage_by_stage(ws: Workspace) -> None:
    canary = walk(ws, effect=0.0)
    assert (canary.state, champion(ws)) == (CanaryState.PROMOTED, 2)
    moves = CanaryRepository(ws.database).moves(canary)
    assert list(dict.fromkeys(move.stage for move in moves)) == [0, 1]
    assert [move.state.value for move in moves][-2:] == ["promoting", "promoted"]
    assert all(move.look is not None for move in moves[1:-1])
    assert ws.registry.alias("ad_score", "canary") is None
    assert step_canary(ws, "ad_score", on=NOW.date(), now=NOW, who="controller") is None


def test_good_offline_and_bad_online_is_taken_back(ws: Workspace) -> None:
    canary = walk(ws, effect=-0.4)
    assert (canary.state, champion(ws)) == (CanaryState.ROLLED_BACK, 1)
    assert "won lost beyond chance" in canary.reason
    assert CanaryRepository(ws.database).running("ad_score") is None
    assert ws.registry.alias("ad_score", "canary") is None
    assert ws.registry.alias_history("ad_score")["to_version"].to_list() == [1, 2, 0]
    alerts = AlertRepository(ws.database).alerts()
    assert alerts["dedup_key"].to_list() == ["canary/ad_score"]


@pytest.mark.parametrize(("killed_at", "effect"), [("withdraw", -0.4), ("raise_alert", -0.4), ("promote", 0.0), ("withdraw", 0.0)])
def test_a_controller_killed_in_the_middle_is_finished_by_the_next(ws: Workspace, effect: float, killed_at: str) -> None:
    """SIGKILL in a real process, after the intention was written and in the middle of carrying it out."""
    rng = np.random.default_rng(5)
    canary = begin(ws, shares=(0.5, 1.0))
    for number in range(3):
        record_canary_outcomes(ws, "ad_score", day_of(canary, rng, NOW.date() + timedelta(days=number), effect=effect, n=1200))
    code = f"""
import os, signal
from datetime import datetime
from pathlib import Path
from within_pipelines.database import AlertRepository, SqlRegistry
from within_pipelines.pipeline import Workspace, step_canary
from within_pipelines.settings import Settings

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(AlertRepository if {killed_at!r} == "raise_alert" else SqlRegistry, {killed_at!r}, die)
now = datetime.fromisoformat({(NOW + timedelta(days=3)).isoformat()!r})
with Workspace.open(Settings(home=Path({str(ws.settings.home)!r}))) as ws:
    step_canary(ws, "ad_score", on=now.date(), now=now, who="first controller")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=os.environ, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = CanaryRepository(ws.database).latest("ad_score")
    assert left.state is (CanaryState.ROLLING_BACK if effect else CanaryState.PROMOTING)
    if effect:
        # Units are back with control although nobody has finished the rollback.
        assert CanaryRepository(ws.database).running("ad_score") is None
    finished = step_canary(ws, "ad_score", on=NOW.date(), now=NOW, who="second controller")
    assert finished is not None
    left = finished
    assert (left.state, champion(ws)) == ((CanaryState.PROMOTED, 2) if effect == 0 else (CanaryState.ROLLED_BACK, 1))
    assert ws.registry.alias("ad_score", "canary") is None
    assert AlertRepository(ws.database).alerts().height == (0 if effect == 0 else 1)


def test_pause_resume_and_abort_by_hand(ws: Workspace) -> None:
    begin(ws)
    hand = {"who": "ada", "why": "holiday", "now": NOW}
    assert pause_canary(ws, "ad_score", **hand).share == 0
    paused = step_canary(ws, "ad_score", on=NOW.date(), now=NOW, who="controller")
    assert paused is not None
    assert paused.state is CanaryState.PAUSED
    with pytest.raises(ExperimentStateError, match="is paused; this needs one that is running"):
        pause_canary(ws, "ad_score", **hand)
    assert resume_canary(ws, "ad_score", **hand).share == 0.2
    aborted = abort_canary(ws, "ad_score", **hand)
    assert (aborted.state, aborted.reason, champion(ws)) == (CanaryState.ROLLED_BACK, "holiday", 1)
    with pytest.raises(ModelNotFoundError, match="no open canary"):
        abort_canary(ws, "ad_score", **hand)


def test_a_canary_whose_control_was_replaced_is_taken_back(ws: Workspace) -> None:
    begin(ws)
    registered(ws, 3)
    ws.registry.promote("ad_score", 3, who="ada", why="urgent", now=NOW, expected_current=1)
    canary = step_canary(ws, "ad_score", on=NOW.date(), now=NOW, who="controller")
    assert canary is not None
    assert (canary.state, champion(ws)) == (CanaryState.ROLLED_BACK, 3)
    assert "v3 is" in canary.reason


def test_a_promotion_that_the_gates_refuse_takes_the_canary_back(ws: Workspace) -> None:
    rng = np.random.default_rng(6)
    canary = begin(ws, shares=(0.5, 1.0))
    for number in range(3):
        record_canary_outcomes(ws, "ad_score", day_of(canary, rng, NOW.date() + timedelta(days=number), effect=0.0, n=1200))
    failed = ws.registry.verdicts("2" * 64, DATA)[0]
    ws.registry.record_verdicts([replace(failed, status=Status.FAILED, reason="A confirmed incident.")])
    ended = step_canary(ws, "ad_score", on=NOW.date() + timedelta(days=3), now=NOW, who="controller")
    assert ended is not None
    assert (ended.state, champion(ws)) == (CanaryState.ROLLED_BACK, 1)
    assert "Promotion was refused" in ended.reason


def test_only_versions_that_passed_and_stand_beside_a_champion_start(ws: Workspace) -> None:
    registered(ws, 3, passed=False)
    with pytest.raises(PromotionRefusedError, match="may not become canary"):
        start_canary(ws, "ad_score", 3, metrics=[CanaryMetric("won", margin=0.1)], key="k", who="ada", now=NOW)
    begin(ws)
    with pytest.raises(ExperimentStateError, match="open already"):
        begin(ws)
    with pytest.raises(ModelNotFoundError, match=r"There is no version 1 of anomaly"):
        start_canary(ws, "anomaly", 1, metrics=[CanaryMetric("won", margin=0.1)], key="k", who="ada", now=NOW)


def test_outcomes_are_checked_before_they_are_kept(ws: Workspace) -> None:
    canary = begin(ws)
    rows = day_of(canary, np.random.default_rng(7), NOW.date(), effect=0.0, n=10)
    with pytest.raises(SchemaError, match="lack won"):
        record_canary_outcomes(ws, "ad_score", rows.drop("won"))
    with pytest.raises(SampleError, match="neither canary nor control"):
        record_canary_outcomes(ws, "ad_score", rows.with_columns(arm=pl.lit("champion")))
    assert record_canary_outcomes(ws, "ad_score", rows) == 10
    assert record_canary_outcomes(ws, "ad_score", rows) == 0


def test_a_prediction_log_becomes_outcomes() -> None:
    at = NOW
    log = pl.DataFrame(
        [
            ("champion", "a", 0.9, 1.0, at),
            ("champion", "a", 0.5, 1.0, at),
            ("canary", "b", 0.2, 0.0, at),
            ("canary", "c", 0.2, None, at),
            ("shadow", "a", 0.0, 1.0, at),
        ],
        schema={"role": pl.String, "unit": pl.String, "value": pl.Float64, "outcome": pl.Float64, "answered_at": pl.Datetime("us", "UTC")},
        orient="row",
    )
    found = outcomes_of_predictions(log)
    assert found.select("unit", "arm", "known_on").rows() == [
        ("a", "control", at.date()), ("b", "canary", at.date()), ("c", "canary", None),
    ]  # fmt: skip
    assert found["score"].to_list() == [pytest.approx(0.87), pytest.approx(0.96), None]


def test_a_log_tells_guardrails_and_the_share_in_force_at_the_first_answer() -> None:
    def move(hours: int, share: float) -> CanaryMove:
        return CanaryMove(0, NOW + timedelta(hours=hours), CanaryState.RUNNING, 0, share, "run", "why", None)

    rows = [("canary", "a", 1, 10.0, 0.1, 300.0), ("canary", "a", 3, 30.0, 0.4, 100.0), ("champion", "b", 3, 20.0, 0.2, 50.0)]
    log = pl.DataFrame(
        [(role, unit, 50.0, outcome, weight, ms, NOW + timedelta(hours=hour)) for role, unit, hour, ms, outcome, weight in rows],
        schema={
            "role": pl.String, "unit": pl.String, "value": pl.Float64, "outcome": pl.Float64, "weight": pl.Float64,
            "latency_ms": pl.Float64, "answered_at": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )  # fmt: skip
    found = outcomes_of_predictions(log, metrics=["observed", "latency_ms"], moves=[move(0, 0.05), move(2, 0.25)])
    assert found.select("unit", "share", "observed", "latency_ms").rows() == [
        ("a", 0.05, pytest.approx((0.1 * 300 + 0.4 * 100) / 400), 20.0), ("b", 0.25, pytest.approx(0.2), 20.0),
    ]  # fmt: skip
    with pytest.raises(SampleError, match="does not tell won; it tells score, observed, latency_ms"):
        outcomes_of_predictions(log, metrics=["won"])


def test_a_canary_that_does_not_come_on_is_told_until_it_moves(ws: Workspace) -> None:
    def told() -> list[str]:
        return [key for key in AlertRepository(ws.database).alerts()["dedup_key"].to_list() if key.startswith("canary-stalled")]

    canary = begin(ws, metrics=[CanaryMetric("won", margin=0.08)])
    for days, open_then in ((27, []), (28, ["canary-stalled/ad_score"]), (29, ["canary-stalled/ad_score"])):
        later = NOW + timedelta(days=days)
        step_canary(ws, "ad_score", on=later.date(), now=later, who="controller")
        assert told() == open_then
    rng, later = np.random.default_rng(5), NOW + timedelta(days=30)
    record_canary_outcomes(ws, "ad_score", day_of(canary, rng, later.date(), effect=0.0, n=2000))
    grown = step_canary(ws, "ad_score", on=later.date(), now=later, who="controller")
    assert grown is not None
    assert grown.share == 0.5
    assert told() == []
    # At 100 % there is more to lose than 2,000 units can rule out.
    much_later = later + timedelta(days=40)
    step_canary(ws, "ad_score", on=much_later.date(), now=much_later, who="controller")
    assert champion(ws) == 1
    assert told() == ["canary-stalled/ad_score"]
    abort_canary(ws, "ad_score", who="ada", why="it stands still", now=much_later)
    assert told() == []


def logged(ws: Workspace, *, canary: int, champion: int, hours: int) -> None:
    """Answers of units in the log, each with an outcome an hour later."""
    records = []
    for role, number, n in (("canary", 2, canary), ("champion", 1, champion)):
        for i in range(n):
            key = f"{hours}-{role}-{i}"
            at = NOW + timedelta(hours=hours)
            records.append(
                {
                    "kind": "prediction", "prediction_id": key, "request_id": "r", "role": role, "model": "ad_score", "version": number,
                    "model_sha256": f"{number}" * 64, "unit": key, "value": 50.0, "answer": {}, "inputs": {}, "latency_ms": 4.0 + i % 2,
                    "error": None, "answered_at": at.isoformat(),
                }
            )  # fmt: skip
            seen = (at + timedelta(hours=1)).isoformat()
            known = {"value": 0.1 + 0.01 * (i % 5), "weight": 1.0, "observed_at": seen, "received_at": seen}
            records.append({"kind": "outcome", "prediction_id": key, **known})
    PredictionRepository(ws.database).load(records)


def test_a_log_that_loses_units_of_one_arm_holds_the_canary(ws: Workspace) -> None:
    metrics = [CanaryMetric("observed", margin=0.1), CanaryMetric("latency_ms", margin=5.0, higher_is_better=False)]
    begin(ws, metrics=metrics, shares=(0.5, 0.8, 1.0), missing="exclude")
    logged(ws, canary=60, champion=240, hours=1)
    assert feed_canary(ws, "ad_score") == 300
    lost = step_canary(ws, "ad_score", on=NOW.date() + timedelta(days=1), now=NOW + timedelta(days=1), who="controller")
    assert lost is not None
    assert "Sample ratio mismatch" in lost.reason
    assert lost.share == 0.5


def test_answers_of_an_earlier_stage_do_not_look_like_lost_units_of_this_one(ws: Workspace) -> None:
    begin(ws, metrics=[CanaryMetric("observed", margin=0.1)], shares=(0.2, 0.8, 0.9, 1.0), missing="exclude")
    logged(ws, canary=80, champion=320, hours=1)
    feed_canary(ws, "ad_score")
    tomorrow = NOW + timedelta(days=1)
    grown = step_canary(ws, "ad_score", on=tomorrow.date(), now=tomorrow, who="controller")
    assert grown is not None
    assert grown.share == 0.8
    # Their outcomes may arrive in any stage: what counts is the share that was in force when they were answered.
    logged(ws, canary=20, champion=80, hours=2)
    logged(ws, canary=320, champion=80, hours=25)
    feed_canary(ws, "ad_score")
    later = NOW + timedelta(days=2)
    stepped = step_canary(ws, "ad_score", on=later.date(), now=later, who="controller")
    assert stepped is not None
    assert "mismatch" not in stepped.reason
    kept = CanaryRepository(ws.database).outcomes(stepped)
    assert dict(kept.group_by("share").len().iter_rows()) == {0.2: 500, 0.8: 400}
