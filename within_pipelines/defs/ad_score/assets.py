"""Assets and checks of the model `ad_score`."""

from within_pipelines.defs.models import model_assets, model_checks

ASSETS = model_assets(
    "ad_score",
    feature_table="creative_features",
    learns="ad-score model (how well will this creative do beside its siblings?)",
    kinds={"xgboost", "scikitlearn"},
)
CHECKS = model_checks("ad_score")
