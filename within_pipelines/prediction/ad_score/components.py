"""Do the component scores say anything about results? Each is held against what unseen siblings did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.stats import cluster_mean

if TYPE_CHECKING:
    from within_pipelines.prediction.ad_score.contrasts import Observed
    from within_pipelines.prediction.ad_score.scores import AdScores

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
COMPONENTS: tuple[str, ...] = ("engagement", "sentiment", "complexity", "audience_match")
# A topic's mean contrast weighs as much as the prior (no difference) from so many ads on.
_TOPIC_ADS = 10.0


def component_validation(
    scores: AdScores,
    seen: Observed,
    first: Indices,
    second: Indices,
    won: Floats,
    clusters: NDArray[np.object_],
    *,
    rng: np.random.Generator,
    n_resamples: int = 200,
) -> pl.DataFrame:
    """One row per component score: of the sibling pairs in which it differs, the share where the ad with more of it had the higher
    click-through rate, with its 95 % interval over clusters.

    0.5 says that the component tells nothing about results, below 0.5 that less of it did better. `says` puts that into words: "more did
    better", "less did better", or "no evidence" when the interval contains 0.5. A `topic` has no order; in its place stands the mean
    contrast of the other groups' ads of the topic, shrunken by 10 ads. `pairs` counts pairs that differ, `clusters` independent units;
    a component that never differs has neither share nor verdict.

    `first` and `second` are rows of the pairs, `won` is 1 where the first had the higher rate, `clusters` each row's independent unit."""
    values = {name: np.array([getattr(score, name) for score in scores], dtype=np.float64) for name in COMPONENTS}
    values["topic"] = _topic_contrasts([score.topic for score in scores], seen)
    rows: list[tuple[str, float | None, float | None, float | None, int, int, str]] = []
    for name, value in values.items():
        differ = value[first] != value[second]
        right = ((value[first] > value[second]) == (won > 0.5))[differ].astype(float)
        units = clusters[first][differ]
        if len(np.unique(units)) < 2:
            rows.append((name, None, None, None, right.size, len(np.unique(units)), "never differs" if not right.size else "one unit only"))
            continue
        share = cluster_mean(right, units, rng=rng, n_resamples=n_resamples)
        says = "more did better" if share.low > 0.5 else "less did better" if share.high < 0.5 else "no evidence"
        rows.append((name, share.value, share.low, share.high, right.size, share.n, says))
    names = ("component", "share", "low", "high", "pairs", "clusters", "says")
    types = dict(zip(names, (pl.String, pl.Float64, pl.Float64, pl.Float64, pl.Int64, pl.Int64, pl.String), strict=True))
    return pl.DataFrame(rows, schema=types, orient="row")


def _topic_contrasts(topics: Sequence[str | None], seen: Observed) -> Floats:
    """Per ad, the shrunken mean contrast of its topic over the ads of other groups; 0 for a topic that no other group has."""
    weight = 1 / seen.variance
    group_weight = np.bincount(seen.group, weight, seen.n_groups)
    contrast = seen.log_odds - (np.bincount(seen.group, weight * seen.log_odds, seen.n_groups) / group_weight)[seen.group]
    result = np.zeros(len(topics))
    rows: dict[str, list[int]] = {}
    for row, topic in enumerate(topics):
        if topic is not None:
            rows.setdefault(topic, []).append(row)
    for members in map(np.array, rows.values()):
        total, count = contrast[members].sum(), len(members)
        for row in members:
            own = members[seen.group[members] == seen.group[row]]
            result[row] = (total - contrast[own].sum()) / (count - len(own) + _TOPIC_ADS)
    return result
