"""A sensor that finishes a tick says so, so that one that is dead, stopped or failing is noticed."""

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg

from within_pipelines.settings import Settings

# Read once while definitions load: a sensor's rhythm is part of its definition.
SENSOR_SECONDS = Settings().sensor_seconds

Tick = TypeVar("Tick", bound=Callable[..., Any])


def heartbeat(sensor: str, *, seconds: int) -> Callable[[Tick], Tick]:
    """Note every tick of `sensor` that ends without an error; put it below `@dg.sensor`.

    `seconds` is the time between ticks; 0 for a sensor that is called only when a run has ended, whose silence
    says nothing until one has."""

    def around(tick: Tick) -> Tick:
        @functools.wraps(tick)
        def noted(context: Any, within: Any) -> Any:
            from within_pipelines.database import HeartbeatRepository

            started = time.monotonic()
            result = tick(context, within)
            with within.open() as workspace:
                HeartbeatRepository(workspace.database).beat(
                    sensor,
                    interval_seconds=seconds,
                    seconds=time.monotonic() - started,
                    outcome=_outcome(result),
                    now=within.clock(),
                )
            return result

        return noted  # type: ignore[return-value]

    return around


def _outcome(result: Any) -> str:
    match result:
        case dg.SkipReason():
            return str(result.skip_message)
        case dg.SensorResult():
            return f"requested {len(result.run_requests or [])} runs" if result.run_requests else str(result.skip_reason or "nothing")
        case _:
            return ""
