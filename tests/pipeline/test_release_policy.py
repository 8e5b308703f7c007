"""HOME/release.yaml says how a version comes to serve; what it cannot mean is refused with the place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.pipeline import MODELS, Workspace, release_rules
from within_pipelines.settings import Settings
from within_pipelines.validation import CanaryMetric


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        yield opened


def declare(ws: Workspace, text: str) -> None:
    ws.settings.releases.write_text(text, encoding="utf-8")


def test_without_a_file_or_a_section_what_passed_serves_at_once(ws: Workspace) -> None:
    assert {rule.through for rule in release_rules(ws).values()} == {"direct"}
    declare(ws, "")
    assert set(release_rules(ws)) == set(MODELS)
    declare(ws, "account_health: {through: canary}\n")
    assert {model: rule.through for model, rule in release_rules(ws).items()} == {
        "ad_score": "direct", "account_health": "canary", "anomaly": "direct",
    }  # fmt: skip


def test_a_section_says_what_the_canary_is_like(ws: Workspace) -> None:
    declare(
        ws,
        "ad_score:\n  through: canary\n  metrics: ['observed:0.01', 'latency_ms:20:lower']\n  shares: [0.1, 1]\n  maturity_days: 3\n",
    )
    rule = release_rules(ws)["ad_score"]
    assert rule.canary_metrics() == (CanaryMetric("observed", 0.01), CanaryMetric("latency_ms", 20.0, higher_is_better=False))
    assert (rule.shares, rule.maturity_days, rule.outcomes, rule.missing) == ((0.1, 1.0), 3, "live", "exclude")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is no valid YAML"),
        ("- anomaly", "is no table of models"),
        ("anomoly: {through: canary}", "names anomoly; give a section for any of ad_score, account_health, anomaly"),
        ("anomaly: {through: rocket}", r"anomaly\.through: Input should be 'direct' or 'canary'"),
        ("anomaly: {throuhg: canary}", r"anomaly\.throuhg: Extra inputs are not permitted"),
        ("anomaly: {through: canary, metrics: [useful]}", r"anomaly: 'useful' is not of the form NAME:MARGIN"),
        ("anomaly: {through: canary, shares: [0.5]}", "give rising shares above 0 that end with 1"),
        ("anomaly: {through: canary}", "live outcomes say nothing about score; they tell observed, latency_ms"),
        ("anomaly: {through: canary, outcomes: replay}", "replay outcomes say nothing about score; they tell nothing of this model"),
        (
            "ad_score: {through: canary, outcomes: replay, metrics: ['latency_ms:20:lower']}",
            "say nothing about latency_ms; they tell score",
        ),
    ],
)
def test_what_it_cannot_mean_is_refused_with_the_place(ws: Workspace, text: str, says: str) -> None:
    declare(ws, text)
    with pytest.raises(SchemaError, match=says):
        release_rules(ws)


def test_recorded_outcomes_may_be_about_anything(ws: Workspace) -> None:
    declare(ws, "anomaly: {through: canary, outcomes: recorded, metrics: ['useful:0.1']}")
    assert release_rules(ws)["anomaly"].canary_metrics() == (CanaryMetric("useful", 0.1),)
