"""One day's monitoring: each champion against what it was trained on, with a budget of false alarms that spans the days."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from within_pipelines.exceptions import SampleError
from within_pipelines.files import write_text
from within_pipelines.monitoring.findings import MONITORS, MonitorFinding, MonitorReport
from within_pipelines.monitoring.state import DriftState
from within_pipelines.pipeline.drift_reference import DriftReference, read_reference, schema_version
from within_pipelines.pipeline.estimated_performance import (
    estimated_performance,
    feature_matrix,
    feature_names,
    mature_rows,
    misjudged_money,
    overdue_labels,
)
from within_pipelines.pipeline.feature_distributions import distributions
from within_pipelines.pipeline.joint_drift import multivariate_drift, text_drift
from within_pipelines.pipeline.loss_stream import loss_stream
from within_pipelines.pipeline.monitor_case import MonitorCase, permutations_for
from within_pipelines.pipeline.monitored_rows import seen_on, weekly_spend
from within_pipelines.pipeline.moved_accounts import accounts_behind
from within_pipelines.pipeline.training import MODELS, load_version
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from within_pipelines.monitoring import MeasurementCalendar
    from within_pipelines.registry import ModelVersion

# The budget: of the days of a period on which a monitor calls something drifted, at most FALSE_DISCOVERY_RATE is expected to be wrong.
# The monitors of a champion share MODEL_BUDGET, so one more monitor makes each stricter and not the whole louder. Where nothing ever moves,
# a monitor has a false alarm in one of 29 periods at most, a champion in 27 of 100. Each champion starts a period, and so do every four
# weeks: a level that had to last for ever would soon be too low to see anything.
MODEL_BUDGET, INITIAL_SHARE, PERIOD_DAYS = 0.3, 0.9, 28
FALSE_DISCOVERY_RATE = MODEL_BUDGET / len(MONITORS)
# Pairs grow with the square of the features; beyond so many of them the others are named as left out.
MOST_CORRELATED = 120
CALENDAR_FILE = "measurement_calendar.yaml"


def report_path(ws: Workspace, day: date) -> Path:
    """Where the JSON report of a day lies."""
    return ws.settings.artifacts / "monitoring" / f"{day.isoformat()}.json"


def calendar_path(ws: Workspace) -> Path:
    """Where the measurement calendar of this deployment lies: `HOME/measurement_calendar.yaml`."""
    return ws.settings.home / CALENDAR_FILE


def latest_report(ws: Workspace, day: date | None = None) -> MonitorReport | None:
    """The newest stored report, or that of `day`; None when nothing was monitored."""
    from within_pipelines.database import MonitoringRepository

    return MonitoringRepository(ws.database).report(day)


def monitor_day(
    ws: Workspace, day: date | None = None, *, now: datetime, models: Sequence[str] = MODELS, pin: Pin | None = None, run_id: str = ""
) -> MonitorReport:
    """Ask every monitor about every champion for `day` (default: the newest day with facts), store the findings, write the JSON report.

    Facts count as known at noon UTC of the next day, so the same day monitored again gives the same answer and replaces its rows. A monitor
    that cannot answer says `insufficient` and why; nothing about data makes this raise but a day without facts and a clock that goes
    backwards. `run_id` is the run that asks; what it finds keeps it, so that an alert can name it.

    Raises `SampleError` when there are no facts for `day`, or when `now` lies before the report of an earlier or equal day was written;
    `SchemaError` when the measurement calendar cannot be read."""
    from within_pipelines.database import MonitoringRepository
    from within_pipelines.monitoring import MeasurementCalendar

    pin = pin if pin is not None else ws.pin()
    last = ws.lake.last_event_date(pin.commit_seq)
    wanted = day if day is not None else last
    if wanted is None or last is None or wanted > last:
        raise SampleError(f"There are no facts for {wanted}; the newest day is {last}.")
    repository = MonitoringRepository(ws.database)
    _refuse_backward_clock(repository.report(), wanted, now)
    calendar = MeasurementCalendar.load(calendar_path(ws))
    findings: list[MonitorFinding] = []
    for number, model in enumerate(models):
        rng = np.random.default_rng([ws.settings.seed, 41, number, wanted.toordinal()])
        findings += _model_findings(ws, pin, model, wanted, calendar, rng)
    if run_id:
        findings = [replace(found, evidence={**found.evidence, "run_id": run_id}) for found in findings]
    repository.save(findings, generated_at=now)
    report = MonitorReport(wanted, tuple(findings), now)
    write_text(report_path(ws, wanted), json.dumps(report.to_dict(), indent=1, allow_nan=False))
    return report


def _refuse_backward_clock(newest: MonitorReport | None, day: date, now: datetime) -> None:
    if newest is not None and newest.day <= day and now < newest.generated_at:
        raise SampleError(
            f"The clock says {now.isoformat()}, but {newest.day} was monitored at {newest.generated_at.isoformat()}; "
            "set the clock right first, because the budget of false alarms counts days in their order."
        )


def _model_findings(
    ws: Workspace, pin: Pin, model: str, day: date, calendar: MeasurementCalendar, rng: np.random.Generator
) -> list[MonitorFinding]:
    version = ws.registry.alias(model, "champion")
    if version is None:
        return _unable(model, day, f"No version of {model} serves.")
    reference = read_reference(ws, version)
    stamp = {"model_version": version.version, "model_sha256": version.model_sha256}
    if reference is None:
        return _unable(model, day, f"{model} v{version.version} was trained before references were kept; train it again.", **stamp)
    current = schema_version(model)
    if reference.schema_version != current:
        why = f"{model} v{version.version} was trained on {reference.schema_version}, the code computes {current}; train again."
        return _unable(model, day, why, **stamp)
    predictor = load_version(ws, version)
    try:
        window = seen_on(ws, pin, model, predictor, day, judged_after=reference.judged_until, rng=rng)
    except SampleError as error:
        return _unable(model, day, str(error), **stamp)
    case = MonitorCase(model, version, reference, window, day, weekly_spend(ws, pin, day), calendar, rng)
    levels = {monitor: _level(ws, monitor, model, version, reference, day) for monitor in MONITORS}
    # What an event must name depends on what the other monitors saw, so all are asked before any is explained.
    asked = {monitor: _unreachable(_MONITORS[monitor](case, level), level) for monitor, level in levels.items()}
    findings = []
    for monitor, level in levels.items():
        found = asked[monitor]
        if found.drifted:
            found = _explained(case, found, _to_be_named(found, asked), level)
        budget = {"alpha_today": level, "false_discovery_rate": FALSE_DISCOVERY_RATE, "procedure": "LORD++", "period_days": PERIOD_DAYS}
        trained = {"reference_sha256": reference.sha256, "reference_until": reference.last_day, "version": version.version}
        findings.append(replace(found, evidence={**found.evidence, **accounts_behind(case, found), **budget, **trained, **stamp}))
    return findings


def _unreachable(found: MonitorFinding, level: float) -> MonitorFinding:
    """Say it where so few accounts are in the windows that not even all of them moving one way would be significant today."""
    accounts = found.sizes.get("accounts", 0)
    if found.state is not DriftState.INSUFFICIENT or not accounts or 2 * 0.5**accounts <= level:
        return found
    needed = math.ceil(1 - math.log2(level))
    return replace(
        found, reason=f"{found.reason} {accounts} accounts cannot tell drift from chance within the budget of false alarms; {needed} can."
    )


def _unable(model: str, day: date, reason: str, **evidence: Any) -> list[MonitorFinding]:
    return [MonitorFinding(monitor, model, day, DriftState.INSUFFICIENT, reason=reason, evidence=evidence) for monitor in MONITORS]


def _level(ws: Workspace, monitor: str, model: str, version: ModelVersion, reference: DriftReference, day: date) -> float:
    """Today's significance level from the p-values of earlier days of the same period; periods are counted from the reference's end."""
    from within_pipelines.database import MonitoringRepository
    from within_pipelines.stats import lord_level

    begun = reference.last_day + timedelta(days=PERIOD_DAYS * ((day - reference.last_day).days // PERIOD_DAYS))
    earlier = MonitoringRepository(ws.database).findings(monitor, model, before=day)
    same = [f for f in earlier if f.day >= begun and f.evidence.get("model_sha256") == version.model_sha256]
    tested = [f.p_value for f in same if f.p_value is not None]
    return lord_level(tested, alpha=FALSE_DISCOVERY_RATE, initial_share=INITIAL_SHARE, horizon=PERIOD_DAYS)


def _without(frame: pl.DataFrame, platforms: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    return frame.filter(~pl.col("platform").is_in(list(platforms))) if frame.width else frame


def _to_be_named(found: MonitorFinding, asked: Mapping[str, MonitorFinding]) -> tuple[str, ...]:
    """The features that events must name before they explain `found`.

    A monitor of features answers for its own. A loss, a calibration or a prediction has none: it answers for every input that was found to
    move that day, and what rests on labels also for every feature that now relates otherwise to the target, because a ruler that changed
    for one feature turns no other feature's relation. Where a turned relation could hide, none is named, and only an event for everything
    explains."""
    moved = [name for monitor in ("data_drift", "multivariate_drift") if asked[monitor].drifted for name in asked[monitor].features]
    if found.monitor == "prediction_drift":
        return tuple(dict.fromkeys(moved))
    concept = asked["concept_drift"]
    risen = found.monitor == "concept_drift" and found.evidence.get("loss_state") == DriftState.DRIFTED.value
    if risen or found.monitor in ("calibration_drift", "estimated_performance"):
        judged = concept.evidence.get("relation_state") in (DriftState.STABLE.value, DriftState.DRIFTED.value)
        return tuple(dict.fromkeys([*moved, *concept.features])) if judged else ()
    return found.features


def _explained(case: MonitorCase, found: MonitorFinding, named: Sequence[str], level: float) -> MonitorFinding:
    """A measurement change when dated events name everything in `named`; where they name platforms, only if nothing moved elsewhere."""
    events = case.calendar.explanations(
        model=case.model, features=named, reference_end=case.reference.last_day, window_start=case.window_start, window_end=case.day
    )
    if not events:
        return found
    told = [{"day": e.day, "until": e.until, "kind": e.kind.value, "what": e.what, "platform": e.platform} for e in events]
    platforms = [event.platform for event in events if event.platform is not None]
    if len(platforms) == len(events):
        old, new = (
            replace(
                m,
                rows=_without(m.rows, platforms),
                said=_without(m.said, platforms),
                judged=_without(m.judged, platforms),
                texts=_without(m.texts, platforms),
            )
            for m in (case.reference.data, case.window)
        )
        # A look at fewer accounts needs a level that they can reach, and it can only take an excuse away.
        other = replace(case, reference=replace(case.reference, data=old), window=new)
        elsewhere = _MONITORS[found.monitor](other, max(level, FALSE_DISCOVERY_RATE))
        if elsewhere.drifted:
            why = f"{found.reason} It moved on other platforms than {', '.join(sorted(set(platforms)))} as well, so no event explains it."
            return replace(found, reason=why, evidence={**found.evidence, "events": told})
    what = "; ".join(f"{event.what} ({event.day})" for event in events)
    return replace(found, evidence={**found.evidence, "events": told}).explained_by(
        f"Explained by the measurement calendar: {what}. {found.reason}"
    )


# The monitors


def _data_drift(case: MonitorCase, level: float) -> MonitorFinding:
    from within_pipelines.monitoring import table_drift

    old, new = case.reference.data.rows, case.window.rows
    found = table_drift(
        old.drop("platform", "day"), new.drop("platform", "day", strict=False), rng=case.rng, clusters="cluster", alpha=level,
        n_permutations=permutations_for(level),
    )  # fmt: skip
    table = found.to_frame().head(40)
    reason = found.reason or f"{len(found.drifted)} of {len(found.features)} features moved since training."
    return MonitorFinding(
        "data_drift", case.model, case.day, found.state, found.effect, found.p_value, found.effect, 0.1,
        {"reference": found.n_reference, "current": found.n_current, "accounts": found.n_clusters or 0, "features": len(found.features)},
        found.drifted, reason=reason,
        evidence={"null": found.null, "permutations": found.n_permutations, "added": found.added, "table": table.to_dicts(),
            "distributions": distributions(old, new, found),
        },
    )  # fmt: skip


def _prediction_drift(case: MonitorCase, level: float) -> MonitorFinding:
    import polars as pl

    from within_pipelines.monitoring import table_drift

    old, new = case.reference.data.said, case.window.said
    if not old.width or not new.width:
        return case.silent("prediction_drift", "There are no predictions in the window.")
    wanted = (pl.col("cluster"), pl.col("prediction"))
    found = table_drift(
        old.select(wanted), new.select(wanted), rng=case.rng, clusters="cluster", alpha=level, n_permutations=permutations_for(level)
    )
    shift = found.features[0] if found.features else None
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    evidence = {
        "null": found.null, "permutations": found.n_permutations, "quantiles": quantiles,
        "reference_quantiles": [old["prediction"].quantile(q) for q in quantiles],
        "current_quantiles": [new["prediction"].quantile(q) for q in quantiles],
        "wasserstein_sd": None if shift is None else shift.wasserstein_sd,
    }  # fmt: skip
    reason = found.reason or f"The distribution of predictions differs by {found.effect or 0.0:.3f} (Kolmogorov-Smirnov)."
    return MonitorFinding(
        "prediction_drift", case.model, case.day, found.state, found.effect, found.p_value, found.effect, 0.1,
        {"reference": found.n_reference, "current": found.n_current, "accounts": found.n_clusters or 0}, reason=reason, evidence=evidence,
    )  # fmt: skip


def _labelled(case: MonitorCase) -> tuple[pl.DataFrame, pl.DataFrame] | str:
    """Mature rows of the reference and of the window, or why there are none."""
    old, new = mature_rows(case.reference.data.judged, recent=False), mature_rows(case.window.judged, recent=True)
    if not case.reference.data.loss:
        return f"Nobody labels the answers of {case.model}, so its loss is unknown."
    if not old.height:
        return "No labels were kept when the version was judged."
    if not new.height:
        waiting, overdue = case.window.judged.height, overdue_labels(case.window.judged, case.day)
        yet = "" if overdue.count else " yet"
        return f"No label of a day after {case.reference.judged_until} is mature{yet}; {waiting} answers wait for theirs.{overdue.told}"
    return old, new


def _concept_drift(case: MonitorCase, level: float) -> MonitorFinding:
    from within_pipelines.monitoring import loss_change, relation_change

    labelled = _labelled(case)
    if isinstance(labelled, str):
        return case.silent("concept_drift", labelled)
    old, new = labelled
    permutations = permutations_for(level / 2)
    clusters: dict[str, Any] = {"reference_clusters": old["cluster"].to_numpy(), "current_clusters": new["cluster"].to_numpy()}
    # Two questions share the level: has the loss risen, and has a feature another relation to what the model leaves over?
    risen = loss_change(
        old["realised"].to_numpy(), new["realised"].to_numpy(), rng=case.rng, alpha=level / 2, n_permutations=permutations, **clusters
    )
    names = feature_names(old, new)
    residuals = [(frame["outcome"] - frame["prediction"]).to_numpy() for frame in (old, new)]
    turned = relation_change(
        feature_matrix(old, names), residuals[0], feature_matrix(new, names), residuals[1], names, rng=case.rng, alpha=level / 2,
        n_permutations=permutations, **clusters,
    )  # fmt: skip
    state = risen.state
    if DriftState.DRIFTED in (risen.state, turned.state):
        state = DriftState.DRIFTED
    elif turned.state is DriftState.INSUFFICIENT and risen.state is DriftState.STABLE:
        state = DriftState.STABLE
    parts = [f"The {case.reference.data.loss} loss changed by {risen.change:+.4f} [{risen.low:+.4f}, {risen.high:+.4f}] on mature labels."]
    overdue = overdue_labels(case.window.judged, case.day)
    if turned.features:
        parts.append(f"Other relation to the target: {', '.join(turned.features[:5])}.")
    return MonitorFinding(
        "concept_drift", case.model, case.day, state, risen.current_loss, min(1.0, 2 * min(risen.p_value, turned.p_value)), risen.change,
        risen.threshold,
        {"reference": risen.n_reference, "current": risen.n_current, "accounts": risen.n_clusters, "overdue": overdue.count},
        turned.features, risen.change, misjudged_money(case, risen.change) if state is DriftState.DRIFTED else {},
        " ".join(parts) + overdue.told,
        {
            "loss": case.reference.data.loss, "reference_loss": risen.reference_loss, "current_loss": risen.current_loss, "low": risen.low,
            "high": risen.high, "relation_effect": turned.effect, "relation_p_value": turned.p_value, "relation_state": turned.state,
            "loss_state": risen.state, "loss_p_value": risen.p_value, "labels_until": new["day"].max(), "permutations": permutations,
            **loss_stream(case.reference.data.judged, case.window.judged),
            "overdue": overdue.platforms,
        },
    )  # fmt: skip


def _calibration_drift(case: MonitorCase, level: float) -> MonitorFinding:
    from within_pipelines.monitoring import calibration_drift

    labelled = _labelled(case)
    if isinstance(labelled, str):
        return case.silent("calibration_drift", labelled)
    old, new = labelled
    found = calibration_drift(
        old["outcome"].to_numpy(), old["prediction"].to_numpy(), new["outcome"].to_numpy(), new["prediction"].to_numpy(), rng=case.rng,
        reference_clusters=old["cluster"].to_numpy(), current_clusters=new["cluster"].to_numpy(), alpha=level,
        n_permutations=permutations_for(level),
    )  # fmt: skip
    overdue = overdue_labels(case.window.judged, case.day)
    return MonitorFinding(
        "calibration_drift", case.model, case.day, found.state, found.effect, found.p_value, found.effect, found.threshold,
        {"reference": found.n_reference, "current": found.n_current, "accounts": found.n_clusters, "overdue": overdue.count},
        reason=f"Outcome less probability changed by {found.bias:+.4f} on average and by {found.tilt:+.4f} along the log-odds."
        + overdue.told,
        evidence={"bias": found.bias, "tilt": found.tilt, "labels_until": new["day"].max()},
    )  # fmt: skip


def _feature_correlation(case: MonitorCase, level: float) -> MonitorFinding:
    import polars as pl

    from within_pipelines.monitoring import correlation_drift

    old, new = case.reference.data.rows, case.window.rows
    names = [n for n, kind in old.schema.items() if kind.is_numeric() and n in new.columns and new.schema[n].is_numeric()]
    left_out = names[MOST_CORRELATED:]
    wanted = (pl.col("cluster"), pl.col(names[:MOST_CORRELATED]))
    found = correlation_drift(
        old.select(wanted), new.select(wanted), rng=case.rng, clusters="cluster", alpha=level, n_permutations=permutations_for(level)
    )
    pairs = [{"first": p.first, "second": p.second, "before": p.before, "now": p.now, "p_value": p.p_value} for p in found.pairs[:20]]
    named = tuple(dict.fromkeys(name for pair in found.pairs for name in (pair.first, pair.second)))
    reason = found.reason or f"{len(found.pairs)} of {found.n_pairs} pairs changed their correlation."
    if left_out:
        reason += f" Left out of {len(names)} features: {', '.join(left_out)}."
    return MonitorFinding(
        "feature_correlation", case.model, case.day, found.state, found.distance, found.p_value, found.effect, found.threshold,
        {"reference": found.n_reference, "current": found.n_current, "accounts": found.n_clusters, "pairs": found.n_pairs}, named,
        reason=reason, evidence={"pairs": pairs, "left_out": left_out},
    )  # fmt: skip


_MONITORS: dict[str, Callable[[MonitorCase, float], MonitorFinding]] = {
    "data_drift": _data_drift,
    "prediction_drift": _prediction_drift,
    "concept_drift": _concept_drift,
    "calibration_drift": _calibration_drift,
    "feature_correlation": _feature_correlation,
    "estimated_performance": estimated_performance,
    "multivariate_drift": multivariate_drift,
    "text_drift": text_drift,
}
