"""Alerts from the moment that something is seen until a channel has taken the message."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from within_pipelines.exceptions import SettingsError

if TYPE_CHECKING:
    from within_pipelines.database import AlertRecord, AlertStore, Claimed, Outbox, Resolution
    from within_pipelines.monitoring import Alert, AlertSettings, Sent
    from within_pipelines.monitoring.messages import AlertLine
    from within_pipelines.pipeline.workspace import Workspace
    from within_pipelines.stats import Estimate

# A tick of a sensor has to end soon; what is left is the next tick's.
TICK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of the messages of one round: how many each channel took, and the first trouble of each that did not."""

    sent: Mapping[str, int]
    troubled: Mapping[str, str]
    escalated: int = 0

    @property
    def shown(self) -> str:
        """One line."""
        took = ", ".join(f"{channel} took {count}" for channel, count in sorted(self.sent.items()))
        failed = ", ".join(f"{channel}: {why}" for channel, why in sorted(self.troubled.items()))
        return "; ".join(part for part in (took, failed) if part) or "no message is due"


class AlertManager:
    """Raise, close, acknowledge, snooze, resolve and escalate alerts, and deliver what follows from it.

    Every change and the messages that it causes are written in one transaction; `deliver` hands them over later. A message is taken
    exactly once unless a process dies between the receiver's answer and its note: then it is sent again with the same idempotency key."""

    def __init__(self, ws: Workspace) -> None:
        from within_pipelines.database import AlertStore, Outbox
        from within_pipelines.monitoring import AlertSettings, read_alert_settings

        # An alerts file with a mistake must not keep alerts from being opened; `deliver` and `within doctor` say what is wrong with it.
        self.problem = ""
        try:
            self.settings: AlertSettings = read_alert_settings(ws.settings.alerts)
        except SettingsError as error:
            self.settings, self.problem = AlertSettings(), str(error)
        self.store: AlertStore = AlertStore(ws.database, self.settings)
        self.outbox: Outbox = Outbox(ws.database)
        self._dagster_url = ws.settings.dagster_url

    def tell(self, alert: Alert, *, now: datetime) -> AlertRecord:
        """Open the alert, or count a repeat of the one that is open for the same cause."""
        from within_pipelines.database import AlertRecord

        return self.store.raise_alert(
            AlertRecord(
                dedup_key=alert.dedup_key,
                severity=str(alert.severity),
                title=alert.title,
                detail=alert.detail,
                closes_when=alert.closes_when,
                run_id=alert.context.get("run_id"),
                context=dict(alert.context),
                group_key=alert.group,
                likely_cause=alert.likely_cause,
                accounts=alert.accounts,
                money_at_risk=dict(alert.money_at_risk),
            ),
            now=now,
        )

    def close(self, dedup_key: str, *, now: datetime) -> bool:
        """Close what is open for a cause that is gone; returns whether anything was."""
        return self.store.close(dedup_key, now=now) > 0

    def acknowledge(self, identity: int, *, who: str, why: str, now: datetime) -> AlertRecord:
        """Somebody looks at it."""
        return self.store.acknowledge(identity, who=who, why=why, now=now)

    def snooze(self, identity: int, *, days: float, who: str, why: str, now: datetime) -> AlertRecord:
        """No message for so many days, unless it gets worse."""
        return self.store.snooze(identity, until=now + timedelta(days=days), who=who, why=why, now=now)

    def resolve(self, identity: int, *, resolution: Resolution, who: str, why: str, now: datetime) -> AlertRecord:
        """Close it and say what it was; this measures precision."""
        return self.store.resolve(identity, resolution=resolution, who=who, why=why, now=now)

    def digest(self) -> list[AlertLine]:
        """Every open alert as a message would show it, the worst first."""
        from within_pipelines.monitoring.alert_policy import RANK

        lines = [self.line(record, "opened") for record in self.store.open_under("")]
        return sorted(lines, key=lambda line: (-RANK[line.severity], line.id))

    def line(self, record: AlertRecord, occasion: str) -> AlertLine:
        """A stored alert as a message shows it."""
        from within_pipelines.monitoring import Alert, Severity
        from within_pipelines.monitoring.messages import AlertLine

        context = {str(k): str(v) for k, v in record.context.items()}
        links = Alert("k", Severity.INFO, "t", "", "c", context=context).links(self._dagster_url)
        return AlertLine(
            id=record.id or 0,
            occasion=occasion,
            severity=record.severity,
            title=record.title,
            detail=record.detail,
            closes_when=record.closes_when,
            likely_cause=record.likely_cause,
            accounts=tuple(record.accounts),
            money_at_risk=dict(record.money_at_risk),
            links=dict(links),
            occurrences=record.occurrences,
        )

    def deliver(
        self,
        *,
        clock: Callable[[], datetime],
        environ: Mapping[str, str],
        log: Callable[[str], None],
        seconds: float = TICK_SECONDS,
        after_claim: Callable[[], None] = lambda: None,
        after_send: Callable[[], None] = lambda: None,
    ) -> Delivered:
        """Escalate what is late, then hand over every message that is due, for at most about `seconds`.

        A channel that fails is left alone until its message is due again, so one that is down costs one time-out a round and delays no
        other. `clock` gives the time (UTC); `after_claim` and `after_send` are called at the points at which a crash matters."""
        from within_pipelines.monitoring.channels import send

        escalated = len(self.store.escalate(now=clock()))
        sent: Counter[str] = Counter()
        troubled: dict[str, str] = {"alerts file": self.problem} if self.problem else {}
        owner = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            claimed = self.outbox.claim(owner=owner, now=clock(), skip=tuple(troubled))
            if claimed is None:
                break
            lines = self._lines(claimed)
            after_claim()
            try:
                channel = self.settings.channel(claimed.channel)
            except SettingsError as error:
                self.outbox.give_back(claimed, str(error), now=clock(), dead=not self.problem)
                troubled[claimed.channel] = str(error)
                continue
            answer: Sent = send(channel, lines, idempotency_key=claimed.idempotency_key, now=clock(), environ=environ, log=log)
            after_send()
            if answer.ok:
                sent[claimed.channel] += self.outbox.confirm(claimed, answer.detail, now=clock())
            else:
                wait = None if answer.wait_seconds is None else timedelta(seconds=answer.wait_seconds)
                self.outbox.give_back(claimed, answer.detail, now=clock(), wait=wait)
                troubled[claimed.channel] = answer.detail
        return Delivered(dict(sent), troubled, escalated)

    def _lines(self, claimed: Claimed) -> list[AlertLine]:
        from within_pipelines.monitoring.messages import AlertLine

        if claimed.lines is not None:
            return [AlertLine(**line) for line in claimed.lines]
        lines = [self.line(record, occasion) for record, occasion in claimed.alerts]
        self.outbox.freeze(claimed, [line.to_dict() for line in lines])
        return lines

    def test(self, name: str, *, now: datetime, environ: Mapping[str, str], log: Callable[[str], None]) -> Sent:
        """Send one made-up message to a channel at once, past the outbox.

        Raises `SettingsError` when there is no such channel."""
        from within_pipelines.monitoring.channels import send
        from within_pipelines.monitoring.messages import AlertLine

        line = AlertLine(0, "opened", "info", "This is a test of the channel", "Nothing is wrong.", "you have read it")
        return send(self.settings.channel(name), [line], idempotency_key=f"test-{uuid.uuid4().hex}", now=now, environ=environ, log=log)


@dataclass(frozen=True, slots=True)
class Precision:
    """How many account alerts were true, of those that somebody judged; `estimate` is None before the first (Wilson interval)."""

    true: int
    judged: int
    unjudged: int
    estimate: Estimate | None


def alert_precision(manager: AlertManager, *, prefix: str = "account/", since: datetime | None = None) -> Precision:
    """Achieved precision of closed alerts whose key starts with `prefix`, from their resolutions. Alerts that nobody judged do not count:
    to take them for true or false would be a guess."""
    from within_pipelines.stats import wilson_interval

    counts = manager.store.resolutions(prefix, since=since)
    true, false = counts.get("true_alert", 0), counts.get("false_alert", 0)
    judged = true + false
    return Precision(true, judged, counts.get("unjudged", 0), wilson_interval(true, judged) if judged else None)
