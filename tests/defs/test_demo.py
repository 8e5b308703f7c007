"""The story says each decision once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from within_pipelines.defs.demo import _told


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
