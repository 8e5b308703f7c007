"""Have the inputs moved together where no feature has alone, and do the texts of ads speak of other things?"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.findings import MonitorFinding
from within_pipelines.pipeline.monitor_case import MonitorCase, permutations_for

if TYPE_CHECKING:
    import polars as pl

# The classifier sees at most so many rows of a window, drawn with the day's seed.
JOINT_ROWS = 1500
# Windows of the training period say how well neighbouring weeks are told apart anyway; a move must be told apart by so much more.
CALM_WINDOWS, MARGIN = 3, 0.05
# Features are named until they carry this share of the separation; each at least a twentieth.
_EXPLAINED, _LEAST_SHARE, _MOST_NAMED = 0.8, 0.05, 10


def joint_rows(old: pl.DataFrame, new: pl.DataFrame) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The features that both windows have, as matrices: numbers on the reference's scale with missing ones at its median, categories as
    their rank in the reference (0 for the most frequent, one more than the last for a new or missing one); features that never change are
    left out."""
    import polars as pl

    from within_pipelines.monitoring import standardised
    from within_pipelines.pipeline.monitored_rows import KEYS

    names, columns = [], []
    for name, kind in old.schema.items():
        if name in KEYS or name not in new.columns or kind.is_numeric() != new.schema[name].is_numeric():
            continue
        if kind.is_numeric():
            pair = [frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for frame in (old, new)]
        else:
            counts = old[name].drop_nulls().cast(pl.String).value_counts().sort(["count", name], descending=[True, False])
            ranks = {value: float(rank) for rank, value in enumerate(counts[name].to_list())}
            pair = [np.array([ranks.get(v, float(len(ranks))) for v in frame[name].cast(pl.String).to_list()]) for frame in (old, new)]
        known = [values[np.isfinite(values)] for values in pair]
        both = np.concatenate(known)
        if len(known[0]) and len(both) and np.ptp(both) > 0:
            names.append(name)
            columns.append(pair)
    if not names:
        return [], np.empty((old.height, 0)), np.empty((new.height, 0))
    x, y = standardised(np.column_stack([c[0] for c in columns]), np.column_stack([c[1] for c in columns]))
    return names, x, y


def calm_separation(rows: pl.DataFrame, *, days: int, rng: np.random.Generator) -> float | None:
    """The best AUC with which a window of `days` of the training period is told from the rest of it: weeks differ, and a champion that was
    trained on such weeks has seen it. None where the period is too short or has too few accounts to ask."""
    import polars as pl

    from within_pipelines.monitoring import classifier_two_sample

    found = []
    last: date | None = rows["day"].max() if rows.height else None  # type: ignore[assignment]
    for back in range(CALM_WINDOWS if last is not None else 0):
        end = last - timedelta(days=back * days)  # type: ignore[operator]
        inside = pl.col("day").is_between(end - timedelta(days=days), end, closed="right")
        old, new = rows.filter(~inside), rows.filter(inside)
        _, x, y = joint_rows(old, new)
        try:
            told = classifier_two_sample(
                x, y, rng=rng, reference_clusters=old["cluster"].to_numpy(), current_clusters=new["cluster"].to_numpy(), boosted=True,
                n_permutations=99, most_rows=JOINT_ROWS,
            )  # fmt: skip
        except SampleError:
            continue
        found.append(told.statistic)
    return max(found, default=None)


