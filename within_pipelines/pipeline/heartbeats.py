"""Which sensors have stopped: they note every tick, and this compares the last one with how often they should tick."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from within_pipelines.database import Heartbeat

# So many ticks may be missed, and at least so much time, before a sensor counts as dead: a busy daemon ticks late.
_TICKS, _AT_LEAST = 5, timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Silent:
    """A sensor whose last tick is too long ago."""

    sensor: str
    last_tick_at: datetime
    allowed: timedelta


def silent_sensors(beats: list[Heartbeat], *, now: datetime) -> tuple[Silent, ...]:
    """Sensors that should have ticked since. One that is called only when a run ends has no rhythm and is never silent; a last tick in
    the future comes from a clock that was set back and counts as alive."""
    found = []
    for beat in beats:
        allowed = max(_AT_LEAST, _TICKS * timedelta(seconds=beat.interval_seconds))
        if beat.interval_seconds > 0 and now - beat.last_tick_at > allowed:
            found.append(Silent(beat.sensor, beat.last_tick_at, allowed))
    return tuple(found)
