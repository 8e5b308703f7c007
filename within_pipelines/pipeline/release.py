"""From an evaluation to verdicts, and from verdicts to the alias that serves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from within_pipelines.exceptions import ArtifactError, PromotionRefusedError
from within_pipelines.pipeline.beside import place_beside
from within_pipelines.pipeline.canary_release import through_canary
from within_pipelines.pipeline.drift_reference import drift_baseline_verdict
from within_pipelines.pipeline.fairness_audit import fairness_verdict
from within_pipelines.pipeline.robustness_audit import robustness_report
from within_pipelines.pipeline.training import KINDS, evaluate, load_version, trained_version
from within_pipelines.pipeline.withdrawn import withdrawn_versions
from within_pipelines.pipeline.workspace import Pin, Workspace
from within_pipelines.stats import Estimate, Status, Verdict, judge_at_least

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.prediction import Evaluation
    from within_pipelines.registry import ModelVersion

# Fewer independent units (accounts, ad groups, series) than this are insufficient evidence.
MINIMUM_UNITS = 12
# A new version may replace the champion when it is not worse by more than this share of the main metric's scale.
NON_INFERIORITY_MARGIN = 0.02
# Predictions up to twice too extreme or too timid are still fit to rank and to state a probability; beyond that they mislead.
SLOPE_TOLERANCE = (0.5, 2.0)
# An interval that reaches from a tenth to ten times says nothing.
SLOPE_TOO_WIDE = (0.1, 10.0)
# Realised alarms on quiet days may exceed the stated budget by at most this factor.
FALSE_ALARM_FACTOR = 1.5
# The main metric of a useless model.
NO_SKILL = {"ad_score": 0.5, "account_health": 0.0, "anomaly": 0.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """One version with its evaluation and the verdicts that were recorded for it."""

    version: ModelVersion
    evaluation: Evaluation
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """Which version serves after the attempt, and why."""

    model: str
    champion: ModelVersion | None
    moved: bool
    reasons: tuple[str, ...]


def performance_verdict(evaluation: Evaluation, *, is_baseline: bool, against_champion: Evaluation | None) -> Verdict:
    """The gate `performance`.

    - A challenger must beat its baseline: the whole interval of the paired difference lies above 0.
    - Beside a champion it must also not be worse: the interval of that paired difference lies above the non-inferiority margin.
    - Bootstrap rule: the baseline itself may be the first champion when its main metric's interval does not lie below no skill."""
    metric = evaluation.main_metric
    if is_baseline:
        own = evaluation.metrics[metric]
        floor = NO_SKILL[evaluation.model]
        shown = Estimate(own.value - floor, own.high - floor, own.high - floor, own.n, own.level)
        judged = judge_at_least("performance", shown, 0.0, minimum_n=MINIMUM_UNITS, what=f"upper bound of {metric} above no skill")
        return Verdict(
            "performance", judged.status, own, floor, judged.sample_sizes,
            f"{metric} is {own}; as a first champion the baseline must not lie below no skill ({floor:g}).",
            evidence={"rule": "bootstrap: baseline"},
        )  # fmt: skip
    verdict = judge_at_least(
        "performance",
        evaluation.difference,
        0.0,
        minimum_n=MINIMUM_UNITS,
        what=f"gain in {metric} over {evaluation.baseline}",
        evidence={"rule": "beats the baseline", "value": str(evaluation.metrics[metric])},
    )
    if verdict.passed and against_champion is not None:
        verdict = judge_at_least(
            "performance",
            against_champion.difference,
            -NON_INFERIORITY_MARGIN,
            minimum_n=MINIMUM_UNITS,
            what=f"gain in {metric} over the champion",
            evidence={"rule": "beats the baseline and is not worse than the champion", "over_baseline": str(evaluation.difference)},
        )
    return verdict


