"""Has the world moved since the model was trained, and whom do we tell?

Every detector compares a *reference* sample with a *current* one and answers with a frozen result that carries statistic, threshold and
sizes, and one of three states: drifted, stable, or insufficient. Drift needs significance and a minimum effect, so a large sample does not
turn a trifle into an alarm and a small one does not pass for calm. Nothing here reads a clock, a database or Dagster."""

from within_pipelines.monitoring.alert_budget import AccountJudgement, AlertBudget, account_evidence, accumulate
from within_pipelines.monitoring.alert_policy import Occasion
from within_pipelines.monitoring.alerts import (
    Alert,
    Severity,
    alert_for_check,
    alert_for_drift,
    alert_for_finding,
    alert_for_run,
    alert_for_silent_sensor,
    alert_for_verdict,
)
from within_pipelines.monitoring.categories import CategoryShift, compare_counts, fisher_exact_p_value, jensen_shannon_distance
from within_pipelines.monitoring.channel_settings import AlertSettings, read_alert_settings
from within_pipelines.monitoring.channels import Sent, sign, signature_holds
from within_pipelines.monitoring.concept_drift import (
    CalibrationDrift,
    LossChange,
    RelationChange,
    calibration_drift,
    loss_change,
    relation_change,
)
from within_pipelines.monitoring.direct_loss import DirectLoss, direct_loss
from within_pipelines.monitoring.feature_correlation import CorrelationDrift, PairChange, correlation_drift
from within_pipelines.monitoring.feature_drift import FeatureDrift, FeatureDriftReport, feature_drift
from within_pipelines.monitoring.findings import MONITORS, MonitorFinding, MonitorReport
from within_pipelines.monitoring.kolmogorov_smirnov import KolmogorovSmirnov, kolmogorov_smirnov, kolmogorov_smirnov_distance
from within_pipelines.monitoring.mean_shift import MeanShift, mean_shift
from within_pipelines.monitoring.measurement_calendar import CalendarEvent, EventKind, MeasurementCalendar
from within_pipelines.monitoring.multivariate import (
    MultivariateShift,
    classifier_two_sample,
    least_squares_density_difference,
    maximum_mean_discrepancy,
    standardised,
    text_drift,
)
from within_pipelines.monitoring.performance_estimate import (
    Divergence,
    LossRegression,
    divergence,
    estimate_from_probabilities,
    performance_table,
)
from within_pipelines.monitoring.population_stability import PopulationStability, population_stability_index
from within_pipelines.monitoring.reference_profile import BinnedShift, FeatureProfile, ReferenceProfile, binned_drift, reference_profile
from within_pipelines.monitoring.retraining import Action, ModelState, RetrainingDecision, RetrainingPolicy, Trigger, decide
from within_pipelines.monitoring.state import DriftState
from within_pipelines.monitoring.streams import ADWIN, DDM, EDDM, PageHinkley
from within_pipelines.monitoring.table_drift import FeatureShift, TableDrift, table_drift
from within_pipelines.monitoring.text_vectors import WordChange, hashed_words, moved_words
from within_pipelines.monitoring.two_sample import TwoSample, two_sample

__all__ = [
    "ADWIN",
    "DDM",
    "EDDM",
    "MONITORS",
    "AccountJudgement",
    "Action",
    "Alert",
    "AlertBudget",
    "AlertSettings",
    "BinnedShift",
    "CalendarEvent",
    "CalibrationDrift",
    "CategoryShift",
    "CorrelationDrift",
    "DirectLoss",
    "Divergence",
    "DriftState",
    "EventKind",
    "FeatureDrift",
    "FeatureDriftReport",
    "FeatureProfile",
    "FeatureShift",
    "KolmogorovSmirnov",
    "LossChange",
    "LossRegression",
    "MeanShift",
    "MeasurementCalendar",
    "ModelState",
    "MonitorFinding",
    "MonitorReport",
    "MultivariateShift",
    "Occasion",
    "PageHinkley",
    "PairChange",
    "PopulationStability",
    "ReferenceProfile",
    "RelationChange",
    "RetrainingDecision",
    "RetrainingPolicy",
    "Sent",
    "Severity",
    "TableDrift",
    "Trigger",
    "TwoSample",
    "WordChange",
    "account_evidence",
    "accumulate",
    "alert_for_check",
    "alert_for_drift",
    "alert_for_finding",
    "alert_for_run",
    "alert_for_silent_sensor",
    "alert_for_verdict",
    "binned_drift",
    "calibration_drift",
    "classifier_two_sample",
    "compare_counts",
    "correlation_drift",
    "decide",
    "direct_loss",
    "divergence",
    "estimate_from_probabilities",
    "feature_drift",
    "fisher_exact_p_value",
    "hashed_words",
    "jensen_shannon_distance",
    "kolmogorov_smirnov",
    "kolmogorov_smirnov_distance",
    "least_squares_density_difference",
    "loss_change",
    "maximum_mean_discrepancy",
    "mean_shift",
    "moved_words",
    "performance_table",
    "population_stability_index",
    "read_alert_settings",
    "reference_profile",
    "relation_change",
    "sign",
    "signature_holds",
    "standardised",
    "table_drift",
    "text_drift",
    "two_sample",
]
