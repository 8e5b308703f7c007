"""A fairness report as a page: verdict, gaps with intervals, groups, plots, what to do, and what it cannot say."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.exceptions import SchemaError
from within_pipelines.fairness import LEGAL_CAVEAT
from within_pipelines.reporting.plots import _BLUE, _GREY, _RED, _figure, _plain, _png
from within_pipelines.reporting.text import number_text

if TYPE_CHECKING:
    from within_pipelines.stats import Verdict

_GAP_COLUMNS = ("attribute", "measure", "role", "status", "gap", "low", "high", "threshold", "p_value", "adjusted", "null_limit",
                "detectable", "small")  # fmt: skip
LIMITS: tuple[str, ...] = (
    "Groups are what exports declare (the audience that was asked for), not who people are.",
    "A gap is not proof of discrimination, and its absence no proof of fairness: read the groups and how they came about.",
    "Parity of one measure rules out parity of others when groups differ in their outcomes (Kleinberg et al., 2017).",
    "A group that platforms treated unfairly has unfair outcomes; a model that predicts these well is fair by these measures.",
)
# What these tables say, and that none of them is a gate.
_DETAILS: Mapping[str, tuple[str, str]] = {
    "proxy_world": (
        "If the attribute were another, and what follows from it too",
        "Mean absolute change of the answer. With its proxies: a declared world, not a learned one, in which the attribute moves the named "
        "columns and a row keeps its rank among its group. Told, not judged.",
    ),
    "counterfactuals": (
        "How good counterfactuals are",
        "Validity: share of cases with one. Proximity: mean change in units of each input's spread. Sparsity: inputs changed. "
        "Plausibility: distance to known rows, 1 is usual. Inputs move one by one: this explains the model, not the world.",
    ),
    "delivery": (
        "Who was reached, and for whom money was spent",
        "A group's share of impressions, or of spend within each currency, over its share of ads; 1 is parity. What platforms and budgets "
        "did with the ads, not what the model says of them. Intervals resample accounts. Told, not judged.",
    ),
    "frontier": (
        "What a smaller gap would cost",
        f"Each way decides rows that it was not chosen on. None of them is in use; the regularised one reads the group too. {LEGAL_CAVEAT}",
    ),
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}"
    "td,th{border:1px solid #ccc;padding:.25rem .5rem;text-align:left;font-size:13px}.failed{color:#c0392b}.passed{color:#1e7d32}"
)


def gap_plot(gaps: pl.DataFrame) -> bytes:
    """Each gap with its interval in units of its threshold, the limit that shuffled groups stay below as a grey mark, 1 as the line.

    Raises `SchemaError` for a table that is no table of gaps."""
    missing = {"attribute", "measure", "gap", "low", "high", "threshold", "null_limit", "status"} - set(gaps.columns)
    if missing:
        raise SchemaError(f"A plot of gaps needs {', '.join(sorted(missing))}; give `FairnessAudit.to_frame()`.")
    rows = gaps.filter(pl.col("gap").is_not_null()).head(24).to_dicts()[::-1]
    figure, axes = _figure()
    for place, row in enumerate(rows):
        scale = row["threshold"]
        colour = _RED if row["status"] == "failed" else _BLUE
        axes.plot([row["low"] / scale, row["high"] / scale], [place, place], color=colour, linewidth=2)
        axes.plot([row["gap"] / scale], [place], "o", color=colour, markersize=4)
        axes.plot([row["null_limit"] / scale], [place], "|", color=_GREY, markersize=9)
    axes.axvline(1.0, color="black", linewidth=1, linestyle="--")
    names = [_plain(f"{row['measure'].replace('_', ' ')} / {row['attribute']}") for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=6, parse_math=False)
    axes.set_xlim(left=0)
    axes.set_xlabel("gap over threshold (grey: what chance gives)")
    return _png(figure)


def frontier_plot(frontiers: Mapping[str, Sequence[tuple[float, float]]], *, gap: str) -> bytes:
    """Accuracy against gap, one line per method; up and left is better."""
    figure, axes = _figure()
    for name, points in sorted(frontiers.items()):
        ordered = sorted(points)
        axes.plot([p[0] for p in ordered], [p[1] for p in ordered], "o-", markersize=3, linewidth=1, label=_plain(name))
    axes.set_xlabel(_plain(gap))
    axes.set_ylabel("accuracy")
    axes.legend(loc="lower right", fontsize=7, frameon=False)
    return _png(figure)


def frontier_image(points: pl.DataFrame) -> bytes:
    """`frontier_plot` of a table with `method`, `gap` and `accuracy`."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for method, gap, accuracy in points.select("method", "gap", "accuracy").iter_rows():
        lines.setdefault(method, []).append((gap, accuracy))
    return frontier_plot(lines, gap="gap in who is selected")


