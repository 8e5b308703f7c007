"""A model card: one page on one trained version, from what was recorded about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.reporting.tables import frame_markdown, verdict_table
from within_pipelines.reporting.text import interval_text, markdown_escaped

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion
    from within_pipelines.stats import Verdict

_USES: Mapping[str, str] = {
    "ad_score": "Rank the creatives of one ad group before money is spent on them. The score says how a text compares with its siblings.",
    "account_health": "Point a person to the accounts and campaigns whose efficiency is likely to drop within a week.",
    "anomaly": "Point to days on which a metric of an account left the range that its own past makes likely.",
}
_LIMITS: Mapping[str, tuple[str, ...]] = {
    "ad_score": (
        "It reads text and context, not images, prices or landing pages.",
        "What it learned are associations in past traffic: platforms choose who sees which ad, so a higher score is no causal promise.",
        "Scores compare ads within a group; they do not compare accounts.",
    ),
    "account_health": (
        "It knows what the exports say; a changed budget, offer or landing page is invisible to it.",
        "A risk factor is an association, not a cause.",
        "Rows with too few clicks, an unknown newest week or a measure of efficiency that training never had get no number.",
        "Features beyond the training range count as its end; such an answer says that it is out of support, and why.",
    ),
    "anomaly": (
        "There are no labels of real incidents: recall is measured on injected drops and spikes of stated shapes.",
        "Young days are judged after correction for late conversions, and less sharply.",
        "A detector does not tell a mistake from a deliberate change.",
    ),
}


# Among the details of a version: a table, which has a section of its own.
_COSTS = "objective_costs"
_FACTORS: Mapping[str, str] = {
    "ad_score": "Audience segments, platforms and formats; the fairness report compares segments, the robustness report edits.",
    "account_health": "Platforms, and how many clicks stand behind an account; too few are answered with insufficient data.",
    "anomaly": "The metric's size and rhythm, and how complete a day is; young days are judged less sharply.",
}
_ETHICS = (
    "Platforms decide who sees which ad, partly by protected traits or what stands for them; what is learned from their results can carry "
    "that on. Read the fairness report before audiences are chosen by a score. No data about single persons goes in."
)


def card_gaps(version: ModelVersion) -> tuple[str, ...]:
    """What a complete card needs and this version's would not say; empty when nothing is missing.

    Asked for are the sections of Mitchell et al. (2019) as far as they are facts: declared use, factors and limits; data version, knowledge
    time, code and seed; the main metric among metrics with intervals, beside a baseline's, and the days they were measured on."""
    numbers = version.metrics.get(version.main_metric, {})
    there = {
        "intended use": version.model in _USES,
        "factors": version.model in _FACTORS,
        "limits": version.model in _LIMITS,
        "data version": bool(version.data_version),
        "training inputs": bool(version.training_fingerprint and version.spec_sha256),
        "code version": bool(version.code_version),
        "artifact hash": len(version.model_sha256) == 64,
        "main metric with its interval": {"value", "low", "high", "n"} <= set(numbers),
        "the baseline's main metric": version.main_metric in version.baseline_metrics,
        "days of the evaluation": {"first_day", "last_day"} <= set(version.evaluation),
    }
    return tuple(name for name, known in there.items() if not known)


