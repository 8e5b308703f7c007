"""A canary without live traffic: both versions answer the lake's days after their training, as the daily job would have asked them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from within_pipelines.exceptions import SampleError
from within_pipelines.pipeline.drift_reference import read_reference
from within_pipelines.pipeline.monitored_rows import seen_on
from within_pipelines.pipeline.training import load_version
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.validation import CanarySpec, logged

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.database import CanaryRecord
    from within_pipelines.registry import ModelVersion

# Models whose answers meet a later truth in the lake: drops of accounts, which of two rival ads was clicked more.
_WITH_TRUTH = frozenset({"account_health", "ad_score"})


def told_by_replay(model: str) -> tuple[str, ...]:
    """The metrics that replayed days hold: `score`, 1 - (prediction - truth)^2, where the lake later tells the truth."""
    return ("score",) if model in _WITH_TRUTH else ()


def replayed_outcomes(ws: Workspace, canary: CanaryRecord, *, on: date | None = None) -> pl.DataFrame:
    """What the units of a canary showed on the lake's days, as `record_canary_outcomes` takes it; empty while no such day has a truth.

    Both versions answer every account for the days up to `on` (default: the newest day with facts); the arm that the account is in at the
    canary's present share decides whose answer counts. Days that either version was trained or judged on are left out, because the gates
    have used them. Replay finds worse answers, not worse consequences."""
    import polars as pl

    spec, pin = canary.spec, ws.pin()
    last = ws.lake.last_event_date(pin.commit_seq)
    versions = {"canary": ws.registry.get(spec.model, spec.version), "control": ws.registry.get(spec.model, spec.control_version)}
    if last is None or canary.share <= 0 or not told_by_replay(spec.model):
        return pl.DataFrame()
    day = last if on is None else min(last, on)
    after = max(_judged_until(ws, version) for version in versions.values())
    answers = {}
    for arm, version in versions.items():
        # The same seed for both, so that both are asked about the same pairs of ads.
        rng = np.random.default_rng([ws.settings.seed, 51, day.toordinal()])
        try:
            judged = seen_on(ws, pin, spec.model, load_version(ws, version), day, judged_after=after, rng=rng).judged
        except SampleError:
            return pl.DataFrame()
        if judged.is_empty():
            return pl.DataFrame()
        answers[arm] = judged.select(unit="cluster", day="day", loss="realised")
    return outcomes_of_answers(spec, answers["canary"], answers["control"], share=canary.share, known_on=day)


def outcomes_of_answers(spec: CanarySpec, canary: pl.DataFrame, control: pl.DataFrame, *, share: float, known_on: date) -> pl.DataFrame:
    """One row per unit and day of the arm that the unit is in, from both versions' `unit`, `day`, `loss` (null while it is unknown).

    A unit's day counts when both versions answered it; its `score` is 1 less the mean loss of the answers whose truth is known."""
    import polars as pl

    def scores(answers: pl.DataFrame, arm: str) -> pl.DataFrame:
        known = answers.drop_nulls("loss")
        return known.group_by("unit", "day", maintain_order=True).agg((1 - pl.col("loss").mean()).alias(f"{arm}_score"))

    both = scores(canary, "canary").join(scores(control, "control"), on=["unit", "day"]).with_columns(known_on=pl.lit(known_on))
    log = logged(spec, both)
    days = [log(day, share) for day in sorted(both["day"].unique().to_list())]
    return pl.concat(days) if days else pl.DataFrame()


def _judged_until(ws: Workspace, version: ModelVersion) -> date:
    reference = read_reference(ws, version)
    return version.as_of.date() if reference is None else reference.judged_until
