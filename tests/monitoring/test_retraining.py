"""Laws of the retraining policy: what pays is done, what does not is not, and either is said with its evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import Action, DriftState, ModelState, MonitorFinding, RetrainingPolicy, Trigger, decide

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
STATE = ModelState("ad_score", trained_at=NOW - timedelta(days=7), days_then=1000, days_now=1100, baseline_loss=0.2, artifact="ab")
POLICY = RetrainingPolicy()


def finding(monitor: str, state: DriftState = DriftState.DRIFTED, **more: Any) -> MonitorFinding:
    return MonitorFinding(monitor, more.pop("model", "ad_score"), date(2026, 6, 30), state, **{"p_value": 0.001, **more})


def asked(
    *findings: MonitorFinding, state: ModelState = STATE, now: datetime = NOW, policy: RetrainingPolicy = POLICY
) -> tuple[Action, Trigger]:
    found = decide(state, findings, policy=policy, now=now)
    return found.action, found.trigger


def test_nothing_found_is_nothing_done_and_says_so() -> None:
    assert asked() == (Action.NOTHING, Trigger.NONE)
    assert asked(finding("data_drift", DriftState.STABLE), finding("concept_drift", DriftState.INSUFFICIENT)) == (
        Action.NOTHING,
        Trigger.NONE,
    )
    assert "nothing that matters" in decide(STATE, [], policy=POLICY, now=NOW).reason


@pytest.mark.parametrize(("money", "action"), [(100.0, Action.RETRAIN), (30.0, Action.NOTHING)])
def test_a_loss_is_weighed_against_the_cost(money: float, action: Action) -> None:
    """100 EUR a week x .999 x half of it won back is more than 20, 30 EUR is not."""
    found = finding("estimated_performance", loss_change=0.02, money_at_risk={"EUR": money})
    assert asked(found) == (action, Trigger.PERFORMANCE_LOSS)
    decided = decide(STATE, [found], policy=POLICY, now=NOW)
    assert decided.evidence["expected_loss"]["EUR"] == pytest.approx(money * 0.999 / 2)
    assert decided.evidence["cost"] == {"EUR": 20.0}
    assert decided.evidence["findings"][0]["monitor"] == "estimated_performance"


def test_currencies_are_not_summed_and_have_their_own_cost() -> None:
    spread = {"EUR": 30.0, "USD": 30.0, "JPY": 4500.0}
    assert asked(finding("concept_drift", loss_change=0.1, money_at_risk=spread))[0] is Action.NOTHING
    policy = RetrainingPolicy(cost={"JPY": 5.0})
    assert asked(finding("concept_drift", loss_change=0.1, money_at_risk=spread), policy=policy) == (Action.RETRAIN, Trigger.CONCEPT_DRIFT)


def test_a_yen_is_not_weighed_like_a_euro_and_a_default_cost_is_called_so() -> None:
    risk = lambda money: finding("concept_drift", loss_change=0.1, money_at_risk=money)
    decided = decide(STATE, [risk({"JPY": 1000.0})], policy=POLICY, now=NOW)
    assert decided.action is Action.NOTHING, "about 3 EUR to win back"
    assert decided.reason.endswith("500 JPY to win back against 3,000 for a retraining (default cost)")
    own = decide(STATE, [risk({"JPY": 1000.0})], policy=RetrainingPolicy(cost={"JPY": 5.0}), now=NOW)
    assert own.reason.endswith("500 JPY to win back against 5 for a retraining")


def test_money_in_a_currency_without_a_cost_is_not_weighed_and_the_loss_decides() -> None:
    risk = lambda loss, **money: finding("concept_drift", loss_change=loss, money_at_risk=money)
    assert asked(risk(0.1, XAU=1e9))[0] is Action.RETRAIN
    assert asked(risk(0.001, XAU=1e9))[0] is Action.NOTHING
    assert asked(risk(0.1, XAU=1e9, EUR=1.0))[0] is Action.RETRAIN
    said = decide(STATE, [risk(0.1, XAU=1e9)], policy=POLICY, now=NOW)
    assert "the part in XAU cannot be weighed: no cost is given; then 2% is enough" in said.reason
    assert said.evidence["cost"] == {}
    assert decide(STATE, [risk(0.1, XAU=1.0, EUR=100.0)], policy=POLICY, now=NOW).evidence["cost"] == {"EUR": 20.0}


def test_an_unsure_loss_is_no_reason() -> None:
    assert asked(finding("concept_drift", p_value=0.4, loss_change=0.5, money_at_risk={"EUR": 1e6}))[0] is Action.NOTHING


def test_without_money_the_relative_loss_decides_and_turned_features_are_enough() -> None:
    assert asked(finding("concept_drift", loss_change=0.01))[0] is Action.RETRAIN  # 5 % of .2
    assert asked(finding("concept_drift", loss_change=0.001))[0] is Action.NOTHING
    assert asked(finding("concept_drift", loss_change=0.0, features=("urgency",)))[0] is Action.RETRAIN
    assert asked(finding("calibration_drift"))[0] is Action.RETRAIN


def test_drift_of_the_data_counts_only_when_predictions_moved_too() -> None:
    data, moved = finding("data_drift", features=("headline_length",), effect=0.3), finding("prediction_drift")
    assert asked(data) == (Action.NOTHING, Trigger.DATA_DRIFT)
    assert asked(moved) == (Action.NOTHING, Trigger.NONE)
    assert asked(data, moved) == (Action.RETRAIN, Trigger.DATA_DRIFT)


@pytest.mark.parametrize("monitor", ["multivariate_drift", "text_drift"])
def test_inputs_that_moved_together_and_texts_count_like_single_features(monitor: str) -> None:
    together, moved = finding(monitor, features=("a", "b"), effect=0.3), finding("prediction_drift")
    assert asked(together) == (Action.NOTHING, Trigger.DATA_DRIFT)
    assert asked(together, moved) == (Action.RETRAIN, Trigger.DATA_DRIFT)
    assert asked(finding(monitor, DriftState.INSUFFICIENT), moved) == (Action.NOTHING, Trigger.NONE)
    # The plainest evidence gives the reason.
    both = decide(STATE, [together, finding("data_drift", features=("headline_length",), effect=0.3), moved], policy=POLICY, now=NOW)
    assert both.reason.startswith("headline_length moved")


def test_large_drift_is_harmless_only_when_the_predictions_are_known_to_be_calm() -> None:
    large = finding("data_drift", features=("headline_length",), effect=0.7)
    assert asked(large, finding("prediction_drift", DriftState.STABLE)) == (Action.NOTHING, Trigger.DATA_DRIFT)
    assert asked(large, finding("prediction_drift", DriftState.INSUFFICIENT)) == (Action.RETRAIN, Trigger.DATA_DRIFT)


def test_a_measurement_change_is_never_a_reason() -> None:
    changed = [finding(m, DriftState.MEASUREMENT_CHANGE, reason="Meta dropped a window") for m in ("data_drift", "prediction_drift")]
    decided = decide(STATE, changed, policy=POLICY, now=NOW)
    assert (decided.action, decided.trigger) == (Action.NOTHING, Trigger.MEASUREMENT_CHANGE)
    assert "Meta dropped a window" in decided.reason
    # Also not when the model is old and the data have doubled: the new meaning would be mixed with the old one.
    old = replace(STATE, trained_at=NOW - timedelta(days=99), days_now=9999)
    assert asked(*changed, state=old)[0] is Action.NOTHING


def test_age_and_volume_are_reasons_of_their_own() -> None:
    assert asked(state=replace(STATE, trained_at=NOW - timedelta(days=36))) == (Action.RETRAIN, Trigger.AGE)
    assert asked(state=replace(STATE, days_now=1500)) == (Action.RETRAIN, Trigger.DATA_VOLUME)
    assert asked(state=replace(STATE, days_now=1499))[0] is Action.NOTHING


def test_a_request_by_hand_is_followed_even_within_the_cooldown() -> None:
    state = replace(STATE, requests=((3, "new guidelines (kim)"),), last_requested_at=NOW - timedelta(hours=1))
    assert asked(state=state) == (Action.RETRAIN, Trigger.BY_HAND)
    assert asked(state=replace(state, in_flight="r1")) == (Action.WAIT, Trigger.BY_HAND)
    assert "kim" in decide(state, [], policy=POLICY, now=NOW).reason


def test_one_run_in_flight_and_a_cooldown_after_it() -> None:
    worse = finding("concept_drift", loss_change=0.1)
    assert asked(worse, state=replace(STATE, in_flight="r1"))[0] is Action.WAIT
    assert asked(worse, state=replace(STATE, last_requested_at=NOW - timedelta(days=1)))[0] is Action.WAIT
    assert asked(worse, state=replace(STATE, last_requested_at=NOW - timedelta(days=3)))[0] is Action.RETRAIN


@pytest.mark.parametrize(("times", "days", "said"), [(1, 4, "once"), (2, 8, "twice"), (3, 16, "3 times"), (9, 16, "9 times")])
def test_each_refusal_doubles_the_cooldown_up_to_eightfold(times: int, days: int, said: str) -> None:
    worse = finding("concept_drift", loss_change=0.1)
    last = NOW - timedelta(days=days) + timedelta(minutes=1)
    refused = tuple(last - timedelta(days=20 * n) for n in range(times))
    state = replace(STATE, champion=3, refused=refused, last_requested_at=last)
    held = decide(state, [worse], policy=POLICY, now=NOW)
    assert held.action is Action.WAIT
    assert held.reason.endswith(f"refused {said} since v3; waits until 2026-07-01 12:01 UTC")
    assert asked(worse, state=state, now=NOW + timedelta(minutes=1))[0] is Action.RETRAIN
    # By hand there is no waiting, and a refusal of which the policy knew nothing counts as well.
    assert asked(worse, state=replace(state, requests=((1, "x"),)))[0] is Action.RETRAIN
    assert asked(worse, state=replace(state, last_requested_at=None))[0] is Action.WAIT
    assert asked(worse, state=replace(state, refused=(), last_requested_at=last))[0] is Action.RETRAIN


def test_one_cause_is_one_run_and_a_new_champion_a_new_cause() -> None:
    worse = finding("concept_drift", loss_change=0.1)
    key = lambda state, *found: decide(state, found, policy=POLICY, now=NOW).run_key
    assert key(STATE, worse) == key(STATE, worse, finding("feature_correlation")) == key(STATE, replace(worse, day=date(2026, 7, 1)))
    assert key(STATE, worse) != key(replace(STATE, artifact="cd"), worse)
    assert key(STATE, worse) != key(replace(STATE, requests=((1, "x"),)), worse)
    assert key(STATE) is None


def test_findings_about_others_and_a_clock_gone_back_change_nothing() -> None:
    assert asked(finding("concept_drift", loss_change=0.1, model="anomaly")) == (Action.NOTHING, Trigger.NONE)
    assert asked(now=NOW - timedelta(days=400)) == (Action.NOTHING, Trigger.NONE)
    worse = finding("concept_drift", loss_change=0.1)
    assert asked(worse, state=replace(STATE, last_requested_at=NOW + timedelta(days=400)))[0] is Action.RETRAIN


def test_what_does_not_serve_is_not_compared() -> None:
    assert asked(finding("concept_drift", loss_change=0.1), state=replace(STATE, trained_at=None)) == (Action.NOTHING, Trigger.NONE)


def test_a_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(SampleError, match="must be positive"):
        RetrainingPolicy(cost={"EUR": 0})
