from __future__ import annotations

import polars as pl

from within_pipelines.prediction import Evaluation
from within_pipelines.reporting import evaluation_table, frame_markdown, verdict_table
from within_pipelines.stats import Verdict


def test_the_main_metric_comes_first_and_stands_beside_its_baseline(evaluation: Evaluation) -> None:
    table = evaluation_table(evaluation)
    assert table.columns == ["metric", "value", "low", "high", "n", "baseline", "baseline_low", "baseline_high"]
    assert table.row(0) == ("brier_skill", 0.08, 0.05, 0.11, 24, 0.03, 0.01, 0.05)
    assert table.filter(pl.col("metric") == "base_rate").row(0)[5:] == (None, None, None)


def test_a_verdict_without_an_estimate_has_empty_numbers(verdicts: tuple[Verdict, ...]) -> None:
    table = verdict_table(verdicts)
    assert table.columns == ["gate", "status", "value", "low", "high", "threshold", "units", "reason"]
    assert table["status"].to_list() == ["passed", "insufficient_evidence", "failed"]
    assert table.row(2) == ("golden_sample", "failed", None, None, None, None, None, "the answers | <changed>")


def test_no_verdicts_are_an_empty_table_with_its_columns() -> None:
    assert verdict_table([]).shape == (0, 8)


def test_markdown_has_one_row_per_row_and_escapes_cells(verdicts: tuple[Verdict, ...]) -> None:
    lines = frame_markdown(verdict_table(verdicts)).splitlines()
    assert len(lines) == 5
    assert "the answers \\| \\<changed\\>" in lines[-1]
    unescaped = lines[-1].replace("\\|", "")
    assert unescaped.count("|") == lines[1].count("|")


def test_a_limit_says_what_it_hides() -> None:
    assert frame_markdown(pl.DataFrame({"a": list(range(10))}), limit=3).endswith("\nand 7 more rows")
