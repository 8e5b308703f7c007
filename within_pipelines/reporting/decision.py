"""A decision record: one page on one promotion that can be printed and filed, from what was recorded about it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from within_pipelines.reporting.tables import frame_markdown
from within_pipelines.reporting.text import interval_text, markdown_escaped, number_text, status_text
from within_pipelines.stats import Status

if TYPE_CHECKING:
    from within_pipelines.registry import AliasMove, ModelVersion
    from within_pipelines.stats import Verdict
    from within_pipelines.validation import ShadowComparison


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that a record of one move of the champion says.

    `before` is the version that served until then; `trigger` is what started the release. `shadow` compares the two before the move (the
    champion of then, this one in its shadow); `realised` after it (this one as champion, the one before in its shadow). `canary` are the
    recorded looks of the canary that led here, newest last: moment, state, share, gain with interval, who, why; `canary_outcomes` says
    where its outcomes came from. `experiments` are A/B tests with this version as an arm: name, state, arms, outcome, difference, reason.
    """

    move: AliasMove
    version: ModelVersion
    before: ModelVersion | None
    verdicts: tuple[Verdict, ...]
    shadow: ShadowComparison | None
    canary: tuple[tuple[str, ...], ...]
    realised: ShadowComparison | None
    written_at: datetime
    trigger: str = ""
    canary_outcomes: str = ""
    experiments: tuple[tuple[str, ...], ...] = ()


# A section is a title and its blocks; a block is a paragraph, or a table of column names and rows.
Block = str | tuple[Sequence[str], Sequence[Sequence[str]]]
Section = tuple[str, Sequence[Block]]