def multivariate_drift(case: MonitorCase, level: float) -> MonitorFinding:
    """Whether boosted trees tell the window from the training rows, on rows of accounts that they have not seen; and by which features."""
    from within_pipelines.monitoring import classifier_two_sample
    from within_pipelines.monitoring.multivariate import SEPARATION

    old, new = case.reference.data.rows, case.window.rows
    calm = case.reference.calm_separation
    least = SEPARATION if calm is None else max(SEPARATION, calm + MARGIN)
    if least >= 1:
        why = f"Weeks of the training period are told apart with an AUC of {calm:.2f} already, so no move could stand out."
        return case.silent("multivariate_drift", why)
    names, x, y = joint_rows(old, new)
    if not names:
        return case.silent("multivariate_drift", "The windows have no feature in common that changes at all.")
    try:
        found = classifier_two_sample(
            x, y, rng=case.rng, names=names, reference_clusters=old["cluster"].to_numpy(), current_clusters=new["cluster"].to_numpy(),
            boosted=True, alpha=level, minimum_effect=least, n_permutations=permutations_for(level), most_rows=JOINT_ROWS,
        )  # fmt: skip
    except SampleError as error:
        return case.silent("multivariate_drift", str(error))
    if found.n_clusters is not None and 0.5 ** (found.n_clusters // 2) > level and not found.reason:
        needed = 2 * math.ceil(-math.log2(level))
        found = replace(
            found, reason=f"{found.n_clusters} accounts, halved, cannot tell drift from chance within the budget; {needed} can."
        )
    shares = [{"feature": name, "share": share} for name, share in found.attribution[:20] if share > 0]
    reason = found.reason or (
        f"A classifier tells the window from the training rows with an AUC of {found.statistic:.3f}; {least:.2f} is a move"
        + ("." if calm is None else f", weeks of the training period reach {calm:.2f}.")
    )
    return MonitorFinding(
        "multivariate_drift", case.model, case.day, found.state, found.statistic, found.p_value, 2 * found.statistic - 1, 2 * least - 1,
        {"reference": found.n_reference, "current": found.n_current, "accounts": found.n_clusters or 0, "features": len(names)},
        _named(found.attribution) if found.drifted else (), reason=reason,
        evidence={
            "method": "classifier two-sample test (boosted trees, accounts held out)", "attribution": shares, "calm_auc": calm,
            "rows_reference": found.rows_reference, "rows_current": found.rows_current, "null": found.null,
        },
    )  # fmt: skip


def _named(attribution: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    names: list[str] = []
    carried = 0.0
    for name, share in attribution[:_MOST_NAMED]:
        if share < _LEAST_SHARE or carried >= _EXPLAINED:
            break
        names.append(name)
        carried += share
    return tuple(names)


def text_drift(case: MonitorCase, level: float) -> MonitorFinding:
    """Whether the embeddings of the window's ad texts are distributed as those of the training ads (MMD, random signs of accounts)."""
    from within_pipelines.monitoring import maximum_mean_discrepancy, moved_words

    old, new = case.reference.data.texts, case.window.texts
    if case.model != "ad_score":
        return case.silent("text_drift", f"{case.model} reads no texts.")
    if not old.height:
        return case.silent("text_drift", f"No texts were kept when {case.model} v{case.version.version} was trained; train it again.")
    if not new.height:
        return case.silent("text_drift", "No ad of the window has a text.")
    bases = [frame["basis"][0] for frame in (old, new)]
    if bases[0] != bases[1]:
        return case.silent(
            "text_drift", f"The texts of training were read by {bases[0]}, those of the window by {bases[1]}; train it again."
        )
    vectors = [np.array(frame["vector"].to_list(), dtype=np.float64) for frame in (old, new)]
    try:
        found = maximum_mean_discrepancy(
            vectors[0], vectors[1], rng=case.rng, reference_clusters=old["cluster"].to_numpy(), current_clusters=new["cluster"].to_numpy(),
            alpha=level, n_permutations=permutations_for(level),
        )  # fmt: skip
    except SampleError as error:
        return case.silent("text_drift", str(error))
    words = moved_words(old["text"].to_list(), new["text"].to_list())
    told = ", ".join(f"{w.word} {w.before:.0%} to {w.now:.0%}" for w in words[:3])
    unseen = found.detectable is not None and found.detectable > found.threshold
    reason = found.reason or (
        f"Texts differ by an MMD of {found.statistic:.4f}"
        + (f", and chance hides differences up to {found.detectable:.4f}" if unseen else "")
        + f". Words whose share of ads changed most: {told or 'none'}."
    )
    return MonitorFinding(
        "text_drift", case.model, case.day, found.state, found.statistic, found.p_value, max(0.0, found.statistic), found.threshold,
        {"reference": found.n_reference, "current": found.n_current, "accounts": found.n_clusters or 0},
        tuple(f"word:{w.word}" for w in words[:5]) if found.drifted else (), reason=reason,
        evidence={
            "method": "maximum mean discrepancy", "read_by": bases[0], "null": found.null, "detectable": found.detectable,
            "words": [{"word": w.word, "before": w.before, "now": w.now} for w in words],
        },
    )  # fmt: skip