def fairness_html(
    title: str, verdict: Verdict, *, gaps: pl.DataFrame, groups: pl.DataFrame, notes: Sequence[str], bias: pl.DataFrame | None = None,
    details: Mapping[str, pl.DataFrame] | None = None,
) -> str:  # fmt: skip
    """The page, complete in one file; all text escaped. `details` holds tables named `proxy_world`, `counterfactuals`, `delivery` and
    `frontier`, which are told and not judged; beside the frontier stands the legal caveat of deciding by a group."""
    state = verdict.status.value
    shown = gaps.select([c for c in _GAP_COLUMNS if c in gaps.columns]) if gaps.width else gaps
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>",
        f"<p class='{state}'><b>{escape(state.replace('_', ' '))}</b>: {escape(verdict.reason)}</p>",
        f"<p>Rule: {escape(str(verdict.evidence.get('rule', 'absolute')))}. Artifact <code>{escape(verdict.model_sha256)}</code>.</p>",
        "<h2>What to do</h2>", _items(recommendations(verdict, gaps)),
        "<h2>Gaps</h2>", _image(gap_plot(gaps)) if gaps.width else "", _table(shown),
        "<h2>Groups</h2>", _table(groups),
        "<h2>Notes</h2>", _items(notes),
    ]  # fmt: skip
    if bias is not None and not bias.is_empty():
        parts += ["<h2>Data before training</h2>", _table(bias)]
    for name, (heading, meaning) in _DETAILS.items():
        table = (details or {}).get(name)
        if table is not None and not table.is_empty():
            plot = _image(frontier_image(table)) if name == "frontier" else ""
            parts += [f"<h2>{escape(heading)}</h2>", f"<p>{escape(meaning)}</p>", plot, _table(table)]
    parts += ["<h2>Limits</h2>", _items(LIMITS)]
    return "\n".join(part for part in parts if part) + "\n"


def recommendations(verdict: Verdict, gaps: pl.DataFrame) -> list[str]:
    """What a person may do next, from the rows that did not pass."""
    found = []
    for row in gaps.to_dicts() if gaps.width else []:
        what = f"{row['measure'].replace('_', ' ')} by {row['attribute']}"
        if row["status"] == "failed" and row["role"] != "watched":
            found.append(f"{what}: do not serve this version. Look at the groups' data, then reweigh or constrain the training.")
        elif row["status"] == "insufficient_evidence" and row["role"] == "required":
            found.append(f"{what}: collect more accounts or a longer history; until then the serving version is the yardstick.")
        elif row["warns"]:
            found.append(f"{what}: watch it at the next training.")
    if not found and verdict.passed:
        found.append("Nothing: every required gap is small, and a gap at the threshold would have been seen.")
    return found or [verdict.reason]


def _image(content: bytes) -> str:
    return f"<img alt='gaps' src='data:image/png;base64,{base64.b64encode(content).decode()}'>"


def _items(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _table(frame: pl.DataFrame) -> str:
    if frame.is_empty():
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in frame.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(number_text(v))}</td>" for v in row) + "</tr>" for row in frame.iter_rows())
    return f"<table><tr>{head}</tr>{rows}</table>"
