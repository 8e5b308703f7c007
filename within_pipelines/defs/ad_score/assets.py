"""Assets and checks of the model `ad_score`."""

from within_pipelines.defs.models import model_assets, model_checks
from within_pipelines.defs.robustness import robustness_checks, robustness_report_asset

ASSETS = [
    *model_assets(
        "ad_score",
        feature_table="creative_features",
        learns="ad-score model (how well will this creative do beside its siblings?)",
        kinds={"xgboost", "pytorch", "numpy"},
    ),
    robustness_report_asset("ad_score"),
]
CHECKS = [*model_checks("ad_score"), *robustness_checks("ad_score")]
