from __future__ import annotations

from dataclasses import replace

from within_pipelines.registry import ModelVersion
from within_pipelines.reporting import model_card
from within_pipelines.stats import Verdict


def test_the_card_shows_what_was_recorded(version: ModelVersion, verdicts: tuple[Verdict, ...]) -> None:
    card = model_card(version, verdicts)
    assert card.startswith("# account\\_health v3\n")
    for section in ("Intended use", "Data", "Metrics", "Verdicts", "Limits"):
        assert f"\n## {section}\n" in card
    for part in ("2026-11-23 06:15 UTC", "seed 7", "lake commit 8", "on days 2026-09-01 to 2026-10-30", "cd" * 32, "ab" * 32,
                 "only 9 of 12 units", "95% intervals"):  # fmt: skip
        assert part in card, part
    lines = card.splitlines()
    main = next(line for line in lines if "main" in line)
    assert main == "| brier\\_skill \\(main\\) | 0.080 \\[0.050, 0.110\\] | 24 | 0.030 \\[0.010, 0.050\\] |"
    assert len(lines) < 60


def test_the_newest_verdict_of_a_gate_counts(version: ModelVersion, verdicts: tuple[Verdict, ...]) -> None:
    again = replace(verdicts[0], reason="judged again")
    card = model_card(version, (*verdicts, again))
    assert "judged again" in card
    assert verdicts[0].reason not in card


def test_a_version_that_was_not_evaluated_says_so(version: ModelVersion) -> None:
    card = model_card(replace(version, metrics={}, baseline_metrics={}, evaluation={}, code_version=""), ())
    assert "This version has not been evaluated." in card
    assert "No verdict has been recorded." in card


def test_every_model_of_the_policy_has_its_uses_and_limits(version: ModelVersion) -> None:
    from within_pipelines.registry import REQUIRED_GATES

    for model in REQUIRED_GATES:
        card = model_card(replace(version, model=model), ())
        assert "declared for this model" not in card
    assert "No intended use is declared" in model_card(replace(version, model="x"), ())


def test_the_strongest_features_are_shown_where_they_were_recorded(version: ModelVersion) -> None:
    rows = [{"feature": "log_ctr_7", "importance": 0.31}, {"feature": "slope_cvr", "importance": 0.125}]
    card = model_card(replace(version, evaluation={**version.evaluation, "importance": rows}), ())
    assert "## What it looks at" in card
    assert "contribution to the log-odds of unseen rows" in card
    watcher = model_card(replace(version, model="anomaly", evaluation={**version.evaluation, "importance": rows}), ())
    assert "What each forecaster adds to the surprise" in watcher
    told = model_card(replace(version, evaluation={"details": {"encoder": "all-MiniLM-L6-v2"}}), ())
    assert "- encoder: all" in told
    assert "log\\_ctr\\_7" in card
    assert "What it looks at" not in model_card(version, ())


def test_what_a_training_objective_cost_is_a_table_of_its_own(version: ModelVersion) -> None:
    row = {"measure": "pairs under attack", "plain": 0.1, "with objective": 0.35, "change": 0.25, "low": 0.2, "high": 0.3, "n": 90}
    card = model_card(replace(version, evaluation={"details": {"objective": "adversarial (share: 0.5)", "objective_costs": [row]}}), ())
    assert "## What its training objective bought and cost" in card
    assert "Trained with adversarial \\(share: 0.5\\), beside the same training without it" in card
    assert "| pairs under attack | 0.1 | 0.35 | 0.250 \\[0.200, 0.300\\] |" in card
    assert "objective costs:" not in card
    assert "bought and cost" not in model_card(version, ())


def test_what_component_scores_are_worth_is_shown_where_it_was_recorded(version: ModelVersion) -> None:
    rows = [
        {"component": "engagement", "share": 0.68, "low": 0.61, "high": 0.78, "pairs": 104, "clusters": 12, "says": "more is better"},
        {"component": "topic", "share": None, "low": None, "high": None, "pairs": 0, "clusters": 0, "says": "no pair differs in it"},
    ]
    card = model_card(replace(version, evaluation={**version.evaluation, "components": rows}), ())
    assert "| engagement | 0.680 \\[0.610, 0.780\\] | 104 | more is better |" in card
    assert "no pair differs in it" in card
