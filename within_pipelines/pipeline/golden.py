"""The golden set of a deployment: which version holds, how it is asked, and how a confirmed incident becomes a case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from within_pipelines.exceptions import ModelNotFoundError, SampleError
from within_pipelines.pipeline.workspace import Workspace
from within_pipelines.stats import Status, Verdict
from within_pipelines.validation import (
    CaseResult,
    GoldenCase,
    GoldenSet,
    Kind,
    Part,
    SliceComparison,
    SliceExpectation,
    SliceJudgement,
    ask_cases,
    changed_set,
    compare_cases,
    judge_slices,
    load_golden_set,
    write_golden_set,
)
from within_pipelines.validation.golden_set import POINTER

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.registry import ModelVersion

# A replayed series shows the model what it would have known: this much history before the incident.
INCIDENT_HISTORY_DAYS = 120


def golden_set_folder(ws: Workspace) -> Path:
    """Where this deployment keeps its own versions of the golden set; until it changes the set, the shipped one in the repository holds.

    Not in `data/golden`, which is under version control: replays hold rows of clients."""
    return ws.settings.home / "golden-set"


def current_golden_set(ws: Workspace) -> GoldenSet:
    """The version that holds now: the deployment's own, else the shipped one."""
    from within_pipelines.pipeline.release import golden_folder

    own = golden_set_folder(ws)
    return load_golden_set(own if (own / POINTER).is_file() else golden_folder())


def golden_set_versions(ws: Workspace) -> list[GoldenSet]:
    """Every version from the first to the current one, by following parents."""
    from within_pipelines.pipeline.release import golden_folder

    found = [current_golden_set(ws)]
    while found[-1].parent:
        name = found[-1].parent
        own = golden_set_folder(ws)
        found.append(load_golden_set(own if (own / f"golden-set-{name}.json").is_file() else golden_folder(), name))
    return found[::-1]


def change_golden_set(
    ws: Workspace,
    *,
    add: Sequence[GoldenCase] = (),
    remove: Sequence[str] = (),
    expect: Sequence[SliceExpectation] = (),
    reason: str,
    who: str,
    now: datetime,
) -> GoldenSet:
    """Write the next version into the deployment's folder, with cases added or removed or other expectations of slices; earlier ones stay.

    Raises `GoldenSetError` without a reason or a change."""
    after = changed_set(current_golden_set(ws), add=add, remove=remove, expect=expect, reason=reason, who=who, now=now)
    write_golden_set(golden_set_folder(ws), after)
    return after


def series_incident(ws: Workspace, *, platform: str, account_id: str, metric: str, day: date, note: str, most: float = 0.05) -> GoldenCase:
    """A confirmed incident of one metric: its series up to that day, and the expectation that the day's p-value is at most `most`.

    Raises `SampleError` when the account has no value of the metric on that day."""
    import polars as pl

    from within_pipelines.pipeline.tables import build_metric_series, feature_table

    pin = ws.pin()
    build_metric_series(ws, pin)
    series = feature_table(ws, pin, "anomaly")
    rows = series.filter(
        (pl.col("platform") == platform)
        & (pl.col("account_id") == account_id)
        & (pl.col("metric") == metric)
        & (pl.col("timestamp").cast(pl.Date) <= day)
        & (pl.col("timestamp").cast(pl.Date) > day - pl.duration(days=INCIDENT_HISTORY_DAYS))
    ).sort("timestamp")
    if rows.is_empty() or rows["timestamp"].cast(pl.Date)[-1] != day or rows["value"][-1] is None:
        raise SampleError(f"{platform}/{account_id} has no {metric} on {day}; name a metric and day that the metric series hold.")
    return GoldenCase(
        f"incident-{platform}-{account_id}-{metric}-{day}", "anomaly", Part.INCIDENT, metric, Kind.INTERVAL, (_plain_days(rows),),
        ((0, -1),), low=0.0, high=most, note=note, group={"platform": platform, "account_id": account_id, "metric": metric},
        until=day.isoformat(),
    )  # fmt: skip


