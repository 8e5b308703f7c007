"""How does a result look to a person?

Evaluations, verdicts and runs become tables, plots, Markdown and a model card. Nothing here computes a statistic, decides anything or reads
a clock; rich and matplotlib load inside the functions that use them."""

from within_pipelines.reporting.landed import print_ingest
from within_pipelines.reporting.model_card import model_card
from within_pipelines.reporting.plots import certified_plot, evaluation_plots, learning_curve, robustness_plot, series_plot
from within_pipelines.reporting.runs import run_comparison, run_lines
from within_pipelines.reporting.summary import ModelLine, RunSummary, render_summary, summary_markdown
from within_pipelines.reporting.tables import evaluation_table, frame_markdown, verdict_table
from within_pipelines.reporting.terminal import counting, open_console, print_frame, print_table, step_log
from within_pipelines.reporting.text import interval_text, markdown_escaped, number_text, printable_text, status_text

__all__ = [
    "ModelLine",
    "RunSummary",
    "certified_plot",
    "counting",
    "evaluation_plots",
    "evaluation_table",
    "frame_markdown",
    "interval_text",
    "learning_curve",
    "markdown_escaped",
    "model_card",
    "number_text",
    "open_console",
    "print_frame",
    "print_ingest",
    "print_table",
    "printable_text",
    "render_summary",
    "robustness_plot",
    "run_comparison",
    "run_lines",
    "series_plot",
    "status_text",
    "step_log",
    "summary_markdown",
    "verdict_table",
]
