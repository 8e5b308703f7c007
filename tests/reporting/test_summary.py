from __future__ import annotations

from dataclasses import replace
from datetime import date
from io import StringIO

from rich.console import Console

from within_pipelines.reporting import ModelLine, RunSummary, render_summary, summary_markdown
from within_pipelines.stats import Estimate, Status

CHAMPION = ModelLine(
    model="account_health",
    version="1",
    kind="logistic_xgboost",
    metric="brier_skill",
    estimate=Estimate(0.08, 0.05, 0.11, n=24),
    baseline="persistence",
    baseline_estimate=Estimate(0.03, 0.01, 0.05, n=24),
    verdicts=(("performance", Status.PASSED), ("calibration", Status.INSUFFICIENT), ("golden_sample", Status.FAILED)),
    alias="champion",
    note="",
)
MISSING = ModelLine("ad_score", None, "", "pairwise_accuracy", None, "longer_headline", None, (), None, "no ads with \x1b[31mtexts[/red]")
SUMMARY = RunSummary(
    files=1512,
    rows_in=100_003,
    rows_accepted=90_000,
    rows_unchanged=10_000,
    rows_quarantined=3,
    quarantine_reasons={"bad_date": 1, "total_row": 2},
    models=(CHAMPION, MISSING),
    scored_day=date(2026, 11, 22),
    ads_scored=812,
    accounts_scored=24,
    anomalies_found=5,
    where_next=("within alerts", "make dev"),
)


def shown(summary: RunSummary, width: int = 120) -> str:
    out = StringIO()
    Console(file=out, width=width).print(render_summary(summary))
    return out.getvalue()


def test_the_summary_shows_rows_models_verdicts_and_the_next_step() -> None:
    text = shown(SUMMARY)
    for part in ("100,003", "total_row 2, bad_date 1", "0.080 [0.050, 0.110]", "0.030 [0.010, 0.050]", "✓ passed performance",
                 "? insufficient calibration", "✗ failed golden_sample", "champion", "not trained", "not measured",
                 "812 ads", "5 anomalies", "within alerts"):  # fmt: skip
        assert part in text, part
    assert "\x1b" not in text
    assert "texts[/red]" in text, "markup in data is text"


def test_a_narrow_console_still_shows_every_number() -> None:
    assert "0.080" in shown(SUMMARY, width=80)


def test_a_summary_before_anything_was_scored_says_so() -> None:
    assert "Nothing has been scored yet." in shown(replace(SUMMARY, scored_day=None, where_next=()))


def test_models_without_a_champion_are_named() -> None:
    assert SUMMARY.unserved == ("ad_score",)


def test_markdown_says_the_same() -> None:
    text = summary_markdown(SUMMARY)
    assert "| 1,512 | 100,003 | 90,000 | 10,000 | 3 | total\\_row 2, bad\\_date 1 |" in text
    assert "✓ passed performance, ? insufficient calibration, ✗ failed golden\\_sample | champion |" in text
    assert "no verdicts | nothing |" in text
    assert "\x1b" not in text
    assert text.endswith("- within alerts\n- make dev\n")
