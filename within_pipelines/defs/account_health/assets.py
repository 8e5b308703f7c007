"""Assets and checks of the model `account_health`."""

from within_pipelines.defs.models import model_assets, model_checks
from within_pipelines.defs.robustness import robustness_checks, robustness_report_asset

ASSETS = [
    *model_assets(
        "account_health",
        feature_table="account_features",
        learns="account-health model (will efficiency drop by a fifth within seven days?)",
        kinds={"xgboost", "numpy"},
    ),
    robustness_report_asset("account_health"),
]
CHECKS = [*model_checks("account_health"), *robustness_checks("account_health")]
