"""Not worse, and equal enough: tests whose null is a difference that matters."""

from __future__ import annotations

from dataclasses import dataclass

from within_pipelines.exceptions import SampleError
from within_pipelines.stats.two_samples import MeanDifference, t_quantile, t_tail
from within_pipelines.stats.verdict import Estimate


@dataclass(frozen=True, slots=True)
class MarginTest:
    """A difference against margins: `p_value` of the null that it lies at or beyond them, and the interval whose ends decide the same.

    `difference` carries the 1 - 2 * alpha interval: inside the margins exactly when p < alpha."""

    difference: Estimate
    p_value: float
    alpha: float

    @property
    def shown(self) -> bool:
        """True when equivalence or non-inferiority is shown at `alpha`."""
        return self.p_value < self.alpha


def _interval(test: MeanDifference, alpha: float) -> Estimate:
    if not 0 < alpha < 0.5:
        raise SampleError(f"alpha is {alpha}; give an error rate between 0 and 0.5.")
    half = t_quantile(1 - alpha, test.degrees_of_freedom) * test.standard_error
    found = test.difference
    return Estimate(found.value, found.value - half, found.value + half, n=found.n, level=1 - 2 * alpha)


def non_inferiority(test: MeanDifference, *, margin: float, higher_is_better: bool = True, alpha: float = 0.05) -> MarginTest:
    """Is the first not worse than the second by `margin` or more? One-sided t test of the null difference <= -margin.

    `test` is what `welch_t`, `paired_t`, `ratio_difference` or `cuped_difference` gave; `margin` is in the metric's units.

    Raises `SampleError` for a negative margin.

    >>> from within_pipelines.stats.two_samples import t_test
    >>> gain = t_test(0.0, 0.01, 500.0, n=502, alternative="two-sided", level=0.95)
    >>> non_inferiority(gain, margin=0.02).shown, non_inferiority(gain, margin=0.01).shown
    (True, False)
    """
    if not margin >= 0:
        raise SampleError(f"margin is {margin}; give how much worse the first may be, a number >= 0.")
    interval = _interval(test, alpha)
    gain = test.difference.value if higher_is_better else -test.difference.value
    return MarginTest(interval, _beyond(gain, -margin, test), alpha)


def equivalence(test: MeanDifference, *, low: float, high: float, alpha: float = 0.05) -> MarginTest:
    """Does the difference lie between `low` and `high`? Two one-sided t tests (Schuirmann, 1987); the larger p-value counts.

    Raises `SampleError` unless low < high.

    >>> from within_pipelines.stats.two_samples import t_test
    >>> same = t_test(0.001, 0.01, 500.0, n=502, alternative="two-sided", level=0.95)
    >>> equivalence(same, low=-0.02, high=0.02).shown, equivalence(same, low=-0.01, high=0.01).shown
    (True, False)
    """
    if not low < high:
        raise SampleError(f"low is {low:g} and high is {high:g}; give margins with low < high.")
    value = test.difference.value
    return MarginTest(_interval(test, alpha), max(_beyond(value, low, test), _beyond(-value, -high, test)), alpha)


def _beyond(value: float, floor: float, test: MeanDifference) -> float:
    """p-value of the null that the true value is at most `floor`."""
    if test.standard_error == 0:
        return 0.0 if value > floor else 1.0
    return t_tail((value - floor) / test.standard_error, test.degrees_of_freedom, "greater")
