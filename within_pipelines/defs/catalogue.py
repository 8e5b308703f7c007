"""Everything that Dagster loads: assets and checks by subject, jobs, schedules, sensors, the one resource."""

import dagster as dg

from within_pipelines.defs.account_health import assets as account_health
from within_pipelines.defs.ad_score import assets as ad_score
from within_pipelines.defs.anomaly import assets as anomaly
from within_pipelines.defs.features import assets as features
from within_pipelines.defs.ingest import assets as ingest
from within_pipelines.defs.jobs import JOBS
from within_pipelines.defs.monitoring import assets as monitoring
from within_pipelines.defs.release import assets as release
from within_pipelines.defs.resource import WithinResource
from within_pipelines.defs.schedules import SCHEDULES
from within_pipelines.defs.sensors import SENSORS

defs = dg.Definitions(
    assets=[
        ingest.landed_exports,
        *features.FEATURE_TABLES,
        *ad_score.ASSETS,
        *account_health.ASSETS,
        *anomaly.ASSETS,
        *anomaly.ALERT_ASSETS,
        *release.SCORE_ASSETS,
        *release.RELEASE_ASSETS,
        *monitoring.MONITORING_ASSETS,
    ],
    asset_checks=[
        ingest.fact_checks,
        *features.FEATURE_CHECKS,
        *ad_score.CHECKS,
        *account_health.CHECKS,
        *anomaly.CHECKS,
        *anomaly.ALERT_CHECKS,
        *release.RELEASE_CHECKS,
        *monitoring.MONITORING_CHECKS,
    ],
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    resources={"within": WithinResource()},
)
