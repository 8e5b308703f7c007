"""Assets and checks of the model `anomaly`."""

from within_pipelines.defs.models import model_assets, model_checks
from within_pipelines.defs.robustness import robustness_checks, robustness_report_asset

ASSETS = [
    *model_assets(
        "anomaly",
        feature_table="metric_series",
        learns="anomaly detector (which metric of which account misbehaves now?)",
        kinds={"numpy"},
    ),
    robustness_report_asset("anomaly"),
]
CHECKS = [*model_checks("anomaly"), *robustness_checks("anomaly")]
