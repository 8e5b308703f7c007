from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.prediction import Evaluation
from within_pipelines.reporting import certified_plot, evaluation_plots, learning_curve, robustness_plot, series_plot
from within_pipelines.stats import Estimate

PNG = b"\x89PNG\r\n\x1a\n"


def test_an_evaluation_gives_three_small_plots(evaluation: Evaluation) -> None:
    plots = evaluation_plots(evaluation)
    assert sorted(plots) == ["comparison", "importance", "reliability", "tail_reliability"]
    assert all(png.startswith(PNG) and len(png) <= 60_000 for png in plots.values())


def test_equal_evaluations_give_equal_bytes(evaluation: Evaluation) -> None:
    assert evaluation_plots(evaluation) == evaluation_plots(replace(evaluation))
    changed = replace(evaluation, metrics={**evaluation.metrics, "brier_skill": Estimate(0.2, 0.1, 0.3, n=24)})
    assert evaluation_plots(changed)["comparison"] != evaluation_plots(evaluation)["comparison"]


def test_a_learning_curve_is_a_plot_of_its_losses() -> None:
    first = learning_curve([0.7, 0.6, 0.55], title="network loss")
    assert first.startswith(PNG)
    assert first == learning_curve([0.7, 0.6, 0.55], title="network loss")
    assert first != learning_curve([0.7, 0.6, 0.5], title="network loss")
    curve = {"x": [192, 432, 672], "y": [0.7, 0.6, 0.55], "x_label": "rows", "y_label": "loss"}
    drawn = learning_curve(curve, title="network loss")
    assert drawn.startswith(PNG)
    assert len({first, drawn, learning_curve(curve | {"x": [192, 432, 999]}, title="network loss")}) == 3


def test_an_evaluation_without_tables_has_only_the_comparison(evaluation: Evaluation) -> None:
    bare = replace(evaluation, tables={"importance": pl.DataFrame()}, baseline_metrics={})
    assert list(evaluation_plots(bare)) == ["comparison"]


def test_odd_names_and_numbers_that_are_not_finite_are_drawn_without_a_warning(evaluation: Evaluation) -> None:
    odd = replace(
        evaluation,
        baseline="$\\frac$ 漢字",
        metrics={"brier_skill": Estimate(0.1, float("nan"), float("nan"), n=1), "auroc": Estimate(float("nan"), 0, 1, n=1)},
        tables={"importance": pl.DataFrame({"feature": ["$^$", "ä" * 99], "importance": [1.0, None]})},
    )
    assert sorted(evaluation_plots(odd)) == ["comparison", "importance"]


def test_a_series_is_drawn_with_its_band_and_anomalies() -> None:
    days = [date(2026, 1, 1) + timedelta(days=i) for i in range(40)]
    plain = pl.DataFrame({"timestamp": days, "value": [float(i % 7) for i in range(40)]})
    full = plain.with_columns(expected=pl.lit(3.0), low=pl.lit(0.0), high=pl.lit(6.0), is_anomaly=pl.col("value") > 5)
    first, second = series_plot(plain), series_plot(full, title="spend of $1")
    assert first.startswith(PNG)
    assert second.startswith(PNG)
    assert first != second
    assert series_plot(full.reverse(), title="spend of $1") == second, "row order does not matter"
    assert len(second) <= 60_000


def test_a_series_without_values_is_refused() -> None:
    with pytest.raises(SchemaError, match="needs value; the frame has timestamp"):
        series_plot(pl.DataFrame({"timestamp": [date(2026, 1, 1)]}))


def test_importing_the_room_loads_neither_matplotlib_nor_rich() -> None:
    code = "import sys, within_pipelines.reporting; print({'matplotlib', 'rich', 'pandas', 'scipy', 'sqlalchemy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_robustness_plots_show_what_is_judged_and_certified() -> None:
    faults = pl.DataFrame(
        {
            "fault": ["typos", "row order", "noise"],
            "owed": ["stable", "unchanged", "stable"],
            "status": ["passed", "passed", "failed"],
            "unhandled": [0.02, 0.0, 0.4],
            "low": [0.0, 0.0, 0.3],
            "high": [0.1, 0.05, 0.5],
        }
    )
    first, second = (robustness_plot(faults, limit=limit, title="ad_score") for limit in (0.1, 0.3))
    assert first.startswith(b"\x89PNG")
    assert first == robustness_plot(faults, limit=0.1, title="ad_score")
    assert first != second
    curve = certified_plot({"plain": ([0.0, 0.1], [0.7, 0.2]), "hardened": ([0.0, 0.1], [0.7, 0.5])}, title="t", unit="sd")
    assert curve.startswith(b"\x89PNG")
