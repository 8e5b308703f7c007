"""Which sensors have stopped: they note every tick, and this compares what they noted with what they should have done since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from within_pipelines.database import Heartbeat

# So many ticks may be missed, and at least so much time, before a sensor counts as dead: a busy daemon ticks late.
_TICKS, _AT_LEAST = 5, timedelta(minutes=10)
# Every sensor of this deployment. The first tick by the clock, so that their silence alone says that they are dead.
TICKING = (
    "canary_sensor",
    "deliver_alerts_sensor",
    "drift_sensor",
    "new_exports_sensor",
    "orphaned_run_sensor",
    "performance_sensor",
)
# These are called when a run has ended, with success or with failure, so their silence says something only once one has.
AFTER_RUNS = ("check_failure_sensor", "run_failure_alert_sensor")
_NONE: Mapping[str, datetime] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Silent:
    """A sensor that should have ticked since `last_tick_at`; `ticks` is 0 where it never did, and `last_tick_at` is then when it was
    first missed."""

    sensor: str
    last_tick_at: datetime
    allowed: timedelta
    ticks: int = 1


def silent_sensors(beats: list[Heartbeat], *, now: datetime, unheard: Mapping[str, datetime] = _NONE) -> tuple[Silent, ...]:
    """Sensors that should have ticked since.

    `unheard` says of a sensor that is called after runs when the first run ended that it was not told of; without one it is not silent. A
    last tick in the future comes from a clock that was set back and counts as alive. A sensor that no row speaks of is judged by when the
    others began: they tick at most once an interval, so they have lived for as many intervals at least as they have ticked."""
    found = []
    for beat in beats:
        allowed = _allowed(beat.interval_seconds)
        # A row of a sensor that this version no longer has says nothing.
        since = beat.last_tick_at if beat.sensor in TICKING else unheard.get(beat.sensor)
        if since is not None and now - since > allowed:
            found.append(Silent(beat.sensor, beat.last_tick_at, allowed, beat.ticks))
    rhythmic = [beat for beat in beats if beat.sensor in TICKING and beat.ticks > 0]
    began = [beat.last_tick_at - timedelta(seconds=beat.interval_seconds) * (beat.ticks - 1) for beat in rhythmic]
    if began and now - min(began) > _AT_LEAST:
        missing = sorted(set(TICKING) - {beat.sensor for beat in beats})
        found += [Silent(sensor, min(began), _AT_LEAST, 0) for sensor in missing]
    return tuple(found)


def _allowed(interval_seconds: int) -> timedelta:
    return max(_AT_LEAST, _TICKS * timedelta(seconds=interval_seconds))