def account_incident(ws: Workspace, *, platform: str, account_id: str, day: date, note: str, least: float = 0.5) -> GoldenCase:
    """An account whose efficiency fell after `day`: its facts up to then, and the expectation of a probability of at least `least`.

    Raises `SampleError` when the lake holds no facts of the account up to that day."""
    import polars as pl

    from within_pipelines.lake import knowledge_time

    pin = ws.pin()
    # As the model would have seen it that evening, before later restatements.
    as_of = min(pin.as_of, knowledge_time(day))
    found = ws.lake.facts(as_of=as_of, commit_seq=pin.commit_seq, accounts=[(platform, account_id)], end=day)
    own = found.filter(pl.col("event_date") > day - pl.duration(days=INCIDENT_HISTORY_DAYS)).sort("event_date")
    if not own.is_empty():
        return GoldenCase(
            f"incident-{platform}-{account_id}-{day}",
            "account_health",
            Part.INCIDENT,
            platform,
            Kind.INTERVAL,
            (own,),
            ((0, 0),),
            low=least,
            high=1.0,
            note=note,
            group={"platform": platform, "account_id": account_id},
        )
    raise SampleError(f"The lake holds no facts of {platform}/{account_id} up to {day}; `within ingest` brings them in.")


def ads_incident(ws: Workspace, *, better: str, worse: str, note: str) -> GoldenCase:
    """Two rival ads that a model ranked the wrong way round: their whole ad group, and the expectation that `better` scores higher.

    Raises `SampleError` unless both ads are in one ad group."""
    import polars as pl

    from within_pipelines.pipeline.tables import build_creative_features, feature_table

    pin = ws.pin()
    build_creative_features(ws, pin)
    ads = feature_table(ws, pin, "ad_score")
    groups = set(ads.filter(pl.col("ad_id") == better)["group_id"]) & set(ads.filter(pl.col("ad_id") == worse)["group_id"])
    if len(groups) != 1:
        raise SampleError(f"The ads {better} and {worse} share {len(groups)} ad groups; name two ads of exactly one.")
    group = groups.pop()
    columns = (
        "platform", "account_id", "campaign_id", "ad_group_id", "ad_id", "group_id", "headline", "description", "call_to_action", "format",
        "audience_segment", "impressions",
    )  # fmt: skip
    rows = ads.filter(pl.col("group_id") == group).select(name for name in columns if name in ads.columns)
    ids = rows["ad_id"].to_list()
    return GoldenCase(
        f"incident-{better}-{worse}", "ad_score", Part.INCIDENT, str(rows["platform"][0]), Kind.ORDER, (rows,),
        ((0, ids.index(better)), (0, ids.index(worse))), note=note, group={"group_id": group},
    )  # fmt: skip


