"""Messages about alerts leave through a sensor, which needs no run: a run queue that is stuck is one of the things to tell."""

import os

import dagster as dg

from within_pipelines.defs.heartbeat import SENSOR_SECONDS, heartbeat
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.watch import watch


@dg.sensor(
    name="deliver_alerts_sensor",
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Hands over messages that are due, escalates alerts that nobody has taken, and tells of sensors that have stopped.",
)
@heartbeat("deliver_alerts_sensor", seconds=SENSOR_SECONDS)
def deliver_alerts_sensor(context: dg.SensorEvaluationContext, within: WithinResource) -> dg.SkipReason:
    """Never requests a run; what was delivered is in its skip reason."""
    from within_pipelines.pipeline import AFTER_RUNS, TICKING, AlertManager

    with within.open() as workspace:
        manager = AlertManager(workspace)
        name = deliver_alerts_sensor.name
        watch(manager, workspace, context.instance, sensors=(*TICKING, *AFTER_RUNS), by=name, now=within.clock())
        done = manager.deliver(clock=within.clock, environ=os.environ, log=context.log.warning)
    return dg.SkipReason(done.shown)


DELIVERY_SENSORS = [deliver_alerts_sensor]
