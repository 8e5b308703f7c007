"""When an alert reaches whom: the pure half of alert management, without clock, database or network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from within_pipelines.monitoring.alerts import Severity

RANK: Mapping[str, int] = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
DIGEST, OVERFLOW = "digest", "overflow"


class Occasion(StrEnum):
    """Why a message is sent."""

    OPENED = "opened"
    WORSENED = "worsened"
    ESCALATED = "escalated"
    CLOSED = "closed"


class QuietHours(Protocol):
    """Wall-clock times of a place between which only some severities get through; the end may lie on the next day."""

    @property
    def start(self) -> time: ...
    @property
    def end(self) -> time: ...
    @property
    def timezone(self) -> str: ...
    @property
    def let_through(self) -> Severity: ...


class ChannelRules(Protocol):
    """What a channel wants to hear and when."""

    @property
    def minimum(self) -> Severity: ...
    @property
    def immediately_from(self) -> Severity: ...
    @property
    def digest_at(self) -> time: ...
    @property
    def timezone(self) -> str: ...
    @property
    def group_minutes(self) -> int: ...
    @property
    def most_per_hour(self) -> int: ...
    @property
    def quiet(self) -> QuietHours | None: ...
    @property
    def escalations(self) -> bool: ...
    @property
    def recoveries(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a channel has got lately: when a message of this group was last sent or is due, messages within the last hour."""

    group_last: datetime | None = None
    last_hour: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """A message to a channel: not before this time, merged with others of the same `bundle` that have not been sent."""

    bundle: str
    not_before: datetime


def route(rules: ChannelRules, *, severity: Severity, group: str, occasion: Occasion, traffic: Traffic, now: datetime) -> Route | None:
    """Whether, when and with which others a channel is told; None when it does not want to hear of it.

    In this order: below `minimum` nothing; recoveries and escalations only where asked for; below `immediately_from` into the daily digest;
    a group that spoke within `group_minutes` waits for the rest of that time; beyond `most_per_hour` everything waits in one bundle; in
    quiet hours what does not reach `let_through` waits for their end. Escalations are late already: only the hourly limit holds them up."""
    if RANK[severity] < RANK[rules.minimum]:
        return None
    if (occasion is Occasion.CLOSED and not rules.recoveries) or (occasion is Occasion.ESCALATED and not rules.escalations):
        return None
    if RANK[severity] < RANK[rules.immediately_from]:
        return Route(DIGEST, next_wall_clock(now, rules.digest_at, rules.timezone))
    bundle, when = group, now
    if traffic.group_last is not None and occasion is not Occasion.ESCALATED:
        when = max(when, traffic.group_last + timedelta(minutes=rules.group_minutes))
    if traffic.last_hour >= rules.most_per_hour:
        bundle, when = OVERFLOW, max(when, now + timedelta(hours=1))
    quiet = rules.quiet
    if quiet is not None and occasion is not Occasion.ESCALATED and RANK[severity] < RANK[quiet.let_through]:
        when = after_quiet_hours(when, quiet)
    return Route(bundle, when)


def next_wall_clock(now: datetime, at: time, timezone: str) -> datetime:
    """The next moment after `now` (UTC) at which clocks in `timezone` show `at`.

    >>> next_wall_clock(datetime(2026, 7, 1, 12, tzinfo=UTC), time(8), "Europe/Berlin").isoformat()
    '2026-07-02T06:00:00+00:00'
    """
    local = now.astimezone(ZoneInfo(timezone))
    candidate = datetime.combine(local.date(), at, tzinfo=ZoneInfo(timezone))
    if candidate <= local:
        candidate = datetime.combine(local.date() + timedelta(days=1), at, tzinfo=ZoneInfo(timezone))
    return candidate.astimezone(UTC)


def after_quiet_hours(when: datetime, quiet: QuietHours) -> datetime:
    """`when`, or the end of the quiet hours in which it lies."""
    local = when.astimezone(ZoneInfo(quiet.timezone)).time()
    overnight = quiet.start > quiet.end
    inside = local >= quiet.start or local < quiet.end if overnight else quiet.start <= local < quiet.end
    return next_wall_clock(when, quiet.end, quiet.timezone) if inside else when


def retry_delay(attempts: int, *, seed: str = "") -> timedelta:
    """How long to wait after `attempts` failures: 30 s, doubling up to an hour, less up to a fifth by `seed`, so that many do not retry at
    once. Equal arguments give equal delays.

    >>> [int(retry_delay(n).total_seconds()) for n in (1, 2, 3, 20)]
    [30, 60, 120, 3600]
    """
    import hashlib

    seconds = min(3600.0, 30.0 * 2.0 ** min(attempts - 1, 20))
    share = int.from_bytes(hashlib.sha256(f"{seed}/{attempts}".encode()).digest()[:2], "big") / 65536 if seed else 0.0
    return timedelta(seconds=seconds * (1 - 0.2 * share))
