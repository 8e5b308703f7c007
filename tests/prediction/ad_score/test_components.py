"""A component that drives results is seen to, one that does not is not, and the order of a topic comes from other groups."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl

from within_pipelines.prediction.ad_score.components import component_validation
from within_pipelines.prediction.ad_score.contrasts import Observed, pairs_within
from within_pipelines.prediction.ad_score.scores import AdScores


def validated(seed: int, effect: dict[str, float], *, groups: int = 150, topics: bool = False) -> pl.DataFrame:
    """Groups of three ads whose log-odds follow the components by `effect`."""
    rng = np.random.default_rng(seed)
    n = 3 * groups
    group = np.repeat(np.arange(groups), 3)
    values = {name: rng.normal(size=n) for name in ("engagement", "sentiment", "complexity")}
    topic = rng.choice(["coffee", "cats"], size=n) if topics else np.full(n, None)
    odds = sum(effect.get(name, 0.0) * value for name, value in values.items()) + 0.3 * rng.normal(size=n)
    odds = odds + effect.get("topic", 0.0) * (topic == "cats")
    answers = [
        SimpleNamespace(**{name: float(value[i]) for name, value in values.items()}, audience_match=50.0, topic=topic[i]) for i in range(n)
    ]
    first, second = pairs_within(group)
    won = (odds[first] > odds[second]).astype(float)
    seen = Observed(np.asarray(odds, dtype=float), np.full(n, 0.05), np.full(n, 1000.0), group)
    return component_validation(
        cast("AdScores", answers), seen, first, second, won, group.astype(str).astype(object), rng=np.random.default_rng(1)
    )


def said(table: pl.DataFrame) -> dict[str, Any]:
    return dict(table.select("component", "says").iter_rows())


def test_what_drives_results_is_told_from_what_does_not_and_in_which_direction() -> None:
    found = said(validated(1, {"engagement": 0.3, "complexity": -0.3}))
    assert found["engagement"] == "more did better"
    assert found["complexity"] == "less did better"
    assert found["sentiment"] == "no evidence"
    assert found["audience_match"] == found["topic"] == "never differs"


def test_a_component_without_effect_is_rarely_said_to_have_one() -> None:
    wrong = [said(validated(seed, {"engagement": 0.3}, groups=80))["sentiment"] != "no evidence" for seed in range(60)]
    # 5 % nominal; 60 seeds allow up to 8 (P < .005).
    assert sum(wrong) <= 8


def test_a_topic_counts_by_what_other_groups_did_with_it() -> None:
    table = validated(3, {"topic": 0.8}, topics=True)
    assert said(table)["topic"] == "more did better"
    assert said(validated(4, {}, topics=True))["topic"] != "more did better"
    row = table.filter(pl.col("component") == "topic").row(0, named=True)
    assert 0.5 < row["low"] < row["share"] < row["high"]
    assert row["clusters"] <= 150