def _sections(decision: Decision) -> list[Section]:
    move, version, before = decision.move, decision.version, decision.before
    newest = {verdict.gate: verdict for verdict in decision.verdicts}
    facts = [
        ("model", version.model),
        ("from", "nothing served" if before is None else f"v{before.version} ({before.kind})"),
        ("to", f"v{version.version} ({version.kind})"),
        ("moved at", f"{move.moved_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("approved by", move.who),
        ("why", move.why),
        ("triggered by", decision.trigger or "not recorded (by hand, or before triggers were)"),
    ]
    training = [
        ("artifact", version.model_sha256),
        ("data version", version.data_version),
        ("known at", f"{version.as_of:%Y-%m-%d %H:%M} UTC, lake commit {version.commit_seq}"),
        ("trained at", f"{version.trained_at:%Y-%m-%d %H:%M} UTC with seed {version.seed}"),
        ("code", version.code_version or "not recorded"),
        ("training inputs", version.training_fingerprint),
    ]
    return [
        ("Decision", [(("", ""), facts)]),
        ("What was trained", [(("", ""), training)]),
        ("Verdicts", [_verdicts(list(newest.values()))]),
        ("Metrics", [_metrics(version)]),
        ("Golden set", _golden(newest.get("golden_sample"))),
        ("Shadow", [_comparison(decision.shadow, "No shadow of this version had answered beside the champion before the move.")]),
        ("Canary", _canary(decision)),
        ("Experiments", [_experiments(decision.experiments)]),
        ("Expected and realised gain", _gains(decision)),
    ]


def _verdicts(verdicts: Sequence[Verdict]) -> Block:
    if not verdicts:
        return "No verdict is recorded for this artifact and data."
    rows = []
    for verdict in verdicts:
        found = "" if verdict.estimate is None else str(verdict.estimate)
        units = number_text(min(verdict.sample_sizes.values(), default=None))
        rows.append((verdict.gate, status_text(verdict.status), found, number_text(verdict.threshold), units, verdict.reason))
    return ("gate", "verdict", "value with interval", "threshold", "units", "reason"), rows


def _metrics(version: ModelVersion) -> Block:
    if not version.metrics:
        return "This version was not evaluated."
    rows = [
        (name, interval_text(numbers), "" if name not in version.baseline_metrics else interval_text(version.baseline_metrics[name]))
        for name, numbers in sorted(version.metrics.items(), key=lambda item: (item[0] != version.main_metric, item[0]))
    ]
    return ("metric", "this version", str(version.evaluation.get("baseline", "baseline"))), rows


def _golden(verdict: Verdict | None) -> list[Block]:
    if verdict is None:
        return ["The golden sample was not asked."]
    rows = [("outcome", status_text(verdict.status)), ("set", verdict.golden_set_version or "not named"), ("reason", verdict.reason)]
    rows += [(name.replace("_", " "), str(value)) for name, value in verdict.evidence.items() if isinstance(value, str | int | float)]
    slices, differences = (verdict.evidence.get(name) or {} for name in ("slices", "differences"))
    found: list[Block] = [(("", ""), rows)]
    if slices:
        found.append((("part and slice", "share of cases met", "wanted", "outcome"), [_slice(*item) for item in slices.items()]))
    if not differences:
        return [
            *found,
            "No difference to a champion is recorded: none served when this was judged, it was this artifact, or it has no cases.",
        ]
    gains = [
        (name, str(own["cases"]), own["gain"], number_text(own["mcnemar_p"]), ", ".join(own["lost"]) or "none")
        for name, own in differences.items()
    ]
    other = verdict.evidence.get("beside", "the champion")
    return [*found, (("slice", "cases", f"gain in cases met over {other}", "McNemar p", f"met by {other} alone"), gains)]


def _slice(name: str, found: Mapping[str, Any] | str) -> tuple[str, ...]:
    if isinstance(found, str):
        # Verdicts were recorded as a share alone until slices had expectations of their own.
        return name, found, "not recorded", "not recorded"
    return name, str(found["share"]), str(found["wanted"]), status_text(Status(found["status"]))


def _comparison(found: ShadowComparison | None, none: str) -> Block:
    if found is None:
        return none
    rows = [
        ("answered by both", number_text(found.pairs)),
        ("the one beside failed, or never answered", f"{found.shadow_errors}, {found.missing}"),
        ("mean and largest difference", f"{number_text(found.mean_absolute_difference)}, {number_text(found.largest_difference)}"),
        ("rank correlation", "too few answers" if found.rank_correlation is None else str(found.rank_correlation)),
        ("milliseconds, median and 99 % (who is heard; beside)", f"{_pair(found.champion_ms)}; {_pair(found.shadow_ms)}"),
        ("with outcome", number_text(found.with_outcome)),
    ]
    return ("", ""), rows


def _pair(values: tuple[float, float]) -> str:
    return f"{values[0]:.1f}, {values[1]:.1f}"


def _canary(decision: Decision) -> list[Block]:
    if not decision.canary:
        return ["No canary of this version ran."]
    looks = ("when", "state", "share", "gain with one-sided ends", "by", "why"), decision.canary
    return [*([f"Its outcomes were {decision.canary_outcomes}."] if decision.canary_outcomes else []), looks]


def _experiments(rows: Sequence[tuple[str, ...]]) -> Block:
    return (("name", "state", "arms", "outcome", "difference", "reason"), rows) if rows else "No experiment had this version as an arm."


def _gains(decision: Decision) -> list[Block]:
    difference: Mapping[str, Any] | None = decision.version.evaluation.get("difference")
    metric, rival = decision.version.main_metric, decision.version.evaluation.get("baseline", "its rival")
    expected = (
        "not recorded" if not difference else f"{interval_text(difference)} in {metric} over {rival}, on days held back from training"
    )
    found = decision.realised
    if found is None:
        realised = "not known: the version before has not answered beside this one since the move"
    elif found.brier_gain is None:
        realised = (
            f"not known yet: {found.with_outcome} of {found.pairs} answers given by both have an outcome, or too few units do, or its "
            "values are no probabilities"
        )
    else:
        own = found.brier_gain
        realised = f"{-own.value:.4f} [{-own.high:.4f}, {-own.low:.4f}] less squared error than the version before, over {own.n} units"
    correlation = None if found is None else found.outcome_correlation
    rows = [("expected", expected), ("realised", realised)]
    if seen := [look[3] for look in decision.canary if look[3]]:
        rows.insert(1, ("seen in the canary", seen[-1]))
    if correlation is not None:
        rows.append(("rank correlation with outcomes", f"{correlation[0]:.3f} (the version before: {correlation[1]:.3f})"))
    return [(("", ""), rows)]


def decision_markdown(decision: Decision) -> str:
    """The record in Markdown."""
    lines = [f"# Decision record: {markdown_escaped(decision.version.model)} v{decision.version.version}", ""]
    for title, blocks in _sections(decision):
        lines += [f"## {title}", ""]
        for block in blocks:
            if isinstance(block, str):
                lines += [block, ""]
            else:
                columns, rows = block
                names = [name or " " * (place + 1) for place, name in enumerate(columns)]
                lines += [frame_markdown(pl.DataFrame([list(map(str, row)) for row in rows], schema=names, orient="row")), ""]
    lines.append(f"Written {decision.written_at:%Y-%m-%d %H:%M} UTC from the registry; every number was recorded when it was measured.")
    return "\n".join(lines) + "\n"


_STYLE = """body{font:11pt/1.45 Georgia,serif;max-width:52em;margin:2em auto;padding:0 1em;color:#111}h1{font-size:1.5em}h2{font-size:1.1em;
border-bottom:1px solid #999;margin-top:1.4em}table{border-collapse:collapse;width:100%;font:9.5pt/1.35 Arial,sans-serif}
th,td{border:1px solid #bbb;padding:.25em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}th{background:#eee}
tr{break-inside:avoid}h2{break-after:avoid}@page{margin:18mm}@media print{body{margin:0;max-width:none}}"""


def decision_html(decision: Decision) -> str:
    """The record as one HTML page for print; it loads nothing from anywhere."""
    name = html.escape(f"{decision.version.model} v{decision.version.version}")
    parts = [f"<h1>Decision record: {name}</h1>"]
    for title, blocks in _sections(decision):
        parts.append(f"<h2>{html.escape(title)}</h2>")
        for block in blocks:
            if isinstance(block, str):
                parts.append(f"<p>{html.escape(block)}</p>")
                continue
            columns, rows = block
            head = "".join(f"<th>{html.escape(column)}</th>" for column in columns) if any(columns) else ""
            body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
            parts.append(f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>")
    parts.append(f"<p>Written {decision.written_at:%Y-%m-%d %H:%M} UTC from the registry; every number was recorded as measured.</p>")
    head = f'<meta charset="utf-8"><title>Decision record: {name}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