def calibration_verdict(evaluation: Evaluation) -> Verdict:
    """The gate `calibration`: the slope of outcomes on predicted log-odds should be 1.

    Passed when the slope lies inside `SLOPE_TOLERANCE`; failed when its whole interval lies outside; insufficient when the slope lies
    outside and the interval reaches in, when the interval is wider than `SLOPE_TOO_WIDE`, or when too few units were seen."""
    slope = evaluation.metrics["calibration_slope"]
    low, high = SLOPE_TOLERANCE
    if slope.n < MINIMUM_UNITS:
        status, why = Status.INSUFFICIENT, f"only {slope.n} of {MINIMUM_UNITS} units"
    elif slope.low < SLOPE_TOO_WIDE[0] or slope.high > SLOPE_TOO_WIDE[1]:
        status, why = Status.INSUFFICIENT, "the interval is too wide to tell"
    elif slope.high < low or slope.low > high:
        status, why = Status.FAILED, "predictions are too extreme" if slope.high < low else "predictions are too timid"
    elif low <= slope.value <= high:
        status, why = Status.PASSED, f"it lies between {low:g} and {high:g}"
    else:
        status, why = Status.INSUFFICIENT, f"it lies outside {low:g} to {high:g}, but its interval reaches in"
    evidence = {"debiased_ece": str(evaluation.metrics["debiased_ece"])} if "debiased_ece" in evaluation.metrics else {}
    return Verdict("calibration", status, slope, 1.0, {"units": slope.n}, f"The calibration slope is {slope}: {why}.", evidence=evidence)


def false_alarm_verdict(evaluation: Evaluation) -> Verdict:
    """The gate `false_alarms`: realised alarms per series and month on quiet days against the stated budget.

    Passed when the interval's upper end is at most `FALSE_ALARM_FACTOR` times the budget, failed when its lower end is above it."""
    ratio = evaluation.metrics["false_alarm_ratio"]
    if ratio.n < MINIMUM_UNITS:
        status, why = Status.INSUFFICIENT, f"only {ratio.n} of {MINIMUM_UNITS} units"
    elif ratio.high <= FALSE_ALARM_FACTOR:
        status, why = Status.PASSED, "the budget is kept"
    elif ratio.low > FALSE_ALARM_FACTOR:
        status, why = Status.FAILED, "it cries wolf"
    else:
        status, why = Status.INSUFFICIENT, "the interval contains the limit"
    return Verdict(
        "false_alarms", status, ratio, FALSE_ALARM_FACTOR, {"units": ratio.n}, f"Realised over stated false alarms is {ratio}: {why}."
    )


def card_verdict(version: ModelVersion) -> Verdict:
    """The gate `model_card`: everything that a complete card says was recorded. What is missing fails it, by name."""
    from within_pipelines.reporting import card_gaps

    gaps = card_gaps(version)
    found = Estimate(float(len(gaps)), float(len(gaps)), float(len(gaps)), n=1)
    status = Status.FAILED if gaps else Status.PASSED
    reason = f"The model card lacks {', '.join(gaps)}." if gaps else "Nothing is missing on the model card."
    return Verdict("model_card", status, found, 0.0, {"cards": 1}, reason)


def golden_folder() -> Path:
    """Folder of the golden samples that ship with the repository."""
    return Path(__file__).resolve().parents[2] / "data" / "golden"


def golden_answers(model: str, predictor: Any) -> Any:
    """A function from a golden sample's rows to plain numbers, one per row."""

    if model == "ad_score":
        return lambda rows: predictor.predict(rows).to_frame()["score"].to_numpy()
    if model == "account_health":
        return lambda rows: predictor.predict(rows).to_frame()["probability"].fill_null(-1.0).to_numpy()

    def p_values(rows: pl.DataFrame) -> Any:
        scored = predictor.score_series(rows)
        return scored["p_value"].fill_null(-1.0).to_numpy()

    return p_values


