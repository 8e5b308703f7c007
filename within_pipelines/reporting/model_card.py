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
        "Rows with too few clicks are answered with insufficient data instead of a number.",
    ),
    "anomaly": (
        "There are no labels of real incidents: recall is measured on injected drops and spikes of stated shapes.",
        "Young days are judged after correction for late conversions, and less sharply.",
        "A detector does not tell a mistake from a deliberate change.",
    ),
}


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
        "## Data",
        "",
        f"- data version {_code(version.data_version)} (hash over the ingested files), lake commit {version.commit_seq}",
        f"- as known at {version.as_of:%Y-%m-%d %H:%M} UTC",
        f"- feature spec {_code(version.spec_sha256)}, training inputs {_code(version.training_fingerprint)}",
    ]
    lines += [f"- code {_code(version.code_version)}"] if version.code_version else []
    details = version.evaluation.get("details", {})
    lines += [f"- {markdown_escaped(name.replace('_', ' '))}: {markdown_escaped(str(value))}" for name, value in details.items()]
    lines += ["", "## Metrics", "", *_metrics(version), "", "## Verdicts", ""]
    newest = {verdict.gate: verdict for verdict in verdicts}
    lines.append(frame_markdown(verdict_table(list(newest.values()))) if verdicts else "No verdict has been recorded.")
    lines += [*_components(version), *_importance(version)]
    lines += ["", "## Limits", ""]
    limits = _LIMITS.get(version.model, ("None are declared for this model.",))
    lines += [f"- {limit}" for limit in limits]
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
    return ["", "## What it looks at", "", "Mean size of each feature's contribution to the log-odds of unseen rows.", "", table]


def _components(version: ModelVersion) -> list[str]:
    rows = version.evaluation.get("components") or []
    if not rows:
        return []
    shares = ["" if row["share"] is None else interval_text(row | {"value": row["share"]}) for row in rows]
    listed = [(row["component"], share, row["pairs"], row["says"]) for row, share in zip(rows, shares, strict=True)]
    table = frame_markdown(pl.DataFrame(listed, schema=["component", "share of pairs", "pairs", "says"], orient="row"))
    said = "Of unseen sibling pairs in which it differs, the share where the ad with more of it had the higher rate; .5 tells nothing."
    return ["", "## What the component scores are worth", "", said, "", table]


def _interval(numbers: Mapping[str, float] | None) -> str:
    return "" if numbers is None else interval_text(numbers)


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`" if text else "unknown"
