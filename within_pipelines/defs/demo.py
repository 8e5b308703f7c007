"""The planted drift, played day by day on a real instance: found, told, explained, retrained, judged, promoted."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from within_pipelines.defs.launch import dagster_home, execute, run_main_job
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.retraining import RUN_KEY_TAG, drift_sensor, performance_sensor

if TYPE_CHECKING:
    from within_pipelines.database import StoredDecision
    from within_pipelines.monitoring import MonitorReport
    from within_pipelines.pipeline import Workspace
    from within_pipelines.settings import Settings

Say = Callable[[str], None]
# A retrained ad score is fitted on the older ads and judged on the newest 30 %, so it learns a changed world only once more than that
# share of all ads is new. A short history brings that forward.
HISTORY = 100
# At the ordinary strength the change costs the ad score nothing that can be measured, and leaving the model alone is right.
STRENGTH = 4.0
# What makes a retraining an answer to drift and not to the calendar.
BY_DRIFT = frozenset({"data_drift", "concept_drift", "performance_loss"})


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """How far the story got: days until something was found, the model that was trained again, and whether the new version serves."""

    days: int
    found: bool
    model: str | None = None
    promoted: bool = False
    message: str = ""


def play_drift(settings: "Settings", *, now: datetime, say: Say, accounts: int = 32, every: int = 35, at_most: int = 105) -> DemoOutcome:
    """Write an agency whose words change their effect the day after its history ends, train on the history, then live on.

    Every day's exports are written; every `every` days they are ingested and monitored as the daily jobs do, and the drift sensors tick.
    The story ends when a version of the ad score, which reads the words, is promoted because of drift, or after `at_most` days. A
    retraining that the gates refuse is told, and a later one has seen more of the changed world; what becomes of the other models is told
    as well. Runs are on the instance of the UI. `now` is the last moment that may be reached.

    Raises `LandingNotEmptyError` where the folder holds exports already."""
    from within_pipelines.pipeline import Workspace
    from within_pipelines.simulation import AgencySpec, write_agency, write_next_day

    begin = now - timedelta(days=at_most)
    end = begin.date() - timedelta(days=1)
    spec = AgencySpec(
        accounts=accounts, days=HISTORY, seed=settings.seed, end=end, daily_days=0, drift_day=HISTORY, drift_strength=STRENGTH
    )
    say(f"{end}: {accounts} accounts with {HISTORY} days of history are written to {settings.landing}.")
    say(
        f"From {spec.drift_date} on, words work differently: urgency and curiosity put people off, and new ads use other words and formats."
    )
    write_agency(settings.landing, spec)
    first = run_main_job(settings, now=begin, on_step=lambda step, state: None)
    if not first.success:
        return DemoOutcome(0, False, message=first.message)
    with Workspace.open(settings) as workspace:
        say(f"{end}: the champions are {_champions(workspace)} ({_run(settings, first.run_id)}).")
    cursors: dict[str, str | None] = {}
    found = False
    last: DemoOutcome | None = None
    for day in range(1, at_most + 1):
        write_next_day(settings.landing, settings.home / "truth.json")
        if day % every:
            continue
        moment = begin + timedelta(days=day)
        quiet = lambda step, state: None
        for job in ("ingest_daily", "monitor_drift"):
            done = execute(job, settings, partition=None, now=moment, on_step=quiet)
            # A check that does not pass is news, not an end; a step that fails is one.
            if not done.success:
                return DemoOutcome(day, found, message=f"{job}: {done.message}")
        with Workspace.open(settings) as workspace:
            report = _report(workspace)
            say(f"{report.day}: monitored ({_run(settings, done.run_id)}): {_shown(report)}")
            found = found or any(finding.drifted for finding in report.findings)
        # What the story may end with comes first.
        for decision in sorted(_tick(settings, moment, cursors, say), key=lambda decision: not _awaited(decision)):
            outcome = _retrain(settings, decision, moment, say, day)
            if outcome is not None and outcome.promoted:
                return outcome
            last = last if outcome is None else outcome
    if last is not None:
        return last
    return DemoOutcome(at_most, found, message="Drift caused no retraining of the ad score; live on longer, or with more accounts.")


def _awaited(decision: "StoredDecision") -> bool:
    """Whether the ad score is trained because of drift, and not because of its age."""
    return decision.model == "ad_score" and decision.trigger in BY_DRIFT


def _tick(settings: "Settings", moment: datetime, cursors: dict[str, str | None], say: Say) -> list["StoredDecision"]:
    """Let both sensors tick at `moment`; returns the decisions behind the runs that they request."""
    from within_pipelines.database import RetrainingRepository
    from within_pipelines.pipeline import AlertManager, Workspace

    within = WithinResource(home=str(settings.home), now=moment.isoformat())
    keys: set[str] = set()
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        # Answers that got worse are the weightier reason, and after a retraining the other sensor waits.
        for sensor in (performance_sensor, drift_sensor):
            context = dg.build_sensor_context(instance=instance, cursor=cursors.get(sensor.name), resources={"within": within})
            with context:
                # The story tells the decisions itself.
                context.log.disabled = True
                result: Any = sensor(context)
                cursors[sensor.name] = result.cursor if isinstance(result, dg.SensorResult) else context.cursor
            if isinstance(result, dg.SensorResult):
                keys |= {request.run_key for request in result.run_requests or [] if request.run_key is not None}
    with Workspace.open(settings) as workspace:
        manager = AlertManager(workspace)
        for line in manager.digest():
            if manager.store.get(line.id).opened_at == moment:
                say(f"   alert {line.id} [{line.severity}] {line.title}")
                if line.likely_cause:
                    say(f"      likely cause: {line.likely_cause}")
                for where, address in line.links.items():
                    say(f"      {where}: {address}")
        decisions = RetrainingRepository(workspace.database).decisions()
        for told in _told([decision for decision in decisions if decision.decided_at == moment]):
            say(f"   {told}")
        return [decision for decision in decisions if decision.run_key in keys]


def _told(decisions: list["StoredDecision"]) -> list[str]:
    """What both sensors decided at one moment: what is done, with its reason, then in one line the models about which nothing is."""
    acted = [d for d in decisions if d.action != "nothing"]
    lines = [f"{d.model}: {d.action}, because {d.reason}" for d in acted]
    calm: dict[str, list[str]] = {}
    for decision in decisions:
        # Both sensors speak of every model; one that has a reason of its own is not said to have none as well.
        reasoned = {d.model for d in decisions if d.action != "nothing" or d.trigger != "none"}
        if decision.action == "nothing" and (decision.trigger != "none" or decision.model not in reasoned):
            models = calm.setdefault(decision.reason, [])
            models += [] if decision.model in models else [decision.model]
    return lines + [f"{', '.join(models)}: nothing is done, because {reason}" for reason, models in calm.items()]


def _retrain(settings: "Settings", decision: "StoredDecision", moment: datetime, say: Say, day: int) -> DemoOutcome | None:
    """Do the run that a decision asks for and say how it was judged; None when it is not what the story waits for."""
    from within_pipelines.pipeline import Workspace

    model = decision.model
    with Workspace.open(settings) as workspace:
        before = workspace.registry.alias(model, "champion")
        known = {version.version for version in workspace.registry.versions(model)}
    # Under its key, as a run that a sensor starts has it: else the decision would be asked for again at the next look.
    tags = {RUN_KEY_TAG: decision.run_key or ""}
    done = execute(f"retrain_{model}", settings, partition=None, now=moment, on_step=lambda step, state: None, tags=tags)
    say(f"   retrain_{model}: {'succeeded' if done.success else 'failed, ' + done.message} ({_run(settings, done.run_id)})")
    with Workspace.open(settings) as workspace:
        versions = workspace.registry.versions(model)
        after = workspace.registry.alias(model, "champion")
        for version in (version for version in versions if version.version not in known):
            verdicts = workspace.registry.verdicts(version.model_sha256, version.data_version)
            say(f"      v{version.version} {version.kind}: {', '.join(f'{v.gate} {v.status}' for v in verdicts) or 'not judged'}")
    promoted = after is not None and (before is None or after.version != before.version)
    serving = "nothing" if after is None else f"v{after.version} {after.kind}"
    say(f"      {model} is served by {serving}{', new' if promoted else ', as before'}.")
    if not _awaited(decision):
        return None
    return DemoOutcome(day, True, model, promoted, "" if promoted else "The gates refused the new version; the old one goes on serving.")


def _report(workspace: "Workspace") -> "MonitorReport":
    from within_pipelines.exceptions import SampleError
    from within_pipelines.pipeline import latest_report

    report = latest_report(workspace)
    if report is None:
        raise SampleError("Monitoring ran and left no report; see the run in the UI.")
    return report


def _champions(workspace: "Workspace") -> str:
    from within_pipelines.pipeline import MODELS

    serving = {model: workspace.registry.alias(model, "champion") for model in MODELS}
    return ", ".join(f"{model} {'none' if v is None else f'v{v.version} {v.kind}'}" for model, v in serving.items())


def _shown(report: "MonitorReport") -> str:
    moved = [f for f in report.findings if f.drifted]
    if not moved:
        unsure = sum(finding.state == "insufficient" for finding in report.findings)
        return f"nothing drifted ({unsure} of {len(report.findings)} findings had too little evidence)"
    return "; ".join(
        f"{f.model} {f.monitor} drifted, p {f.p_value:.2g}{' ' + ', '.join(f.features[:4]) if f.features else ''}" for f in moved
    )


def _run(settings: "Settings", run_id: str) -> str:
    return f"{settings.dagster_url.rstrip('/')}/runs/{run_id}"
