"""How does a result look to a person?

Evaluations, verdicts and runs become tables, plots, Markdown and a model card. Nothing here computes a statistic, decides anything or reads
a clock; rich and matplotlib load inside the functions that use them."""

from within_pipelines.reporting.model_card import model_card
from within_pipelines.reporting.plots import evaluation_plots, series_plot
from within_pipelines.reporting.summary import ModelLine, RunSummary, render_summary, summary_markdown
from within_pipelines.reporting.tables import evaluation_table, frame_markdown, verdict_table
from within_pipelines.reporting.text import markdown_escaped, number_text, printable_text, status_text

__all__ = [
    "ModelLine",
    "RunSummary",
    "evaluation_plots",
    "evaluation_table",
    "frame_markdown",
    "markdown_escaped",
    "model_card",
    "number_text",
    "printable_text",
    "render_summary",
    "series_plot",
    "status_text",
    "summary_markdown",
    "verdict_table",
]
