"""Reports show the outcome first, escape what came from outside, and draw what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from within_pipelines.database import CanaryMove, CanaryRecord
from within_pipelines.reporting import (
    canary_plot,
    canary_report,
    comparison_plot,
    experiment_html,
    experiment_report,
    golden_history_plot,
    power_lines,
)
from within_pipelines.stats import Estimate
from within_pipelines.validation import (
    CanaryLook,
    CanaryMetric,
    CanarySpec,
    CanaryState,
    ExperimentSpec,
    Metric,
    MetricLook,
    Step,
    analyse,
)

PNG = b"\x89PNG"
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
SPEC = ExperimentSpec(
    "head|line <b>",
    {"new": 0.5, "old": 0.5},
    "old",
    Metric("clicks"),
    minimum_effect=0.2,
    planned_units=400,
    key="k",
    segments=("platform",),
)


def result(spec: ExperimentSpec = SPEC):
    rng = np.random.default_rng(1)
    units = [f"u{n}" for n in range(400)]
    arms = [spec.arm_of(unit) for unit in units]
    clicks = rng.normal(size=400) + 0.6 * (np.array(arms) == "new")
    return analyse(spec, pl.DataFrame({"unit": units, "arm": arms, "clicks": clicks, "platform": ["<script>"] * 400}))


def test_the_outcome_comes_first_and_names_are_escaped() -> None:
    text = experiment_report(SPEC, result())
    assert text.startswith("# Experiment head\\|line \\<b\\>: winner")
    assert "Segments were looked at many times" in text
    page = experiment_html(SPEC, result())
    assert "<script>" not in page
    assert page.count("data:image/png;base64,") == 2


def test_a_comparison_that_is_not_causal_says_so() -> None:
    optimised = replace(SPEC, randomised=False)
    for text in (experiment_report(optimised, result(optimised)), experiment_html(optimised, result(optimised))):
        assert "not causal" in text
        assert "Not causal." in text


def test_power_is_said_for_both_readings() -> None:
    first, second = power_lines(SPEC, 1.0)
    assert "read once at the end" in first
    assert "looks" in first
    assert second.startswith("80 %")


def test_a_canary_is_shown_with_every_look() -> None:
    spec = CanarySpec("c", "ad_score", 2, 1, (CanaryMetric("won", margin=0.05),), key="k", shares=(0.5, 1.0))
    look = CanaryLook(
        date(2026, 7, 1),
        0,
        0.5,
        Step.HOLD,
        "No harm.",
        {"canary": 40, "control": 40},
        (MetricLook("won", Estimate(0.0, -0.1, 0.1, 80), 1.0),),
    )
    moves = [
        CanaryMove(0, NOW, CanaryState.RUNNING, 0, 0.5, "ada", "begin", None),
        CanaryMove(1, NOW, CanaryState.RUNNING, 0, 0.5, "controller", "No harm.", look),
    ]
    record = CanaryRecord(1, spec, CanaryState.RUNNING, 0, 0.5, NOW.date(), 1, "No harm.", NOW, None)
    text = canary_report(record, moves)
    assert text.startswith("# Canary of ad\\_score v2 beside v1: running")
    assert "0.000 \\[-0.100, 0.100\\]" in text or "0.000 [-0.100, 0.100]" in text
    assert canary_plot(moves, metric="won", margin=0.05).startswith(PNG)
    assert canary_plot(moves[:1], metric="won", margin=0.05).startswith(PNG)


def test_plots_are_the_same_for_the_same_numbers_and_differ_for_others() -> None:
    found = result().primary
    assert comparison_plot(found, title="a") == comparison_plot(found, title="a")
    history = pl.DataFrame({"met": [3, 2], "cases": [3, 3], "passed": [True, False], "set_version": ["1", "2"]})
    good = history.with_columns(met=pl.lit(3), passed=pl.lit(True))
    assert golden_history_plot(history, title="h") != golden_history_plot(good, title="h")
    assert golden_history_plot(history.clear(), title="h").startswith(PNG)
