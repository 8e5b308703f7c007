"""Does training a model again pay, and may it happen now? The whole policy, in one readable place, as a pure function.

In this order:

1. A request by hand is followed.
2. A measurement change is no drift: nothing is done, because a model trained on both meanings of a metric is worse than either.
3. While a run of the model is in flight, everything waits for it.
4. What has got worse is weighed: the money at risk a week (the monitor scales it with the loss), times confidence, times the weeks until
   the next regular retraining, times the share that a retraining wins back, against its cost, per currency. Without money, or where it is
   at risk in a currency without a known cost, the relative loss alone must exceed a minimum; where features mean something else than
   before, or calibration is off and its cost unknown, that is enough. Drift of the data alone counts only when it is harmful: when the
   predictions have moved with it, or when it is large and too little is known of the predictions to call it harmless; insufficient
   evidence is no all-clear.
5. Enough new rows, or an age beyond the limit, is a reason of its own.
6. After a retraining the model is left alone for the cooldown, but for a request by hand. Each retraining that the gates have refused since
   the champion came doubles the cooldown, up to eightfold: what did not help is not repeated at the same pace.

Currencies are never summed: it is enough that one of them pays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.findings import MonitorFinding
from within_pipelines.monitoring.state import DriftState


class Action(StrEnum):
    """`WAIT` says that there is a reason, which something else holds up; `NOTHING` that there is none."""

    RETRAIN = "retrain"
    WAIT = "wait"
    NOTHING = "nothing"


class Trigger(StrEnum):
    """Why a model may be trained again."""

    BY_HAND = "by_hand"
    PERFORMANCE_LOSS = "performance_loss"
    CONCEPT_DRIFT = "concept_drift"
    DATA_DRIFT = "data_drift"
    DATA_VOLUME = "data_volume"
    AGE = "age"
    MEASUREMENT_CHANGE = "measurement_change"
    NONE = "none"


# Roughly what 20 euros or dollars are, rounded: an order of magnitude, so that a yen is not weighed like a euro. Whoever wants more gives
# a cost. A currency that is not here and has none is not weighed in money.
DEFAULT_COST: Mapping[str, float] = {
    "AED": 75, "AUD": 30, "BRL": 110, "CAD": 30, "CHF": 20, "CNY": 150, "CZK": 500, "DKK": 150, "EUR": 20, "GBP": 17, "HKD": 160,
    "HUF": 8000, "ILS": 75, "INR": 1700, "JPY": 3000, "KRW": 28000, "MXN": 400, "NOK": 220, "NZD": 35, "PLN": 85, "SEK": 220, "SGD": 27,
    "THB": 700, "TWD": 650, "USD": 20, "ZAR": 380,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RetrainingPolicy:
    """The knobs. `cost` is what a retraining costs (machine, review, risk of a worse version) in each currency, before `DEFAULT_COST`,
    which stands for about 20 euros; `horizon_weeks` is how long the loss would go on until the next regular retraining,
    of which `recovered` is the share that a retraining is expected to win back."""

    cost: Mapping[str, float] = field(default_factory=dict)
    horizon_weeks: float = 1.0
    recovered: float = 0.5
    minimum_relative_loss: float = 0.02
    minimum_confidence: float = 0.8
    cooldown: timedelta = timedelta(days=2)
    oldest: timedelta = timedelta(days=35)
    growth: float = 0.5
    large_effect: float = 0.5

    def __post_init__(self) -> None:
        if (
            any(cost <= 0 for cost in self.cost.values())
            or self.horizon_weeks <= 0
            or not 0 < self.minimum_confidence <= 1
            or self.growth <= 0
        ):
            raise SampleError(f"{self} cannot be; cost, horizon, growth must be positive and the confidence within (0, 1].")

    def cost_in(self, currency: str) -> float | None:
        """What a retraining costs in `currency`; None when neither the policy nor the defaults know.

        >>> RetrainingPolicy(cost={"EUR": 60.0}).cost_in("EUR"), RetrainingPolicy().cost_in("JPY"), RetrainingPolicy().cost_in("XXX")
        (60.0, 3000.0, None)
        """
        found = self.cost.get(currency, DEFAULT_COST.get(currency))
        return None if found is None else float(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, times in days."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told |= {f"{name}_days": told.pop(name) / timedelta(days=1) for name in ("cooldown", "oldest")}
        return {**told, "cost": dict(self.cost)}


# The most that refusals stretch the cooldown.
LONGEST = 8


@dataclass(frozen=True, slots=True)
class ModelState:
    """What is known of a model besides its findings.

    `baseline_loss` is the loss at which a change is measured (None when unknown), `days_then` and `days_now` the account-days with facts
    when the champion was trained and now, `requests` the texts of requests by hand with their numbers, `in_flight` the id of a run that
    trains it, `artifact` what serves and `champion` its number, `refused` when those were trained that the gates have refused since."""

    model: str
    trained_at: datetime | None
    days_then: int = 0
    days_now: int = 0
    baseline_loss: float | None = None
    requests: Sequence[tuple[int, str]] = ()
    in_flight: str | None = None
    last_requested_at: datetime | None = None
    artifact: str = ""
    champion: int | None = None
    refused: Sequence[datetime] = ()


@dataclass(frozen=True, slots=True)
class RetrainingDecision:
    """What to do about a model and why. `cause` stays the same while the reason does, so one cause requests one run (`run_key`)."""

    model: str
    action: Action
    trigger: Trigger
    cause: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_key(self) -> str | None:
        """The key under which a run is requested, the same for the same cause; None when nothing is requested."""
        return f"retrain-{self.model}-{_short(self.cause)}" if self.action is Action.RETRAIN else None

    @property
    def key(self) -> str:
        """The same for the same decision for the same cause, so that a tick that changes nothing records nothing."""
        return _short(f"{self.model}|{self.action}|{self.trigger}|{self.cause}")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def decide(state: ModelState, findings: Sequence[MonitorFinding], *, policy: RetrainingPolicy, now: datetime) -> RetrainingDecision:
    """What the policy says about one model, given the newest findings about it.

    Findings of other models are ignored. A clock that went backwards makes nothing old and starts no cooldown anew."""
    own = [found for found in findings if found.model == state.model]

    def answer(action: Action, trigger: Trigger, reason: str, *parts: str, **evidence: Any) -> RetrainingDecision:
        told = {"findings": [f.to_dict() for f in own if f.state is not DriftState.STABLE], "policy": policy.to_dict(), **evidence}
        # One cause a champion and trigger: a new champion that drifts again is a new cause.
        cause = f"{trigger}/{state.artifact}/{'/'.join(parts)}"
        return RetrainingDecision(state.model, action, trigger, cause, reason, told)

    if state.requests:
        numbers, texts = zip(*state.requests, strict=True)
        said = "; ".join(texts)
        if state.in_flight is not None:
            waiting = f"asked for by hand ({said}), but run {state.in_flight} trains it already"
            return answer(Action.WAIT, Trigger.BY_HAND, waiting, *map(str, numbers), state.in_flight)
        return answer(Action.RETRAIN, Trigger.BY_HAND, f"asked for by hand: {said}", *map(str, numbers))
    changed = [found for found in own if found.state is DriftState.MEASUREMENT_CHANGE]
    drifted = [found for found in own if found.drifted]
    if state.trained_at is None:
        return answer(Action.NOTHING, Trigger.NONE, "no version serves, so nothing can be compared; train one first")
    if changed and not drifted:
        why = f"a measurement change explains {', '.join(sorted({f.monitor for f in changed}))}: {changed[0].reason}"
        return answer(Action.NOTHING, Trigger.MEASUREMENT_CHANGE, why, *sorted({f.monitor for f in changed}), changed[0].reason)
    reason = _reason(state, own, policy=policy, now=now)
    if reason.trigger is Trigger.NONE:
        return answer(Action.NOTHING, Trigger.NONE, reason.text, reason.detail, **reason.evidence)
    if not reason.pays:
        return answer(Action.NOTHING, reason.trigger, reason.text, reason.detail, **reason.evidence)
    if state.in_flight is not None:
        text = f"{reason.text}; waits for run {state.in_flight}"
        return answer(Action.WAIT, reason.trigger, text, reason.detail, state.in_flight, **reason.evidence)
    refused = {"refused": len(state.refused)}
    held = _cooldown(state, policy=policy, now=now)
    if held is not None:
        text, since = held
        return answer(Action.WAIT, reason.trigger, f"{reason.text}; {text}", reason.detail, str(since), **reason.evidence, **refused)
    # The cooldown ends with the cause: what is still wrong two days after a retraining is asked for again, under a key of its own.
    return answer(Action.RETRAIN, reason.trigger, reason.text, reason.detail, str(state.last_requested_at), **reason.evidence, **refused)


def _cooldown(state: ModelState, *, policy: RetrainingPolicy, now: datetime) -> tuple[str, datetime] | None:
    """What holds a model back after its last training, and when that was; None when nothing does. A clock gone back starts nothing anew."""
    # A schedule's training that was refused is as much in vain as one that the policy asked for.
    trained = [moment for moment in (state.last_requested_at, *state.refused) if moment is not None and moment <= now]
    if not trained:
        return None
    last, times = max(trained), len(state.refused)
    until = last + policy.cooldown * min(2**times, LONGEST)
    if now >= until:
        return None
    if times == 0:
        return f"waits until {until:%Y-%m-%d %H:%M} UTC, after the last retraining", last
    often = {1: "once", 2: "twice"}.get(times, f"{times} times")
    return f"refused {often} since v{state.champion}; waits until {until:%Y-%m-%d %H:%M} UTC", last


@dataclass(frozen=True, slots=True)
class _Reason:
    trigger: Trigger
    text: str
    detail: str = ""
    pays: bool = True
    evidence: Mapping[str, Any] = field(default_factory=dict)


_LOSS = {
    "estimated_performance": Trigger.PERFORMANCE_LOSS,
    "calibration_drift": Trigger.PERFORMANCE_LOSS,
    "concept_drift": Trigger.CONCEPT_DRIFT,
}


_INPUTS = ("data_drift", "multivariate_drift", "text_drift")


def _reason(state: ModelState, own: Sequence[MonitorFinding], *, policy: RetrainingPolicy, now: datetime) -> _Reason:
    drifted = [found for found in own if found.drifted]
    worse = [found for found in drifted if found.monitor in _LOSS]
    weighed = [_weigh(state, found, policy=policy) for found in worse]
    paying = [found for found in weighed if found.pays]
    if paying:
        # Concept drift first: it is about the labels, the estimate only about what they would be.
        return min(paying, key=lambda found: found.trigger is not Trigger.CONCEPT_DRIFT)
    # The plainest evidence first: a feature alone, then all together, then texts.
    data = sorted((found for found in drifted if found.monitor in _INPUTS), key=lambda found: _INPUTS.index(found.monitor))
    moved = any(found.monitor == "prediction_drift" and found.drifted for found in own)
    calm = any(found.monitor == "prediction_drift" and found.state is DriftState.STABLE for found in own)
    if data:
        harm = _harm(data[0], moved, calm, policy=policy)
        if harm.pays:
            return harm
    if state.trained_at is not None and now - state.trained_at > policy.oldest:
        days = (now - state.trained_at).days
        return _Reason(
            Trigger.AGE, f"the champion is {days} days old; the limit is {policy.oldest.days}", f"{days // max(1, policy.oldest.days)}"
        )
    if state.days_then > 0 and state.days_now >= state.days_then * (1 + policy.growth):
        more = state.days_now / state.days_then - 1
        return _Reason(
            Trigger.DATA_VOLUME, f"{more:.0%} more account-days than the champion has seen; {policy.growth:.0%} is enough", "growth"
        )
    if weighed:
        return weighed[0]
    if data:
        named = ", ".join(data[0].features[:3]) or "the data"
        return _Reason(Trigger.DATA_DRIFT, f"{named} moved, but neither predictions nor loss did: harmless", "harmless", pays=False)
    return _Reason(Trigger.NONE, "nothing that matters has changed")


def _harm(data: MonitorFinding, moved: bool, calm: bool, *, policy: RetrainingPolicy) -> _Reason:
    """Whether drift of the data is harmful: predictions moved with it, or it is large and nobody can say that they did not."""
    named = ", ".join(data.features[:3]) or "the data"
    effect = abs(data.effect or 0.0)
    evidence = {"features": list(data.features), "effect": data.effect, "large": policy.large_effect}
    if moved:
        return _Reason(Trigger.DATA_DRIFT, f"{named} moved since training and so did the predictions", "with predictions", True, evidence)
    if calm:
        return _Reason(Trigger.DATA_DRIFT, f"{named} moved, but the predictions did not: harmless", "harmless", False, evidence)
    if effect >= policy.large_effect:
        text = f"{named} moved by {effect:.2f} since training, and too little is known to call that harmless"
        return _Reason(Trigger.DATA_DRIFT, text, "large", True, evidence)
    return _Reason(
        Trigger.DATA_DRIFT, f"{named} moved by {effect:.2f}, less than {policy.large_effect:g}: waits for more", "small", False, evidence
    )


def _weigh(state: ModelState, found: MonitorFinding, *, policy: RetrainingPolicy) -> _Reason:
    trigger = _LOSS[found.monitor]
    confidence = 1.0 - (1.0 - policy.minimum_confidence if found.p_value is None else found.p_value)
    baseline = found.evidence.get("reference_loss") or state.baseline_loss
    relative = None if found.loss_change is None or not baseline else found.loss_change / baseline
    weeks = policy.horizon_weeks * policy.recovered
    gains = {currency: money * confidence * weeks for currency, money in found.money_at_risk.items()}
    costs = {currency: cost for currency in gains if (cost := policy.cost_in(currency)) is not None}
    evidence = {"relative_loss": relative, "confidence": confidence, "expected_loss": gains, "cost": costs}
    said = f"{found.monitor} at confidence {confidence:.0%}" + ("" if relative is None else f", loss {relative:+.1%}")
    if confidence < policy.minimum_confidence:
        return _Reason(trigger, f"{said}, which is too unsure", f"{found.monitor}/unsure", False, evidence)
    unknown = ", ".join(sorted(set(gains) - set(costs)))
    if costs:
        best = max(costs, key=lambda currency: gains[currency] / costs[currency])
        pays = gains[best] > costs[best]
        default = "" if best in policy.cost else " (default cost)"
        text = f"{said}: {gains[best]:,.0f} {best} to win back against {costs[best]:,.0f} for a retraining{default}"
        if pays or not unknown:
            return _Reason(trigger, text, found.monitor if pays else f"{found.monitor}/small", pays, evidence)
    if unknown:
        said = f"{said}, of which the part in {unknown} cannot be weighed: no cost is given"
    if found.features and trigger is Trigger.CONCEPT_DRIFT:
        text = f"{said}; {', '.join(found.features[:3])} mean something else now, whatever that will cost"
        return _Reason(trigger, text, found.monitor, True, evidence)
    if relative is None:
        return _Reason(trigger, f"{said}; what it costs is unknown, that it is there is not", found.monitor, True, evidence)
    pays = relative >= policy.minimum_relative_loss
    text = f"{said}; {'then' if unknown else 'without money at risk,'} {policy.minimum_relative_loss:.0%} is enough"
    return _Reason(trigger, text, found.monitor if pays else f"{found.monitor}/small", pays, evidence)
