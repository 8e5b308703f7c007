"""What a person is told when something went wrong: one value per cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.feature_drift import FeatureDriftReport
from within_pipelines.monitoring.findings import MonitorFinding
from within_pipelines.monitoring.state import DriftState
from within_pipelines.stats import Status, Verdict


class Severity(StrEnum):
    """How soon somebody should look: when convenient, today, now."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """One cause that a person should know about.

    `dedup_key` names the cause and stays the same while it lasts, so that a repeated failure is one alert; `closes_when` says what would
    end it; `context` holds what the reader needs to find the place (run id, asset, model hash), never a secret or a payload.

    `group` names what alerts of different keys have in common (a run that failed and its failed checks, accounts of one platform), so
    that they reach a person as one message; by default the alert stands alone. `money_at_risk` is an amount by currency; currencies are
    never summed. `likely_cause` and `accounts` are empty where unknown."""

    dedup_key: str
    severity: Severity
    title: str
    detail: str
    closes_when: str
    context: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    likely_cause: str = ""
    accounts: tuple[str, ...] = ()
    money_at_risk: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.dedup_key and self.title and self.closes_when):
            raise SampleError(f"Alert {self.title!r} lacks its key, title or what would close it; give all three.")
        object.__setattr__(self, "context", MappingProxyType(dict(self.context)))
        object.__setattr__(self, "money_at_risk", MappingProxyType(dict(self.money_at_risk)))
        object.__setattr__(self, "accounts", tuple(self.accounts))
        object.__setattr__(self, "group", self.group or self.dedup_key)

    def links(self, dagster_url: str) -> Mapping[str, str]:
        """Addresses of the asset and the run in the Dagster UI at `dagster_url`, as far as the context names them.

        >>> alert_for_run(job="j", run_id="ab", error="e").links("http://127.0.0.1:3000/")
        mappingproxy({'run': 'http://127.0.0.1:3000/runs/ab'})
        """
        root = dagster_url.rstrip("/")
        paths = {"asset": "assets", "run": "runs"}
        named = {"asset": self.context.get("asset", ""), "run": self.context.get("run_id", "")}
        return MappingProxyType({what: f"{root}/{paths[what]}/{quote(name)}" for what, name in named.items() if name})


def alert_for_verdict(verdict: Verdict, *, model: str) -> Alert | None:
    """An alert for a gate that did not pass; None when it passed. A failure is a warning and missing evidence an information, because a
    gate that refuses a challenger leaves the champion serving.

    >>> verdict = Verdict("calibration", Status.FAILED, None, 1.0, {}, "The slope is .4.")
    >>> alert_for_verdict(verdict, model="ad_score").dedup_key
    'gate/ad_score/calibration'
    """
    if verdict.passed:
        return None
    failed = verdict.status is Status.FAILED
    return Alert(
        dedup_key=f"gate/{model}/{verdict.gate}",
        severity=Severity.WARNING if failed else Severity.INFO,
        title=f"{model}: {verdict.gate} {'failed' if failed else 'has too little evidence'}",
        detail=verdict.reason,
        closes_when=f"A version of {model} passes the gate {verdict.gate}.",
        context={"model": model, "gate": verdict.gate, "model_sha256": verdict.model_sha256, "data_version": verdict.data_version},
    )


def alert_for_check(
    *, asset: str, check: str, passed: bool, blocking: bool, detail: str, context: Mapping[str, str] | None = None
) -> Alert | None:
    """An alert for a failed data check: critical when it blocks what comes after it, else a warning. None when it passed."""
    if passed:
        return None
    return Alert(
        dedup_key=f"check/{asset}/{check}",
        severity=Severity.CRITICAL if blocking else Severity.WARNING,
        title=f"{asset}: check {check} failed",
        detail=detail,
        closes_when=f"The check {check} passes on the next materialization of {asset}.",
        context={**(context or {}), "asset": asset, "check": check},
        # What fails in one run has one cause more often than not.
        group=f"run/{(context or {}).get('run_id', '')}" if (context or {}).get("run_id") else "",
    )


def alert_for_run(*, job: str, run_id: str, step: str = "", error: str) -> Alert:
    """An alert for a run that failed. Runs of one job that fail in the same step are one cause."""
    return Alert(
        dedup_key=f"run/{job}/{step}" if step else f"run/{job}",
        severity=Severity.CRITICAL,
        title=f"{job} failed" + (f" in {step}" if step else ""),
        detail=error,
        closes_when=f"A later run of {job} succeeds.",
        context={"job": job, "run_id": run_id, "step": step},
        group=f"run/{run_id}",
    )


def alert_for_drift(report: FeatureDriftReport, *, table: str) -> Alert | None:
    """A warning that names the features that moved, farthest first; None unless something drifted."""
    if report.state is not DriftState.DRIFTED:
        return None
    by_name = {feature.feature: feature for feature in report.features}
    parts = []
    for name in report.drifted[:5]:
        moved = by_name[name]
        distance = "" if moved.distance is None else f", distance {moved.distance:.2f}"
        parts.append(f"{name} ({moved.cause}{distance}, missing {moved.missing_reference:.0%} to {moved.missing_current:.0%})")
    more = f" and {len(report.drifted) - 5} more" if len(report.drifted) > 5 else ""
    return Alert(
        dedup_key=f"drift/{table}",
        severity=Severity.WARNING,
        title=f"{table}: {len(report.drifted)} of {len(report.features)} features drifted",
        detail=f"{'; '.join(parts)}{more}.",
        closes_when=f"A later window of {table} is stable against its reference, or a model trained on the new data serves.",
        context={"table": table, "rows": str(report.n_current), "units": str(report.n_units)},
    )


def alert_for_silent_sensor(sensor: str, *, last_tick_at: datetime, ticks: int = 1, run_ended_at: datetime | None = None) -> Alert:
    """An alert for a sensor that has stopped ticking: what it watches goes unnoticed meanwhile.

    With `ticks` 0 it never did, and `last_tick_at` is since when it is waited for; `run_ended_at` is when a run ended of which it should
    have been told."""
    last = f"Its last tick ended on {_shown(last_tick_at)}" if ticks else f"It never ticked and is waited for since {_shown(last_tick_at)}"
    run = "" if run_ended_at is None else f", although a run ended on {_shown(run_ended_at)} that it has to look at"
    return Alert(
        dedup_key=f"sensor/{sensor}",
        severity=Severity.CRITICAL,
        title=f"{sensor} has stopped" if ticks else f"{sensor} has never ticked",
        detail=f"{last}{run}; see its ticks in the Dagster UI under Automation.",
        closes_when=f"{sensor} finishes a tick.",
        context={"sensor": sensor},
    )


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d at %H:%M} UTC"


_STATES = {DriftState.DRIFTED: "has drifted", DriftState.MEASUREMENT_CHANGE: "changed its measurement"}


# Monitors that share the asset of another one.
_SHOWN_BY = {"calibration_drift": "concept_drift", "multivariate_drift": "data_drift", "text_drift": "data_drift"}


def alert_for_finding(found: MonitorFinding) -> Alert | None:
    """A warning when a monitor found that something moved, an information when a measurement change explains it, else None."""
    if found.state not in _STATES:
        return None
    named = f" ({', '.join(found.features[:3])})" if found.features else ""
    accounts = found.evidence.get("accounts", ())
    return Alert(
        dedup_key=f"monitor/{found.model}/{found.monitor}",
        severity=Severity.WARNING if found.drifted else Severity.INFO,
        title=f"{found.model}: {found.monitor} {_STATES[found.state]}{named}",
        detail=found.reason or "See the report of the day.",
        closes_when=f"{found.monitor} calls {found.model} stable, or another version of it serves.",
        context={
            "model": found.model,
            "monitor": found.monitor,
            "day": found.day.isoformat(),
            "asset": _SHOWN_BY.get(found.monitor, found.monitor),
            "model_sha256": str(found.evidence.get("model_sha256", "")),
            # The run that found it, where a run did.
            **({"run_id": str(found.evidence["run_id"])} if found.evidence.get("run_id") else {}),
        },
        group=f"monitor/{found.model}",
        likely_cause=_cause(found),
        accounts=tuple(str(entry["account"]) for entry in accounts),
        money_at_risk=found.money_at_risk,
    )


def _cause(found: MonitorFinding) -> str:
    """What the finding knows beyond the names of what moved: the events that explain it, or how features moved and in which accounts."""
    if found.state is DriftState.MEASUREMENT_CHANGE:
        return "; ".join(f"{event['what']} ({event['day']})" for event in found.evidence.get("events", ()))
    moved = [row for row in found.evidence.get("table", ()) if row.get("state") == DriftState.DRIFTED.value and row.get("cause")]
    parts = [_movement(row) for row in moved[:3]]
    parts += [f"{row['feature']} carries {row['share']:.0%} of the difference" for row in found.evidence.get("attribution", ())[:3]]
    if accounts := found.evidence.get("accounts", ()):
        parts.append("most of it in " + ", ".join(f"{entry['account']} ({entry['share']:.0%})" for entry in accounts[:3]))
    return "; ".join(parts)


def _movement(row: Mapping[str, Any]) -> str:
    if row["cause"] not in ("values", "missing", "values and missing"):
        return f"{row['feature']}: {row['cause']}"
    values = "" if row.get("effect") is None or row["cause"] == "missing" else f" (distance {row['effect']:.2f})"
    missing = f" (missing {row['missing_reference']:.0%}, now {row['missing_current']:.0%})" if "missing" in row["cause"] else ""
    return f"{row['feature']}: {row['cause']}{values}{missing}"
