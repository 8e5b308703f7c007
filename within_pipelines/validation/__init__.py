"""Is the challenger better than what serves, and is it safe to let it serve?

The golden sample is a frozen set of inputs: an artifact that raises, answers with NaN or in another shape, or answers otherwise than when
it was recorded does not pass. The golden set adds cases with an expectation each, and expectations of slices of them. The paired comparison
asks whether a challenger is not worse than the champion on the same rows."""

from within_pipelines.validation.ab_test import AbResult, ArmComparison, Outcome, analyse, spread
from within_pipelines.validation.assignment import assign, stable_fraction
from within_pipelines.validation.canary import (
    STAGES,
    CanaryLook,
    CanaryMetric,
    CanarySpec,
    CanaryState,
    MetricLook,
    Step,
    look,
)
from within_pipelines.validation.canary_replay import Replay, logged, replay
from within_pipelines.validation.comparison import McNemar, compare_paired, mcnemar_exact
from within_pipelines.validation.experiment import (
    Experiment,
    ExperimentSpec,
    ExperimentState,
    ExperimentStateError,
    Metric,
    next_state,
)
from within_pipelines.validation.golden_asking import (
    CaseResult,
    SliceComparison,
    SliceResult,
    ask_cases,
    compare_cases,
    slice_results,
    without_golden_groups,
)
from within_pipelines.validation.golden_judging import SliceJudgement, judge_slices
from within_pipelines.validation.golden_sample import (
    GoldenPredictions,
    GoldenSample,
    GoldenSampleError,
    check_golden,
    load_golden,
    record_golden,
)
from within_pipelines.validation.golden_set import (
    GoldenCase,
    GoldenSet,
    GoldenSetError,
    Kind,
    Part,
    SliceExpectation,
    changed_set,
    load_golden_set,
    set_difference,
    write_golden_set,
)
from within_pipelines.validation.late_outcomes import matured
from within_pipelines.validation.sample_ratio import SampleRatio, sample_ratio
from within_pipelines.validation.shadow import ShadowComparison, compare_shadow
from within_pipelines.validation.stratified import StratifiedDifference, stratified_difference

__all__ = [
    "STAGES",
    "AbResult",
    "ArmComparison",
    "CanaryLook",
    "CanaryMetric",
    "CanarySpec",
    "CanaryState",
    "CaseResult",
    "Experiment",
    "ExperimentSpec",
    "ExperimentState",
    "ExperimentStateError",
    "GoldenCase",
    "GoldenPredictions",
    "GoldenSample",
    "GoldenSampleError",
    "GoldenSet",
    "GoldenSetError",
    "Kind",
    "McNemar",
    "Metric",
    "MetricLook",
    "Outcome",
    "Part",
    "Replay",
    "SampleRatio",
    "ShadowComparison",
    "SliceComparison",
    "SliceExpectation",
    "SliceJudgement",
    "SliceResult",
    "Step",
    "StratifiedDifference",
    "analyse",
    "ask_cases",
    "assign",
    "changed_set",
    "check_golden",
    "compare_cases",
    "compare_paired",
    "compare_shadow",
    "judge_slices",
    "load_golden",
    "load_golden_set",
    "logged",
    "look",
    "matured",
    "mcnemar_exact",
    "next_state",
    "record_golden",
    "replay",
    "sample_ratio",
    "set_difference",
    "slice_results",
    "spread",
    "stable_fraction",
    "stratified_difference",
    "without_golden_groups",
    "write_golden_set",
]
