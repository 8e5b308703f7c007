"""What a run did, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from within_pipelines.reporting.text import markdown_escaped, number_text, printable_text, status_text
from within_pipelines.stats import Estimate, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {Status.PASSED: "green", Status.FAILED: "red", Status.INSUFFICIENT: "yellow"}


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model: what was trained, how good it is beside its baseline, which gates it passed, whether it serves.

    `version` is None when nothing was trained, `alias` None when the version does not serve."""

    model: str
    version: str | None
    kind: str
    metric: str
    estimate: Estimate | None
    baseline: str
    baseline_estimate: Estimate | None
    verdicts: tuple[tuple[str, Status], ...]
    alias: str | None
    note: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The state of a deployment after a run. Rows in = accepted + unchanged + quarantined."""

    files: int
    rows_in: int
    rows_accepted: int
    rows_unchanged: int
    rows_quarantined: int
    quarantine_reasons: Mapping[str, int]
    models: tuple[ModelLine, ...]
    scored_day: date | None
    ads_scored: int
    accounts_scored: int
    anomalies_found: int
    where_next: tuple[str, ...]

    @property
    def unserved(self) -> tuple[str, ...]:
        """Models without a champion."""
        return tuple(line.model for line in self.models if line.alias != "champion")


def render_summary(summary: RunSummary) -> RenderableType:
    """Short tables for a terminal: rows, models beside their baselines with verdicts, scores, where to look next."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = Table(title="Rows", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("files", "in", "accepted", "unchanged", "quarantined"):
        rows.add_column(name, justify="right")
    rows.add_column("why quarantined")
    counts = (summary.files, summary.rows_in, summary.rows_accepted, summary.rows_unchanged, summary.rows_quarantined)
    rows.add_row(*(number_text(count) for count in counts), Text(_reasons(summary) or "-"))

    models = Table(title="Models", title_justify="left", title_style="bold", box=None, pad_edge=False)
    # A name or a gate broken over two lines is hard to tell from two; numbers may wrap on a narrow terminal.
    for name in ("model", "main metric", "baseline", "gates"):
        models.add_column(name, no_wrap=name in ("model", "gates"), overflow="fold")
    for line in summary.models:
        gates = Text()
        for position, (gate, status) in enumerate(line.verdicts):
            gates.append("\n" if position else "").append(_short(status), style=_COLOURS[status]).append(f" {gate}")
        who = Text(f"{line.model}\n{_version(line)}\n")
        models.add_row(
            who.append(line.alias or "serves nothing", style="green" if line.alias == "champion" else "red"),
            Text(f"{line.metric}\n{_interval(line.estimate)}"),
            Text(f"{line.baseline}\n{_interval(line.baseline_estimate)}"),
            gates if line.verdicts else Text("no verdicts"),
        )
    parts: list[RenderableType] = [rows, Text(), models]
    notes = [f"{line.model}: {line.note}" for line in summary.models if line.note]
    parts += [Text(printable_text(note), style="dim") for note in notes]
    parts += [Text(), Text(_scores(summary))]
    if summary.where_next:
        parts += [Text(), Text("Where to look next", style="bold"), *(Text(f"  {printable_text(hint)}") for hint in summary.where_next)]
    return Group(*parts)


def summary_markdown(summary: RunSummary) -> str:
    """The same summary as Markdown."""
    lines = [
        "| files | rows in | accepted | unchanged | quarantined | why quarantined |",
        "|---:|---:|---:|---:|---:|---|",
        f"| {summary.files:,} | {summary.rows_in:,} | {summary.rows_accepted:,} | {summary.rows_unchanged:,} | "
        f"{summary.rows_quarantined:,} | {markdown_escaped(_reasons(summary)) or '-'} |",
        "",
        "| model | version | main metric | baseline | gates | serves |",
        "|---|---|---|---|---|---|",
    ]
    for line in summary.models:
        gates = ", ".join(f"{_short(status)} {markdown_escaped(gate)}" for gate, status in line.verdicts) or "no verdicts"
        cells = (
            line.model,
            _version(line),
            f"{line.metric} {_interval(line.estimate)}",
            f"{line.baseline} {_interval(line.baseline_estimate)}",
        )
        lines.append("| " + " | ".join(markdown_escaped(cell) for cell in cells) + f" | {gates} | {line.alias or 'nothing'} |")
    lines += ["", *(f"- {markdown_escaped(f'{line.model}: {line.note}')}" for line in summary.models if line.note)]
    lines += ["", _scores(summary)]
    if summary.where_next:
        lines += ["", "Where to look next:", "", *(f"- {markdown_escaped(hint)}" for hint in summary.where_next)]
    return "\n".join(lines) + "\n"


def _reasons(summary: RunSummary) -> str:
    ordered = sorted(summary.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ordered)


def _version(line: ModelLine) -> str:
    return "not trained" if line.version is None else f"v{line.version} {line.kind}"


def _interval(estimate: Estimate | None) -> str:
    return "not measured" if estimate is None else str(estimate)


def _scores(summary: RunSummary) -> str:
    if summary.scored_day is None:
        return "Nothing has been scored yet."
    return (
        f"Scored {summary.scored_day.isoformat()}: {summary.ads_scored:,} ads, {summary.accounts_scored:,} accounts and campaigns, "
        f"{summary.anomalies_found:,} anomalies."
    )


def _short(status: Status) -> str:
    """The outcome without its last word, so that six columns fit on 120 signs."""
    return status_text(status).removesuffix(" evidence")
