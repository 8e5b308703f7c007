"""The story says each decision once, lives on after a refusal and ends with a promotion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from within_pipelines.defs import demo
from within_pipelines.defs.demo import DemoOutcome, _told
from within_pipelines.settings import Settings


def decision(model: str, action: str, reason: str, trigger: str = "none") -> Any:
    return SimpleNamespace(model=model, action=action, reason=reason, trigger=trigger)


def test_what_is_done_comes_first_and_models_about_which_nothing_is_share_a_line() -> None:
    told = _told(
        [
            decision("ad_score", "retrain", "words moved", "data_drift"),
            decision("account_health", "nothing", "all is calm"),
            decision("anomaly", "nothing", "all is calm"),
            # The other sensor, which reads performance alone, has nothing to say of the model that is trained.
            decision("ad_score", "nothing", "all is calm"),
            decision("anomaly", "nothing", "all is calm"),
        ]
    )
    assert told == ["ad_score: retrain, because words moved", "account_health, anomaly: nothing is done, because all is calm"]
    harmless = [decision("ad_score", "nothing", "words moved: harmless", "data_drift"), decision("ad_score", "nothing", "all is calm")]
    assert _told(harmless) == ["ad_score: nothing is done, because words moved: harmless"]
    assert _told([]) == []


Play = Callable[[list[bool]], tuple[DemoOutcome, list[tuple[int, str]]]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Six days of two accounts with a look every second day; at each look drift asks for a version of another model and age for one of the
    ad score. The runs and the monitors are left out: the n-th time that drift asks for an ad score, which it does at every look once there
    is something to tell, the new version is promoted or refused as told. Returns the outcome and what was run."""

    def done(*args: Any, **options: Any) -> Any:
        return SimpleNamespace(success=True, message="", run_id="a-run")

    def played(promoted: list[bool]) -> tuple[DemoOutcome, list[tuple[int, str]]]:
        verdicts, runs = iter(promoted), []

        def retrained(settings: Settings, made: Any, moment: datetime, say: demo.Say, day: int) -> DemoOutcome | None:
            runs.append((day, made.trigger))
            if not demo._awaited(made):
                return None
            passed = next(verdicts)
            return DemoOutcome(day, True, made.model, passed, "" if passed else "refused")

        asked = [decision("account_health", "retrain", "moved", "data_drift"), decision("ad_score", "retrain", "old", "age")]
        worse = [decision("ad_score", "retrain", "worse", "concept_drift")]
        monkeypatch.setattr(demo, "_tick", lambda *args: asked + worse if promoted else asked)
        monkeypatch.setattr(demo, "_retrain", retrained)
        monkeypatch.setattr(demo, "run_main_job", done)
        monkeypatch.setattr(demo, "execute", done)
        monkeypatch.setattr(demo, "_report", lambda ws: SimpleNamespace(day="a day", findings=()))
        settings = Settings(home=tmp_path / "home", threads=1)
        now = datetime(2026, 11, 1, 6, tzinfo=UTC)
        return demo.play_drift(settings, now=now, say=lambda line: None, accounts=2, every=2, at_most=6), runs

    return played


def test_the_story_lives_on_after_a_refusal_and_ends_with_a_promotion(play: Play) -> None:
    outcome, runs = play([False, True])
    assert (outcome.days, outcome.model, outcome.promoted, outcome.message) == (4, "ad_score", True, "")
    # What the story waits for comes first, and after its promotion nothing is run any more.
    assert runs == [(2, "concept_drift"), (2, "data_drift"), (2, "age"), (4, "concept_drift")]


def test_a_story_of_refusals_alone_ends_with_the_last_one(play: Play) -> None:
    outcome, runs = play([False, False, False])
    assert (outcome.days, outcome.promoted, outcome.message) == (6, False, "refused")
    assert [day for day, trigger in runs if trigger == "concept_drift"] == [2, 4, 6]


def test_another_model_or_a_retraining_for_age_is_not_what_the_story_waits_for(play: Play) -> None:
    outcome, runs = play([])
    assert (outcome.days, outcome.model, outcome.promoted) == (6, None, False)
    assert "no retraining of the ad score" in outcome.message
    assert [trigger for _, trigger in runs] == ["data_drift", "age"] * 3
