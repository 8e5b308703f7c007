"""Has the world moved since the model was trained, and whom do we tell?

Every detector compares a *reference* sample with a *current* one and answers with a frozen result that carries statistic, threshold and
sizes, and one of three states: drifted, stable, or insufficient. Drift needs significance and a minimum effect, so a large sample does not
turn a trifle into an alarm and a small one does not pass for calm. Nothing here reads a clock, a database or Dagster."""

from within_pipelines.monitoring.alert_policy import Occasion
from within_pipelines.monitoring.alerts import (
    Alert,
    Severity,
    alert_for_check,
    alert_for_drift,
    alert_for_run,
    alert_for_silent_sensor,
    alert_for_verdict,
)
from within_pipelines.monitoring.channel_settings import AlertSettings, read_alert_settings
from within_pipelines.monitoring.channels import Sent, sign, signature_holds
from within_pipelines.monitoring.feature_drift import FeatureDrift, FeatureDriftReport, feature_drift
from within_pipelines.monitoring.findings import MONITORS, MonitorFinding, MonitorReport
from within_pipelines.monitoring.kolmogorov_smirnov import KolmogorovSmirnov, kolmogorov_smirnov, kolmogorov_smirnov_distance
from within_pipelines.monitoring.population_stability import PopulationStability, population_stability_index
from within_pipelines.monitoring.state import DriftState

__all__ = [
    "MONITORS",
    "Alert",
    "AlertSettings",
    "DriftState",
    "FeatureDrift",
    "FeatureDriftReport",
    "KolmogorovSmirnov",
    "MonitorFinding",
    "MonitorReport",
    "Occasion",
    "PopulationStability",
    "Sent",
    "Severity",
    "alert_for_check",
    "alert_for_drift",
    "alert_for_run",
    "alert_for_silent_sensor",
    "alert_for_verdict",
    "feature_drift",
    "kolmogorov_smirnov",
    "kolmogorov_smirnov_distance",
    "population_stability_index",
    "read_alert_settings",
    "sign",
    "signature_holds",
]
