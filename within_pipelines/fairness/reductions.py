"""Training under a constraint on the gap: fairlearn's reductions around any classifier that takes weights."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import NotFittedError, SampleError, SettingsError
from within_pipelines.fairness.metrics import demographic_parity_difference, equalized_odds_difference
from within_pipelines.fairness.penalty import Criterion

Floats = NDArray[np.float64]
Reduction = Literal["exponentiated_gradient", "grid_search"]
# A slack of nothing has no solution on most samples.
_LEAST_SLACK = 0.005
# fairlearn's own width of 2 hardly has a point near the plain model.
_WIDTHS = (0.3, 0.6, 2.0)


class ConstrainedClassifier:
    """A classifier trained so that groups are selected alike, within a gap (Agarwal et al. 2018), by fairlearn.

    `estimator` is any scikit-learn classifier whose `fit` takes `sample_weight`; it is cloned. `gap` is the largest difference of
    selection rates (with equalised odds: of rates within each outcome) that is wanted on the training rows, 0 to 1. The reduction
    `exponentiated_gradient` mixes several fits, so that `probability` is that of being selected; `grid_search` keeps the most accurate
    one of a grid whose gap on the training rows is within `gap`, or the one with the smallest gap. The group is needed for `fit` only."""

    def __init__(
        self, estimator: Any, *, gap: float = 0.05, criterion: Criterion = "demographic_parity",
        reduction: Reduction = "exponentiated_gradient", rounds: int = 25, grid_size: int = 50,
    ) -> None:  # fmt: skip
        if not 0 <= gap <= 1 or criterion not in ("demographic_parity", "equalized_odds"):
            raise SampleError(f"gap is {gap} and criterion {criterion!r}; give a gap in [0, 1], and demographic_parity or equalized_odds.")
        if reduction not in ("exponentiated_gradient", "grid_search"):
            raise SampleError(f"reduction is {reduction!r}; give exponentiated_gradient or grid_search.")
        self.estimator, self.gap, self.criterion, self.reduction = estimator, gap, criterion, reduction
        self.rounds, self.grid_size = rounds, grid_size
        self._fitted: Any = None

    def fit(self, features: ArrayLike, outcome: ArrayLike, groups: ArrayLike) -> Self:
        """Fit on (rows, columns), outcomes 0 and 1, and a group per row.

        Raises `SampleError` for shapes that differ or fewer than two groups, `SettingsError` where fairlearn is not installed."""
        x, y, labels = np.asarray(features, dtype=np.float64), np.asarray(outcome, dtype=np.float64), np.asarray(groups).astype(str)
        if x.ndim != 2 or len(x) != len(y) or len(y) != len(labels) or not np.all(np.isin(y, (0.0, 1.0))):
            raise SampleError(f"features {x.shape}, outcomes {y.shape}, groups {labels.shape}; give one of each per row, outcomes 0 and 1.")
        if len(np.unique(labels)) < 2:
            raise SampleError("All rows are of one group; a gap needs two.")
        try:
            from fairlearn.reductions import DemographicParity, EqualizedOdds, ExponentiatedGradient, GridSearch
        except ImportError as error:
            raise SettingsError(
                "fairlearn is not installed; pip install 'within-pipelines' brings it, or pip install 'fairlearn>=0.13'."
            ) from error
        from sklearn.base import clone

        kind = DemographicParity if self.criterion == "demographic_parity" else EqualizedOdds
        if self.reduction == "exponentiated_gradient":
            # The bound is on the difference to the overall rate: half of that between groups.
            bound = kind(difference_bound=max(self.gap / 2, _LEAST_SLACK))
            mixed = ExponentiatedGradient(clone(self.estimator), bound, eps=0.01, max_iter=self.rounds)
            self._fitted = mixed.fit(x, y, sensitive_features=labels)
            return self
        predictors: list[Any] = []
        for width in _WIDTHS:
            searched = GridSearch(clone(self.estimator), kind(), grid_size=self.grid_size, grid_limit=width)
            predictors += searched.fit(x, y, sensitive_features=labels).predictors_
        answers = [np.asarray(one.predict(x), dtype=np.float64) for one in predictors]
        gaps = [self._gap(y, answer, labels) for answer in answers]
        able = [i for i, own in enumerate(gaps) if own <= self.gap + 1e-9]
        best = max(able, key=lambda i: float(np.mean(answers[i] == y))) if able else int(np.argmin(gaps))
        self._fitted = predictors[best]
        return self

    def _gap(self, y: Floats, answer: Floats, labels: NDArray[np.str_]) -> float:
        if self.criterion == "demographic_parity":
            return demographic_parity_difference(answer, labels)
        return equalized_odds_difference(y, answer, labels)

    def probability(self, features: ArrayLike) -> Floats:
        """Probability that each row is selected: 0 to 1 where fits are mixed, else 0 or 1. Raises `NotFittedError` before `fit`."""
        if self._fitted is None:
            raise NotFittedError("This classifier is not fitted; call fit first.")
        x = np.asarray(features, dtype=np.float64)
        if self.reduction == "grid_search":
            return np.asarray(self._fitted.predict(x), dtype=np.float64)
        # The weighted mean of the fits' answers; fairlearn draws one of them at random.
        weights = self._fitted.weights_
        told = [
            float(weights[i]) * np.asarray(self._fitted.predictors_[i].predict(x), dtype=np.float64)
            for i in weights.index
            if weights[i] > 0
        ]
        found: Floats = np.sum(told, axis=0)
        return found
