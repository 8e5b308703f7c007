"""Assets and checks of the model `anomaly`."""

from within_pipelines.defs.models import model_assets, model_checks

ASSETS = model_assets(
    "anomaly",
    feature_table="metric_series",
    learns="anomaly detector (which metric of which account misbehaves now?)",
    kinds={"numpy"},
)
CHECKS = model_checks("anomaly")