def golden_verdict(ws: Workspace, version: ModelVersion, *, beside: ModelVersion | None = None) -> Verdict:
    """The gate `golden_sample`: the artifact answers the frozen sample, answers it as when it was first recorded, and every slice of the
    golden set (hard cases, replays of incidents) holds: every case is met, or what the set expects of the slice. The evidence holds the
    difference to the version `beside`, per slice with intervals; what that one meets may be missed only as far as the set allows.
    """
    from within_pipelines.pipeline.golden import ask_version, compared, current_golden_set, with_cases
    from within_pipelines.validation import ask_cases

    answers = golden_answers(version.model, load_version(ws, version))
    sample = golden_sample_verdict(ws, version, answers)
    golden_set = current_golden_set(ws)
    cases = golden_set.of(version.model)
    results = ask_cases(answers, cases)
    if beside is None:
        return with_cases(sample, golden_set, results)
    own = ask_version(ws, beside, cases)
    verdict = with_cases(sample, golden_set, results, champion=own)
    differences = {
        found.slice: {"cases": found.cases, "gain": str(found.gain), "mcnemar_p": found.mcnemar.p_value, "lost": list(found.lost)}
        for found in compared(ws, results, own)
    }
    return replace(verdict, evidence={**verdict.evidence, "beside": f"champion v{beside.version}", "differences": differences})


def golden_sample_verdict(ws: Workspace, version: ModelVersion, answers: Any) -> Verdict:
    """The part `representative` alone: the frozen sample against the answers that were recorded when the version was first judged."""
    from within_pipelines.files import write_text
    from within_pipelines.validation import GoldenPredictions, check_golden, load_golden, record_golden

    sample = load_golden(golden_folder(), version.model)
    path = ws.settings.artifacts / "golden" / f"{version.model}-{version.model_sha256}-{sample.version}.json"
    if path.is_file():
        recorded = GoldenPredictions.from_json(path.read_text())
    else:
        recorded = record_golden(answers, sample)
        # A fault is judged but not kept: what failed for a passing reason may be asked again.
        if recorded.usable:
            write_text(path, recorded.to_json())
    return check_golden(answers, sample, recorded, tolerance=1e-6)


def _noted(verdict: Verdict, **notes: str) -> Verdict:
    return replace(verdict, evidence={**verdict.evidence, **{name: note for name, note in notes.items() if note}})


def judge(ws: Workspace, pin: Pin, model: str, *, is_baseline: bool = False) -> Judged:
    """Evaluate the version trained for `pin`, record a verdict for each required gate, and return both.

    A champion that this code cannot read (damaged, or written by an older release) cannot serve and is no rival: the version is compared
    with its baseline alone, and the verdict's evidence says why."""
    from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES

    challenger, baseline = (trained_version(ws, pin, model, kind) for kind in KINDS[model])
    version, rival = (baseline, challenger) if is_baseline else (challenger, baseline)
    evaluation = evaluate(ws, pin, version, rival)
    champion = ws.registry.alias(model, "champion")
    beside, unreadable = None, ""
    if champion is not None and not is_baseline and champion.model_sha256 not in {version.model_sha256, rival.model_sha256}:
        try:
            beside = evaluate(ws, pin, version, champion)
        except ArtifactError as error:
            unreadable = f"champion v{champion.version} cannot be read: {error}"
    makers = {
        "performance": lambda: _noted(
            performance_verdict(evaluation, is_baseline=is_baseline, against_champion=beside), champion=unreadable
        ),
        "calibration": lambda: calibration_verdict(evaluation),
        "false_alarms": lambda: false_alarm_verdict(evaluation),
        # A champion that cannot be read, or that is this very artifact, shows no difference.
        "golden_sample": lambda: golden_verdict(
            ws, version, beside=None if champion is None or unreadable or champion.model_sha256 == version.model_sha256 else champion
        ),
        "model_card": lambda: card_verdict(ws.registry.get(model, version.version)),
        "fairness": lambda: fairness_verdict(ws, pin, version),
        "robustness": lambda: robustness_report(ws, pin, version).verdict(),
        "drift_baseline": lambda: drift_baseline_verdict(ws, ws.registry.get(model, version.version)),
    }
    # The card is read from what is recorded, so that it says what the registry will show.
    ws.registry.record_metrics(version, evaluation)
    against = rival if beside is None or champion is None else champion
    verdicts = tuple(
        makers[gate]().bind(
            model_sha256=version.model_sha256,
            data_version=version.data_version,
            baseline_sha256=against.model_sha256,
            policy_version=POLICY_VERSION,
        )
        for gate in REQUIRED_GATES[model]
    )
    ws.registry.record_verdicts(verdicts)
    return Judged(version, evaluation, verdicts)