def model_card(version: ModelVersion, verdicts: Sequence[Verdict]) -> str:
    """The card in Markdown; every number in it was recorded with `version` or stands in `verdicts` (oldest first: the newest
    of a gate counts).

    Sections follow Mitchell et al. (2019), "Model Cards for Model Reporting"."""
    trained = f"{version.trained_at:%Y-%m-%d %H:%M} UTC"
    lines = [
        f"# {markdown_escaped(version.model)} v{version.version}",
        "",
        f"Kind {_code(version.kind)}, trained {trained} with seed {version.seed}. Artifact {_code(version.model_sha256)}.",
        "",
        "## Intended use",
        "",
        _USES.get(version.model, "No intended use is declared for this model."),
        "Not meant for decisions about persons, or without a person who can overrule it.",
        "",
        "## Factors",
        "",
        _FACTORS.get(version.model, "None are declared for this model."),
        "",
        "## Data",
        "",
        f"- data version {_code(version.data_version)} (hash over the ingested files), lake commit {version.commit_seq}",
        f"- as known at {version.as_of:%Y-%m-%d %H:%M} UTC",
        f"- feature spec {_code(version.spec_sha256)}, training inputs {_code(version.training_fingerprint)}",
    ]
    lines += [f"- code {_code(version.code_version)}"] if version.code_version else []
    details = version.evaluation.get("details", {})
    lines += [
        f"- {markdown_escaped(name.replace('_', ' '))}: {markdown_escaped(str(value))}" for name, value in details.items() if name != _COSTS
    ]
    lines += ["", "## Metrics", "", *_metrics(version), "", "## Verdicts", ""]
    newest = {verdict.gate: verdict for verdict in verdicts}
    lines.append(frame_markdown(verdict_table(list(newest.values()))) if verdicts else "No verdict has been recorded.")
    lines += [*_objective_costs(version), *_components(version), *_importance(version)]
    lines += ["", "## Limits", ""]
    limits = _LIMITS.get(version.model, ("None are declared for this model.",))
    lines += [f"- {limit}" for limit in limits]
    lines += ["", "## Ethical considerations", "", _ETHICS]
    return "\n".join(lines) + "\n"


def _metrics(version: ModelVersion) -> list[str]:
    if not version.metrics:
        return ["This version has not been evaluated."]
    names = sorted(version.metrics, key=lambda name: (name != version.main_metric, name))
    rows = [
        (name + (" (main)" if name == version.main_metric else ""), _interval(version.metrics[name]), int(version.metrics[name]["n"]),
         _interval(version.baseline_metrics.get(name)))
        for name in names
    ]  # fmt: skip
    table = frame_markdown(pl.DataFrame(rows, schema=["metric", "this version", "units", "baseline"], orient="row"))
    period = version.evaluation
    seen = f", on days {period['first_day']} to {period['last_day']}" if {"first_day", "last_day"} <= set(period) else ""
    level = version.metrics[names[0]].get("level", 0.95)
    return [f"With {level:.0%} intervals over independent units{seen}.", "", table]


def _importance(version: ModelVersion) -> list[str]:
    rows = version.evaluation.get("importance") or []
    if not rows:
        return []
    listed = [(row["feature"], float(row["importance"])) for row in rows]
    table = frame_markdown(pl.DataFrame(listed, schema=["feature", "mean |contribution|"], orient="row"))
    said = "Mean size of each feature's contribution to the log-odds of unseen rows."
    if version.model == "anomaly":
        said = "What each forecaster adds to the surprise (-log10 p) of the one in twenty unseen points that surprise most."
    return ["", "## What it looks at", "", said, "", table]


def _objective_costs(version: ModelVersion) -> list[str]:
    details = version.evaluation.get("details", {})
    rows = details.get(_COSTS) or []
    if not rows:
        return []
    listed = [(row["measure"], row["plain"], row["with objective"], interval_text(row | {"value": row["change"]})) for row in rows]
    table = frame_markdown(pl.DataFrame(listed, schema=["measure", "without", "with", "change"], orient="row"))
    aim = markdown_escaped(str(details.get("objective")))
    said = f"Trained with {aim}, beside the same training without it, on unseen ads; 95 % intervals."
    return ["", "## What its training objective bought and cost", "", said, "", table]


def _components(version: ModelVersion) -> list[str]:
    rows = version.evaluation.get("components") or []
    if not rows:
        return []
    shares = ["" if row["share"] is None else interval_text(row | {"value": row["share"], "n": row["clusters"]}) for row in rows]
    listed = [(row["component"], share, row["pairs"], row["says"]) for row, share in zip(rows, shares, strict=True)]
    table = frame_markdown(pl.DataFrame(listed, schema=["component", "share of pairs", "pairs", "says"], orient="row"))
    said = "Of unseen sibling pairs in which it differs, the share where the ad with more of it had the higher rate; .5 tells nothing."
    return ["", "## What the component scores are worth", "", said, "", table]


def _interval(numbers: Mapping[str, float] | None) -> str:
    return "" if numbers is None else interval_text(numbers)


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`" if text else "unknown"