def _plain_days(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(pl.col("timestamp").cast(pl.Date))


def with_cases(
    sample: Verdict, golden_set: GoldenSet, results: Sequence[CaseResult], *, champion: Sequence[CaseResult] | None = None
) -> Verdict:
    """The verdict about the frozen sample, joined with what the cases say: passed only when it and every slice hold.

    The evidence names the version of the set and, per part and slice, how many cases were met with Wilson's interval, what was wanted and
    whether it holds. With the `champion`'s results of the same cases, a slice that loses more of them than it may does not hold."""
    unmet = [result for result in results if not result.met]
    judged = judge_slices(results, golden_set, champion=champion)
    evidence = {
        **sample.evidence,
        "set_version": golden_set.version,
        "sample": sample.status.value,
        "cases": len(results),
        "cases_met": len(results) - len(unmet),
        "unmet": [result.detail for result in unmet[:10]],
        "slices": {each.name: _slice_evidence(each) for each in judged},
    }
    joined = replace(
        sample,
        evidence=evidence,
        sample_sizes={**sample.sample_sizes, "cases": len(results)},
        golden_set_version=f"{sample.golden_set_version}+{golden_set.version}",
    )
    failed = [each for each in judged if each.failures]
    if not failed:
        said = f"{len(results)} cases with an expectation are met"
        if unmet:
            said = f"{len(results) - len(unmet)} of {said}, and no slice misses more than it tolerates"
        return replace(joined, reason=f"{sample.reason} {said}.") if sample.passed else joined
    others = f"; failing too: {', '.join(each.name for each in failed[1:])}" if failed[1:] else ""
    reason = f"{len(unmet)} of {len(results)} cases are not met. {failed[0].name} fails: {'; '.join(failed[0].failures)}{others}."
    if not sample.passed:
        reason = f"{sample.reason} {reason}"
    return replace(joined, status=Status.FAILED, reason=reason)


def _slice_evidence(judged: SliceJudgement) -> dict[str, Any]:
    return {
        "cases": judged.found.cases, "met": judged.found.met, "share": str(judged.found.share),
        "mean": judged.mean if math.isfinite(judged.mean) else None, "wanted": judged.expected.wanted, "status": judged.status.value,
        "lost": [own.case.id for own, _ in judged.lost],
    }  # fmt: skip


def compare_with_champion(ws: Workspace, challenger: ModelVersion) -> tuple[SliceComparison, ...]:
    """Every case of the current golden set asked of both, challenger minus champion, per slice with intervals; the first line is all.

    Raises `ModelNotFoundError` when the model has no champion."""
    champion = ws.registry.alias(challenger.model, "champion")
    if champion is None:
        raise ModelNotFoundError(f"{challenger.model} has no champion to compare with.")
    cases = current_golden_set(ws).of(challenger.model)
    return compared(ws, ask_version(ws, challenger, cases), ask_version(ws, champion, cases))


def ask_version(ws: Workspace, version: ModelVersion, cases: Sequence[GoldenCase]) -> tuple[CaseResult, ...]:
    """A version of a model, loaded and asked the cases."""
    from within_pipelines.pipeline.release import golden_answers
    from within_pipelines.pipeline.training import load_version

    return ask_cases(golden_answers(version.model, load_version(ws, version)), cases)


def compared(ws: Workspace, challenger: Sequence[CaseResult], champion: Sequence[CaseResult]) -> tuple[SliceComparison, ...]:
    """The challenger's results less the champion's, per slice with intervals that are the same each time."""
    import numpy as np

    return compare_cases(challenger, champion, rng=np.random.default_rng([ws.settings.seed, 50]))


def compare_newest(ws: Workspace, model: str) -> pl.DataFrame:
    """`compare_with_champion` of the newest version as a table; empty when the newest version is the champion or there is none."""
    import polars as pl

    schema: dict[str, type[pl.DataType]] = {
        "slice": pl.String, "cases": pl.Int64, "gain": pl.String, "mcnemar_p": pl.Float64, "lost": pl.String,
    }  # fmt: skip
    versions, champion = ws.registry.versions(model), ws.registry.alias(model, "champion")
    if champion is None or not versions or versions[-1].version == champion.version:
        return pl.DataFrame(schema=schema)
    found = compare_with_champion(ws, versions[-1])
    rows = [(c.slice, c.cases, str(c.gain), c.mcnemar.p_value, ", ".join(c.lost)) for c in found]
    return pl.DataFrame(rows, schema=schema, orient="row")


def golden_slices(verdict: Verdict) -> pl.DataFrame:
    """Part, slice, share of cases met with its interval, mean answer, what was wanted and whether it holds, from a golden verdict."""
    import polars as pl

    rows = [
        (*name.split(": ", 1), found["share"], found["mean"], found["wanted"], found["status"])
        for name, found in verdict.evidence["slices"].items()
    ]
    schema: dict[str, type[pl.DataType]] = {
        "part": pl.String, "slice": pl.String, "cases met": pl.String, "mean answer": pl.Float64, "wanted": pl.String, "outcome": pl.String,
    }  # fmt: skip
    sample = ("representative", "frozen sample", None, None, "answers as recorded", verdict.evidence["sample"])
    return pl.DataFrame([sample, *rows], schema=schema, orient="row")
