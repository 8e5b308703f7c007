"""Every feature has a name that a person understands."""

from __future__ import annotations

from within_pipelines.features import ACCOUNT_FEATURES
from within_pipelines.prediction.account_health.groups import ADVICE, group_of, recommendation


def test_every_account_feature_belongs_to_a_group_with_advice() -> None:
    groups = {name: group_of(name) for name in ACCOUNT_FEATURES.columns}
    assert set(groups.values()) <= set(ADVICE)
    assert set(ADVICE) <= set(groups.values())
    assert group_of("something_new") == "other"


def test_a_recommendation_carries_its_numbers_and_nothing_else() -> None:
    text = recommendation("price", {"log_cpc_7": 0.41234, "target": "clicks", "unknown": None})
    assert text.startswith("Prices per click or impression moved")
    assert text.endswith("(log_cpc_7 0.412)")
    assert recommendation("other", {}) == "Look at what changed lately."
