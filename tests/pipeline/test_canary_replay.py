"""Without live traffic both versions answer the lake's days, and the arm of an account decides whose answer counts."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import LAST_DAY, NOW, Agency
from tests.pipeline.test_rollback import pass_gates
from within_pipelines.database import CanaryRepository
from within_pipelines.pipeline import Workspace, canary_replay, feed_canary, start_canary
from within_pipelines.pipeline.canary_replay import outcomes_of_answers, told_by_replay
from within_pipelines.validation import CanaryMetric, CanarySpec

DAY = date(2026, 6, 1)


def answers(**losses: list[float | None]) -> pl.DataFrame:
    rows = [(unit, DAY, loss) for unit, own in losses.items() for loss in own]
    return pl.DataFrame(rows, schema={"unit": pl.String, "day": pl.Date, "loss": pl.Float64}, orient="row")


def test_a_unit_counts_with_the_answer_of_its_arm_and_only_where_both_answered() -> None:
    spec = CanarySpec("m", "account_health", 2, 1, (CanaryMetric("score", 0.05),), key="k", shares=(0.5, 1.0), outcomes="replay")
    units = [f"u{number}" for number in range(40)]
    canary = answers(**{unit: [0.1, 0.3] for unit in units}, only_new=[0.0])
    control = answers(**{unit: [0.4, None] for unit in units}, only_old=[0.0])
    found = outcomes_of_answers(spec, canary, control, share=0.5, known_on=LAST_DAY)
    assert set(found["unit"]) == set(units)
    for unit, arm, score in found.select("unit", "arm", "score").iter_rows():
        assert arm == spec.arm_of(unit, share=0.5)
        assert score == pytest.approx(0.8 if arm == "canary" else 0.6)
    assert set(found["arm"]) == {"canary", "control"}
    assert found.select("day", "known_on", "share").unique().rows() == [(DAY, LAST_DAY, 0.5)]
    assert outcomes_of_answers(spec, canary, control.with_columns(loss=None), share=0.5, known_on=LAST_DAY).is_empty()


def test_replay_has_a_truth_for_two_models() -> None:
    assert {model: told_by_replay(model) for model in ("ad_score", "account_health", "anomaly")} == {
        "ad_score": ("score",), "account_health": ("score",), "anomaly": (),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", ["account_health", "ad_score"])
def test_days_after_the_training_become_outcomes_and_reach_no_live_unit(
    model: str, agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        serving = ws.registry.alias(model, "champion")
        assert serving is not None
        other = next(version for version in ws.registry.versions(model) if version.version != serving.version)
        pass_gates(ws, other.version, model=model)
        metric = CanaryMetric("score", margin=0.1)
        start_canary(ws, model, other.version, metrics=[metric], key="k", shares=(0.5, 1.0), outcomes="replay", who="ada", now=NOW)
        repository = CanaryRepository(ws.database)
        assert repository.running(model) is None
        canary = repository.open(model)
        assert canary is not None
        # What the gates have used does not count again; little is left in a lake that was trained on to its end.
        judged = [canary_replay._judged_until(ws, version) for version in (serving, other)]
        feed_canary(ws, model, on=NOW.date())
        assert all(day > max(judged) for day in repository.outcomes(canary)["day"])
        few = repository.outcomes(canary).height
        monkeypatch.setattr(canary_replay, "_judged_until", lambda *_: LAST_DAY - timedelta(days=60))
        fed = feed_canary(ws, model, on=NOW.date())
        assert fed is not None
        assert fed > few + 20
        assert feed_canary(ws, model, on=NOW.date()) == 0
        rows = repository.outcomes(canary)
        assert rows["day"].min() > LAST_DAY - timedelta(days=60)  # type: ignore[operator]
        assert rows["day"].max() <= LAST_DAY - timedelta(days=7)  # type: ignore[operator]
        assert set(rows["arm"]) == {"canary", "control"}
        assert rows["score"].is_between(0, 1).all()
        for unit, arm in rows.select("unit", "arm").unique().iter_rows():
            assert canary.spec.arm_of(unit, share=0.5) == arm
