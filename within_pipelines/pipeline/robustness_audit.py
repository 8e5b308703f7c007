"""Does a version keep its answers when feeds and texts are a little wrong? Reports with the verdicts that promotion requires.

Tolerances are those of a person who acts on the number, not of the model: 5 points of an ad's score (a twentieth of the scale; neighbours
in a list of ads lie further apart), 10 points of an account's health (half of a tier), one new alarm per account."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from within_pipelines.files import write_text
from within_pipelines.pipeline.ad_score_worst_case import attacked_inputs, certified_accuracy, worst_edits
from within_pipelines.pipeline.audit_time import time_text
from within_pipelines.pipeline.tables import ACCOUNT_ENTITY, code_version, fingerprint_of, maturity
from within_pipelines.pipeline.training import KINDS, held_back_rows, load_version, trained_version
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.lake import MaturityCurve
    from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, AnomalyDetector
    from within_pipelines.registry import ModelVersion
    from within_pipelines.robustness import RobustnessReport, StabilityReport
    from within_pipelines.stats import Verdict

# Points of the 0-100 score that a change without meaning may move it by.
SCORE_TOLERANCE = 5.0
# Points of the 0-100 health score that an unnoticed fault of the feed may move it by: half of a tier.
HEALTH_TOLERANCE = 10.0
# Share of ads, or of accounts, that may move by more than that.
MOVED_SHARE = 0.1
# Fewer groups of ads or account-days are insufficient evidence.
MINIMUM_UNITS = 12
# An alarm within so many days of the fault is put down to it.
_ALARM_DAYS = 3
# Accounts, ads and days that are asked about: enough for the interval, and the report stays within seconds.
_MOST_ACCOUNTS = 40
_MOST_ADS = 500
# Account-days to ask about: few accounts are asked on more days.
_WANTED_UNITS, _MOST_DAYS = 48, 4
_SERIES_DAYS = 140
_AD_COLUMNS = ("headline", "description", "call_to_action", "format", "platform", "audience_segment")

Progress = Callable[[str], None]


@cache
def _audit_code() -> str:
    """A hash of the source of the rooms that judge, beside those that `code_version` covers."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(Path(__file__).read_bytes() + Path(__file__).with_name("ad_score_worst_case.py").read_bytes())
    for room in ("robustness", "quality"):
        for source in sorted((root / room).glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def robustness_report(ws: Workspace, pin: Pin, version: ModelVersion, *, progress: Progress | None = None) -> RobustnessReport:
    """What faults do to the answers of `version` on data that it was not fitted on; kept as JSON by model hash, data, code and seed."""
    from within_pipelines.robustness import RobustnessReport

    key = fingerprint_of(data=pin.data_version, as_of=pin.as_of, code=code_version(), audit=_audit_code(), seed=ws.settings.seed)[:16]
    path = ws.reports / f"robustness-{version.model}-{version.model_sha256[:16]}-{key}.json"
    if path.is_file():
        return RobustnessReport.from_dict(json.loads(path.read_text()))
    audits: dict[str, Callable[[Workspace, Pin, ModelVersion, Progress | None], RobustnessReport]] = {
        "ad_score": _ad_scores,
        "account_health": _account_health,
        "anomaly": _alarms,
    }
    started = time.process_time()
    report = audits[version.model](ws, pin, version, progress)
    report = replace(report, cpu_seconds=round(time.process_time() - started, 2))
    if progress is not None:
        progress(time_text(report.cpu_seconds))
    write_text(path, json.dumps(report.to_dict(), sort_keys=True, indent=1))
    return report


def audit_robustness(
    ws: Workspace, pin: Pin, model: str = "ad_score", *, progress: Progress | None = None
) -> tuple[RobustnessReport, Verdict]:
    """The report of the newest challenger of `model`, and its verdict, recorded for exactly that artifact."""
    from within_pipelines.registry import POLICY_VERSION

    version = trained_version(ws, pin, model, KINDS[model][0])
    report = robustness_report(ws, pin, version, progress=progress)
    verdict = report.verdict().bind(model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION)
    recorded = [v for v in ws.registry.verdicts(version.model_sha256, version.data_version) if v.gate == "robustness"]
    if not recorded or (recorded[-1].status, recorded[-1].policy_version) != (verdict.status, verdict.policy_version):
        ws.registry.record_verdicts([verdict])
    return report, verdict


def _ad_scores(ws: Workspace, pin: Pin, version: ModelVersion, progress: Progress | None) -> RobustnessReport:
    """Typos, case, punctuation, look-alikes, invisible characters, missing fields, order and repetition of ads that it has not seen.

    Scores compare an ad with past ads: beside its siblings, a change that moves all of them alike would be hidden."""
    from within_pipelines.robustness import (
        RobustnessReport,
        duplicated_rows,
        missing_column,
        missing_values,
        shuffled_columns,
        shuffled_rows,
        stability_report,
        text_perturbations,
    )

    predictor = cast("AdScorePredictor", load_version(ws, version))
    rows = held_back_rows(ws, pin, "ad_score")
    rng = np.random.default_rng([ws.settings.seed, 31])
    if rows.height > _MOST_ADS:
        rows = rows[np.sort(rng.permutation(rows.height)[:_MOST_ADS])]
    # Only what an advertiser types: stored features would hide a change of the text.
    texts = rows.select(*[name for name in _AD_COLUMNS if name in rows.columns], cluster="group_id")
    absent = [missing_column(name) for name in ("description", "audience_segment") if name in texts.columns]
    partly = [missing_values(name) for name in ("description",) if name in texts.columns and texts[name].null_count() < texts.height]
    # Those whose answers may not move come first, while the encoder still remembers the texts as they are: computed again, beside others,
    # they would be a millionth off, and the verdict would hang on what the process did before.
    perturbations = [shuffled_rows(), shuffled_columns(), duplicated_rows(), *text_perturbations(("headline",)), *absent, *partly]
    if progress is not None:
        progress(f"{len(perturbations)} changes of {texts.height} ads")
    report = stability_report(
        predictor.scores,
        texts,
        perturbations,
        rng=rng,
        tolerance=SCORE_TOLERANCE,
        clusters="cluster",
        at_stake=_spent(rows),
        n_resamples=300,
    )
    notes = {"ads": texts.height, "kind": version.kind}
    found = RobustnessReport.of_stability("ad_score", report, limit=MOVED_SHARE, minimum_units=MINIMUM_UNITS, notes=notes)
    if found.fault:
        return found
    past = past_under_faults(predictor, rows, rng=np.random.default_rng([ws.settings.seed, 39]))
    if past is not None:
        by_past = RobustnessReport.of_stability("ad_score", past, limit=MOVED_SHARE, minimum_units=MINIMUM_UNITS, notes=notes)
        found = replace(found, results=(*found.results, *by_past.results), fault=by_past.fault)
        if found.fault:
            return found
    if progress is not None:
        progress("looking for the worst edits, and for what no small change can do")
    worst = worst_edits(
        predictor, texts, tolerance=SCORE_TOLERANCE, at_stake=_spent(rows), rng=np.random.default_rng([ws.settings.seed, 36])
    )
    certified = certified_accuracy(predictor, rows, rng=np.random.default_rng([ws.settings.seed, 37]))
    attacked = attacked_inputs(predictor, rows, rng=np.random.default_rng([ws.settings.seed, 38]))
    return replace(found, results=(*found.results, worst, attacked), certified=certified)


def past_under_faults(predictor: AdScorePredictor, rows: pl.DataFrame, *, rng: np.random.Generator) -> StabilityReport | None:
    """Noise, wrong units, gaps and age of what is known of the past of each ad's group and account; None where `rows` know no past."""
    from within_pipelines.features.creative import SIBLING_COLUMNS
    from within_pipelines.robustness import history_faults, stability_report

    if not {*SIBLING_COLUMNS, "first_day"} <= set(rows.columns):
        return None
    known = [name for name in _AD_COLUMNS if name in rows.columns]
    asked = rows.select(*known, *SIBLING_COLUMNS, "first_day", cluster="group_id")
    faults = history_faults(SIBLING_COLUMNS, order="first_day", within="cluster")
    return stability_report(
        predictor.scores, asked, faults, rng=rng, tolerance=SCORE_TOLERANCE, clusters="cluster", at_stake=_spent(rows), n_resamples=300
    )


def _spent(rows: pl.DataFrame) -> pl.DataFrame | None:
    """What each ad has cost so far: the money that a score which is off speaks of."""
    import polars as pl

    if not {"spend", "currency"} <= set(rows.columns):
        return None
    return rows.select(amount=pl.col("spend").cast(pl.Float64), currency=pl.col("currency").cast(pl.String))


def _facts(ws: Workspace, pin: Pin, *, seed: int) -> pl.DataFrame:
    """The latest knowledge of a sample of accounts."""
    accounts = ws.lake.accounts(pin.commit_seq)
    if len(accounts) > _MOST_ACCOUNTS:
        rng = np.random.default_rng([ws.settings.seed, seed])
        accounts = [accounts[i] for i in sorted(rng.permutation(len(accounts))[:_MOST_ACCOUNTS])]
    return ws.lake.facts(commit_seq=pin.commit_seq, as_of=pin.as_of, accounts=accounts)


def _days_for(facts: pl.DataFrame) -> int:
    accounts = facts.select(ACCOUNT_ENTITY).n_unique()
    return int(np.clip(-(-_WANTED_UNITS // max(accounts, 1)), 2, _MOST_DAYS))


def _door(facts: pl.DataFrame, day: date) -> pl.DataFrame:
    from within_pipelines.quality import faulty_feeds

    return faulty_feeds(facts, day=day)


class HealthUnderFaults:
    """Health scores of whole accounts, moved when they change by more than the tolerance or are lost."""

    def __init__(self, predictor: AccountHealthPredictor, curve: MaturityCurve) -> None:
        self._predictor, self._curve = predictor, curve

    def observe(self, facts: pl.DataFrame, day: date) -> pl.DataFrame:
        """Score, state, money at risk per account."""
        import polars as pl

        from within_pipelines.features import account_features

        if facts.is_empty():
            return pl.DataFrame(schema={"platform": pl.String, "account_id": pl.String, "score": pl.Float64, "money_at_risk": pl.Float64})
        rows = account_features(facts, origins=[day], entity=ACCOUNT_ENTITY, maturity=self._curve).with_columns(campaign_id=pl.lit(""))
        if rows.is_empty():
            return pl.DataFrame(schema={"platform": pl.String, "account_id": pl.String, "score": pl.Float64, "money_at_risk": pl.Float64})
        return pl.concat(list(self._predictor.score_batches(rows))).sort(*ACCOUNT_ENTITY)

    def compare(self, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
        """See `robustness.Judge`."""
        import polars as pl

        scored = before.filter(pl.col("score").is_not_null())
        both = scored.join(
            after.select(*ACCOUNT_ENTITY, score_after="score", risk_after="money_at_risk"), on=list(ACCOUNT_ENTITY), how="left"
        )
        change = pl.col("score_after") - pl.col("score")
        return both.select(
            *ACCOUNT_ENTITY,
            moved=(change.abs() > HEALTH_TOLERANCE).fill_null(True),
            change=change.fill_null(100.0),
            noticed=pl.lit(False),
            # Money that can no longer be told counts whole.
            money=(pl.col("risk_after").fill_null(0.0) - pl.col("money_at_risk").fill_null(0.0)).abs(),
            currency="currency",
            before="score",
            after="score_after",
        )


class AlarmsUnderFaults:
    """Alarms of whole accounts, moved when a metric alarms that did not without the fault."""

    def __init__(self, detector: AnomalyDetector, curve: MaturityCurve, since: date) -> None:
        self._detector, self._curve, self._since = detector, curve, since

    def observe(self, facts: pl.DataFrame, day: date) -> tuple[list[tuple[str, str]], pl.DataFrame, set[tuple[str, str]]]:
        """(accounts, alarms within three days of `day`, accounts whose feed the detector reports)."""
        import polars as pl

        from within_pipelines.features import metric_series

        schema = {"platform": pl.String, "account_id": pl.String, "metric": pl.String, "impact": pl.Float64, "currency": pl.String}
        series = metric_series(facts.filter(pl.col("event_date") >= self._since), maturity=self._curve)
        if series.is_empty():
            return [], pl.DataFrame(schema=schema), set()
        judged = self._detector.judge(series)
        new = [f for f in judged.findings if (day - f["timestamp"]).days < _ALARM_DAYS]
        alarms = pl.DataFrame([{name: f.get(name) for name in schema} for f in new], schema=schema)
        accounts = [(platform, account) for platform, account in series.select(*ACCOUNT_ENTITY).unique().sort(*ACCOUNT_ENTITY).iter_rows()]
        return accounts, alarms, {(f["platform"], f["account_id"]) for f in judged.feeds}

    def compare(self, before: Any, after: Any) -> pl.DataFrame:
        """See `robustness.Judge`."""
        import polars as pl

        accounts, alarms, told = before
        _, later, told_later = after
        new = later.join(alarms, on=[*ACCOUNT_ENTITY, "metric"], how="anti")
        per = new.group_by(*ACCOUNT_ENTITY).agg(
            change=pl.len().cast(pl.Float64),
            money=pl.col("impact").filter(pl.col("currency").is_not_null()).max(),
            currency=pl.col("currency").drop_nulls().first(),
        )
        noticed = [account in told_later and account not in told for account in accounts]
        frame = pl.DataFrame(accounts, schema={"platform": pl.String, "account_id": pl.String}, orient="row")
        frame = frame.with_columns(noticed=pl.Series(noticed, dtype=pl.Boolean))
        joined = frame.join(per, on=list(ACCOUNT_ENTITY), how="left", maintain_order="left").with_columns(pl.col("change").fill_null(0.0))
        return joined.select(
            *ACCOUNT_ENTITY, moved=pl.col("change") > 0, change="change", noticed="noticed", money="money", currency="currency"
        )


def _account_health(ws: Workspace, pin: Pin, version: ModelVersion, progress: Progress | None) -> RobustnessReport:
    from within_pipelines.robustness import fact_faults, feed_audit, weeks_apart

    facts = _facts(ws, pin, seed=32)
    first, last = cast("date", facts["event_date"].min()), cast("date", facts["event_date"].max())
    judge = HealthUnderFaults(cast("AccountHealthPredictor", load_version(ws, version)), maturity(ws, pin))
    days = weeks_apart(last, first, most=_days_for(facts))
    rng = np.random.default_rng([ws.settings.seed, 33])
    return feed_audit(
        "account_health", facts, days, judge, fact_faults(), _door,
        rng=rng, tolerance=HEALTH_TOLERANCE, limit=MOVED_SHARE, minimum_units=MINIMUM_UNITS, progress=progress,
    )  # fmt: skip


def _alarms(ws: Workspace, pin: Pin, version: ModelVersion, progress: Progress | None) -> RobustnessReport:
    import polars as pl

    from within_pipelines.robustness import fact_faults, feed_audit, weeks_apart

    facts = _facts(ws, pin, seed=34)
    held_back = held_back_rows(ws, pin, "anomaly")
    since, last = cast("date", held_back["timestamp"].min()), cast("date", facts["event_date"].max())
    facts = facts.filter((pl.lit(last) - pl.col("event_date")).dt.total_days() < _SERIES_DAYS)
    judge = AlarmsUnderFaults(cast("AnomalyDetector", load_version(ws, version)), maturity(ws, pin), since)
    days = weeks_apart(last, since, most=_days_for(facts), step=14, history=14)
    rng = np.random.default_rng([ws.settings.seed, 35])
    return feed_audit(
        "anomaly", facts, days, judge, fact_faults(), _door,
        rng=rng, tolerance=0.0, limit=MOVED_SHARE, minimum_units=MINIMUM_UNITS, progress=progress,
    )  # fmt: skip
