"""How does a result look to a person?

Evaluations, verdicts and runs become tables, plots, Markdown and a model card. Nothing here computes a statistic, decides anything or reads
a clock; rich and matplotlib load inside the functions that use them."""

from within_pipelines.reporting.decision import Decision, decision_html, decision_markdown
from within_pipelines.reporting.experiments import (
    canary_frame,
    canary_plot,
    canary_report,
    comparison_frame,
    comparison_plot,
    experiment_html,
    experiment_report,
    golden_history_plot,
    power_lines,
)
from within_pipelines.reporting.fairness import fairness_html, frontier_image, frontier_plot, gap_plot
from within_pipelines.reporting.landed import print_ingest
from within_pipelines.reporting.model_card import card_gaps, model_card
from within_pipelines.reporting.monitoring import (
    feature_days,
    feature_history,
    feature_plot,
    findings_table,
    monitor_plot,
    performance_plot,
)
from within_pipelines.reporting.plots import certified_plot, evaluation_plots, learning_curve, robustness_plot, series_plot
from within_pipelines.reporting.runs import run_comparison, run_lines
from within_pipelines.reporting.summary import ModelLine, RunSummary, render_summary, summary_markdown
from within_pipelines.reporting.tables import evaluation_table, frame_markdown, shadow_table, verdict_table
from within_pipelines.reporting.terminal import counting, open_console, print_frame, print_table, step_log
from within_pipelines.reporting.text import interval_text, markdown_escaped, number_text, printable_text, status_text

__all__ = [
    "Decision",
    "ModelLine",
    "RunSummary",
    "canary_frame",
    "canary_plot",
    "canary_report",
    "card_gaps",
    "certified_plot",
    "comparison_frame",
    "comparison_plot",
    "counting",
    "decision_html",
    "decision_markdown",
    "evaluation_plots",
    "evaluation_table",
    "experiment_html",
    "experiment_report",
    "fairness_html",
    "feature_days",
    "feature_history",
    "feature_plot",
    "findings_table",
    "frame_markdown",
    "frontier_image",
    "frontier_plot",
    "gap_plot",
    "golden_history_plot",
    "interval_text",
    "learning_curve",
    "markdown_escaped",
    "model_card",
    "monitor_plot",
    "number_text",
    "open_console",
    "performance_plot",
    "power_lines",
    "print_frame",
    "print_ingest",
    "print_table",
    "printable_text",
    "render_summary",
    "robustness_plot",
    "run_comparison",
    "run_lines",
    "series_plot",
    "shadow_table",
    "status_text",
    "step_log",
    "summary_markdown",
    "verdict_table",
]
