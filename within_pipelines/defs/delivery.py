"""Messages about alerts leave through a sensor, which needs no run: a run queue that is stuck is one of the things to tell."""

import os

import dagster as dg

from within_pipelines.defs.heartbeat import SENSOR_SECONDS, heartbeat
from within_pipelines.defs.resource import WithinResource


@dg.sensor(
    name="deliver_alerts_sensor",
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Hands over messages that are due, escalates alerts that nobody has taken, and tells of sensors that have stopped.",
)
@heartbeat("deliver_alerts_sensor", seconds=SENSOR_SECONDS)
def deliver_alerts_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SkipReason:
    """Never requests a run; what was delivered is in its skip reason."""
    from within_pipelines.database import HeartbeatRepository
    from within_pipelines.monitoring import alert_for_silent_sensor
    from within_pipelines.pipeline import AlertManager, silent_sensors

    with within.open() as workspace:
        manager = AlertManager(workspace)
        beats = HeartbeatRepository(workspace.database).all()
        silent = {found.sensor for found in silent_sensors(beats, now=within.clock())}
        # Where this sensor was silent itself, the daemon was off: the others get a tick's time to come back before they are missed.
        back = deliver_alerts_sensor.name in silent
        for beat in beats:
            key = f"sensor/{beat.sensor}"
            if back and beat.sensor in silent:
                continue
            if beat.sensor in silent:
                manager.tell(alert_for_silent_sensor(beat.sensor, last_tick_at=beat.last_tick_at), now=within.clock())
            else:
                manager.close(key, now=within.clock())
        done = manager.deliver(clock=within.clock, environ=os.environ, log=context.log.warning)
    return dg.SkipReason(done.shown)


DELIVERY_SENSORS = [deliver_alerts_sensor]