def release(ws: Workspace, pin: Pin, model: str, *, now: datetime, who: str, trigger: str = "") -> Released:
    """Promote the challenger trained for `pin` when its recorded verdicts allow it; where HOME/release.yaml asks for a canary, begin that.

    A challenger that does not come to serve gets the alias `challenger`, and `shadow`, so that it answers beside; one that does leaves
    `shadow` to the champion before it, so that the gain is seen. A version that was rolled back from, as champion or as canary, is not
    promoted again by itself.

    Cold start: without a champion, the baseline is tried after the challenger, and there is nothing that a canary could stand beside. A
    refusal is a result, not an error: the champion that serves keeps serving, and the reasons name every gate that did not pass."""
    champion = ws.registry.alias(model, "champion")
    challenger, baseline = (trained_version(ws, pin, model, kind) for kind in KINDS[model])
    candidates = [challenger] if champion is not None else [challenger, baseline]
    reasons: list[str] = []
    withdrawn = withdrawn_versions(ws, model)
    for candidate in candidates:
        if candidate.version in withdrawn:
            reasons.append(f"{candidate.kind} v{candidate.version}: {withdrawn[candidate.version]}; promote it by hand, or train another.")
            continue
        if champion is not None and champion.version == candidate.version:
            return Released(model, champion, moved=False, reasons=("it already serves",))
        if champion is not None and (said := through_canary(ws, candidate, now=now, who=who, trigger=trigger)):
            reasons.append(f"{candidate.kind} v{candidate.version}: {said}")
            continue
        try:
            ws.registry.promote(
                model,
                candidate.version,
                alias="champion",
                who=who,
                why=f"required gates passed on data {pin.data_version[:12]}" + (f"; triggered by {trigger}" if trigger else ""),
                now=now,
                expected_current=None if champion is None else champion.version,
            )
        except PromotionRefusedError as refusal:
            reasons.append(f"{candidate.kind} v{candidate.version}: {refusal}")
        else:
            place_beside(ws, candidate, champion, challenger, now=now, who=who)
            return Released(model, candidate, moved=True, reasons=(*reasons, f"{candidate.kind} passed its gates"))
    if champion is not None:
        place_beside(ws, champion, None, challenger, now=now, who=who)
    return Released(model, champion, moved=False, reasons=tuple(reasons))


def golden_check(ws: Workspace) -> dict[str, Verdict]:
    """Every champion's golden verdict, by model; models without a champion are left out."""
    from within_pipelines.registry import REQUIRED_GATES

    serving = {model: ws.registry.alias(model, "champion") for model in REQUIRED_GATES}
    return {model: golden_verdict(ws, version) for model, version in serving.items() if version is not None}


def validate_golden_sets(ws: Workspace, *, now: datetime) -> dict[str, Verdict]:
    """`golden_check`, kept with its slices, and with an alert opened for each champion that does not hold and closed for each that does."""
    from within_pipelines.database import GoldenResultRepository
    from within_pipelines.monitoring import alert_for_verdict
    from within_pipelines.pipeline.alerting import close_alert, open_alert

    verdicts = golden_check(ws)
    for model, verdict in verdicts.items():
        serving = ws.registry.alias(model, "champion")
        if serving is not None:
            GoldenResultRepository(ws.database).record(
                model=model,
                version=serving.version,
                model_sha256=serving.model_sha256,
                set_version=verdict.golden_set_version,
                passed=verdict.passed,
                met=int(verdict.evidence["cases_met"]),
                cases=int(verdict.evidence["cases"]),
                slices=verdict.evidence["slices"],
                now=now,
            )
        alert = alert_for_verdict(verdict, model=model)
        if alert is None:
            close_alert(ws, f"gate/{model}/golden_sample", now=now)
        else:
            open_alert(ws, alert, now=now)
    return verdicts
