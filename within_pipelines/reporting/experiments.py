"""How an A/B test, a canary and the golden set's history look to a person."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.reporting.plots import _BLUE, _GREY, _RED, _figure, _plain, _png
from within_pipelines.reporting.tables import frame_markdown
from within_pipelines.reporting.text import markdown_escaped, number_text

if TYPE_CHECKING:
    from within_pipelines.database import CanaryMove, CanaryRecord
    from within_pipelines.validation import AbResult, ArmComparison, CanarySpec, ExperimentSpec


def power_lines(spec: ExperimentSpec, sd: float) -> list[str]:
    """What the experiment can find, before it starts: power read once at the end and read daily, and the units that 80 % need."""
    power = spec.power(sd)
    return [
        f"A change of {number_text(spec.minimum_effect)} in {spec.metric.name} (standard deviation {number_text(sd)}) is found by "
        f"{spec.planned_units:,} units with power {power['fixed']:.2f} read once at the end, {power['sequential']:.2f} read at "
        f"{spec.looks} looks.",
        f"80 % at a fixed end need {power['units_for_80_percent']:,.0f} units.",
    ]


def comparison_frame(found: Sequence[ArmComparison]) -> pl.DataFrame:
    """Comparisons as a table: arm, metric, segment, difference with its interval, relative change, p-value, units."""
    columns = ("arm", "metric", "segment", "difference", "relative", "p_value", "units")
    rows = [
        (
            c.arm, c.metric, c.segment, str(c.difference), "" if c.relative is None else f"{c.relative:+.1%}", f"{c.p_value:.3g}",
            c.difference.n,
        )
        for c in found
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=list(columns), orient="row")


def comparison_plot(found: Sequence[ArmComparison], *, title: str) -> bytes:
    """Differences with their intervals; the line is no difference."""
    figure, axes = _figure()
    axes.axvline(0, color=_GREY, linewidth=1, linestyle="--")
    labels = [" ".join(part for part in (c.arm, c.metric, c.segment) if part) for c in found]
    for place, c in enumerate(reversed(found)):
        axes.plot([c.difference.low, c.difference.high], [place, place], color=_BLUE, linewidth=2)
        axes.plot([c.difference.value], [place], "o", color=_BLUE, markersize=5)
    axes.set_yticks(range(len(found)), [_plain(label) for label in reversed(labels)], fontsize=7, parse_math=False)
    axes.set_xlabel("difference from control")
    axes.set_title(_plain(title), fontsize=9, parse_math=False)
    return _png(figure)


def experiment_report(spec: ExperimentSpec, result: AbResult, *, looks: int = 1) -> str:
    """An A/B test as Markdown: the outcome first, then what it rests on."""
    name = markdown_escaped(spec.name)
    counts = ", ".join(f"{markdown_escaped(arm)} {n:,}" for arm, n in result.units.items())
    how = "read once, at its end" if spec.analysis == "fixed" else f"read at any time (look {looks}); intervals hold at all looks together"
    parts = [
        f"# Experiment {name}: {result.outcome.value}",
        markdown_escaped(result.reason),
        f"Units: {counts}. Sample ratio p = {result.ratio.p_value:.3g}. Units in a foreign arm: {result.crossovers:,}. Analysis: {how}.",
    ]
    if not spec.randomised:
        parts.append("**Not causal.** The platform's optimiser chose who saw which arm.")
    for title, found in (("Primary metric", result.primary), ("Guardrails", result.guardrails), ("Segments", result.segments)):
        if found:
            parts += [f"## {title}", frame_markdown(comparison_frame(found))]
    if result.segments:
        parts.append("Segments were looked at many times over; their p-values are adjusted (Benjamini-Hochberg) and decide nothing.")
    return "\n\n".join(parts) + "\n"


def experiment_html(spec: ExperimentSpec, result: AbResult, *, looks: int = 1) -> str:
    """The same as one HTML page that needs nothing else, with the plot of all differences."""
    body = [f"<h1>Experiment {html.escape(spec.name)}: {html.escape(result.outcome.value)}</h1>", f"<p>{html.escape(result.reason)}</p>"]
    counts = ", ".join(f"{html.escape(arm)} {n:,}" for arm, n in result.units.items())
    body.append(
        f"<p>Units: {counts}. Sample ratio p = {result.ratio.p_value:.3g}. Look {looks}, {html.escape(spec.analysis)} analysis.</p>"
    )
    if not spec.randomised:
        body.append("<p><strong>Not causal.</strong> The platform's optimiser chose who saw which arm.</p>")
    for title, found in (("Primary metric", result.primary), ("Guardrails", result.guardrails), ("Segments", result.segments)):
        if found:
            body += [f"<h2>{title}</h2>", _html_table(comparison_frame(found))]
            encoded = base64.b64encode(comparison_plot(found, title=title)).decode()
            body.append(f'<img alt="{title}" src="data:image/png;base64,{encoded}">')
    style = "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(spec.name)}</title><style>{style}</style>'
    return head + "".join(body) + "</html>\n"


def _html_table(frame: pl.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in frame.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>" for row in frame.iter_rows())
    return f"<table><tr>{head}</tr>{rows}</table>"


def canary_frame(moves: Sequence[CanaryMove]) -> pl.DataFrame:
    """Every look and move of a canary as a table."""
    rows = [
        (
            move.revision, number_text(move.moved_at), move.state.value.replace("_", " "), f"{move.share:.0%}",
            "" if move.look is None else "; ".join(f"{m.metric} {m.gain}" for m in move.look.metrics), move.who, move.why,
        )
        for move in moves
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["look", "at", "state", "share", "gain", "who", "why"], orient="row")


def canary_report(canary: CanaryRecord, moves: Sequence[CanaryMove]) -> str:
    """A canary as Markdown: where it stands, why, and every look."""
    spec: CanarySpec = canary.spec
    state = canary.state.value.replace("_", " ")
    lines = [
        f"# Canary of {markdown_escaped(spec.model)} v{spec.version} beside v{spec.control_version}: {state}",
        f"{markdown_escaped(canary.reason)}",
        f"Stages {', '.join(f'{share:.0%}' for share in spec.shares)}; now {canary.share:.0%}. Rolled back by mistake with probability at "
        f"most {spec.alpha:g} over all looks. Outcomes count after {spec.maturity_days} days; a missing one counts as {spec.missing}.",
        frame_markdown(canary_frame(moves)),
    ]
    return "\n\n".join(lines) + "\n"


def canary_plot(moves: Sequence[CanaryMove], *, metric: str, margin: float) -> bytes:
    """One metric's gain over the looks with its ends, the accepted loss, and the share below."""
    seen = [(move, found) for move in moves if move.look is not None for found in move.look.metrics if found.metric == metric]
    figure, _ = _figure(axes=False)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    at = list(range(1, len(seen) + 1))
    above.axhline(0, color=_GREY, linewidth=1, linestyle="--")
    above.axhline(-margin, color=_RED, linewidth=1, linestyle="--", label="accepted loss")
    if seen:
        gains = [found.gain for _, found in seen]
        above.fill_between(at, [g.low for g in gains], [g.high for g in gains], color=_BLUE, alpha=0.15, linewidth=0)
        above.plot(at, [g.value for g in gains], "o-", color=_BLUE, markersize=3, linewidth=1, label=_plain(metric))
        widest = 2 * max(margin, *(abs(g.value) for g in gains))
        above.set_ylim(-2 * widest, 2 * widest)
        below.step(at, [100 * move.share for move, _ in seen], where="post", color="black", linewidth=1)
    above.legend(loc="best", fontsize=7, frameon=False)
    above.set_ylabel("gain")
    below.set_ylabel("share, %")
    below.set_xlabel("look")
    return _png(figure)


def golden_history_plot(history: pl.DataFrame, *, title: str) -> bytes:
    """Share of the golden set's cases met, check by check; a check that did not pass is marked, a line stands where the set changed."""
    figure, axes = _figure()
    at = list(range(1, history.height + 1))
    share = (history["met"] / history["cases"].cast(pl.Float64)).fill_nan(1.0).to_list()
    passed = history["passed"].to_list()
    axes.plot(at, share, "o-", color=_BLUE, linewidth=1, markersize=4)
    off = [place for place, ok in zip(at, passed, strict=True) if not ok]
    axes.plot(off, [share[place - 1] for place in off], "o", color=_RED, markersize=6, label="did not pass")
    versions = history["set_version"].to_list()
    for place in range(1, len(versions)):
        if versions[place] != versions[place - 1]:
            axes.axvline(place + 0.5, color=_GREY, linewidth=1, linestyle=":")
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("check")
    axes.set_ylabel("cases met")
    axes.set_title(_plain(title), fontsize=9, parse_math=False)
    if off:
        axes.legend(loc="lower left", fontsize=8, frameon=False)
    return _png(figure)
