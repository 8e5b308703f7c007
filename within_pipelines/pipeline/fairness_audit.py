"""Is a version fair? The audit of each of the three models on rows that it has not seen, and the gate `fairness` that it makes.

What is compared, and why that and not the raw score, stands in `docs/fairness.md`:

- `ad_score` ranks siblings, which share an audience. Its required measure is *shown difference*: of the real difference between two
  siblings (log-odds, sampling noise taken out), the share that their scores show. Equal outcomes, equal scores: separation, the equal
  opportunity of a ranking. Groups are the gender and age that the audience segment declares. The raw score is no criterion: siblings'
  scores average 50 in every segment, and where they do not (an ad asked for alone) platforms' past treatment of the segment shows.
- `account_health`: predicted less realised risk over small and large accounts (calibration within groups); nobody should be warned more
  for being small.
- `anomaly`: how often values of an account reach a tail that 5 % should reach, over small and large accounts; alarms over the budget."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import ArtifactError, SampleError
from within_pipelines.pipeline.fairness_details import fairness_details
from within_pipelines.pipeline.fairness_groups import account_of, tiers_of
from within_pipelines.pipeline.tables import code_version, fingerprint_of, training_set
from within_pipelines.pipeline.training import KINDS, held_back_rows, load_version, trained_version
from within_pipelines.pipeline.workspace import Pin, Workspace
from within_pipelines.stats import Estimate, Status, Verdict

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.fairness import FairnessAudit, FlipEffect, Measure
    from within_pipelines.registry import ModelVersion

Labels = NDArray[np.str_]
# Of the real difference between siblings scores may show this much more in one group than in another (the whole is 1, a coin 0).
SHOWN_DIFFERENCE_GAP = 0.25
# Share of sibling pairs ranked rightly that groups may differ by.
ACCURACY_GAP = 0.2
# Points of the 0-100 score of an ad asked for alone; watched.
ALONE_GAP = 10.0
# Predicted less realised risk that small and large accounts may differ by, in probability.
RISK_GAP = 0.2
# Rate of tail values, and of alarms over the budget, that they may differ by; 1 is the nominal rate.
TAIL_GAP = 1.0
TAIL = 0.05
# A win probability may move by so much, on average, when the declared gender or age is flipped.
FLIP_LIMIT = 0.05
# Beside a champion, a version whose evidence does not suffice may have a gap wider than the champion's by this share of the threshold.
CHANGE_SHARE = 0.5
MINIMUM_UNITS = 5
DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True, slots=True)
class Compared:
    """Measures over rows, the groups of each attribute, and what is independent."""

    measures: tuple[Measure, ...]
    attributes: Mapping[str, Labels]
    roles: Mapping[str, Any]
    clusters: Labels
    carriers: Labels


@dataclass(frozen=True, slots=True)
class FairnessReport:
    """What was found for one version; kept as JSON per artifact, data and code, and read back. `details` are tables that are told and not
    judged (`fairness_details`), of challengers only."""

    model: str
    version: int
    kind: str
    verdict: Verdict
    gaps: pl.DataFrame
    groups: pl.DataFrame
    flip: Mapping[str, Estimate]
    bias: pl.DataFrame
    notes: tuple[str, ...]
    cpu_seconds: float
    cached: bool = False
    details: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        verdict = self.verdict
        return {
            "model": self.model, "version": self.version, "kind": self.kind, "cpu_seconds": self.cpu_seconds, "notes": list(self.notes),
            "gaps": self.gaps.to_dicts(), "groups": self.groups.to_dicts(), "bias": self.bias.to_dicts(),
            "details": {name: table.to_dicts() for name, table in self.details.items()},
            "flip": {k: v.to_dict() for k, v in self.flip.items()},
            "verdict": {
                "status": verdict.status.value, "estimate": None if verdict.estimate is None else verdict.estimate.to_dict(),
                "threshold": verdict.threshold, "sample_sizes": dict(verdict.sample_sizes), "reason": verdict.reason,
                "evidence": dict(verdict.evidence),
            },
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The report that `to_dict` wrote, marked as cached."""
        import polars as pl

        v = values["verdict"]
        estimate = None if v["estimate"] is None else Estimate(**v["estimate"])
        verdict = Verdict("fairness", Status(v["status"]), estimate, v["threshold"], v["sample_sizes"], v["reason"], evidence=v["evidence"])
        tables = {name: pl.DataFrame(values[name], infer_schema_length=None) for name in ("gaps", "groups", "bias")}
        flip = {name: Estimate(**numbers) for name, numbers in values["flip"].items()}
        return cls(
            values["model"], values["version"], values["kind"], verdict, tables["gaps"], tables["groups"], flip, tables["bias"],
            tuple(values["notes"]), values["cpu_seconds"], cached=True,
            details={name: pl.DataFrame(table, infer_schema_length=None) for name, table in values["details"].items()},
        )  # fmt: skip


def _market(rows: pl.DataFrame, account: Labels) -> Labels:
    from within_pipelines.fairness import pooled

    return pooled(rows["currency"].fill_null("unknown").to_numpy().astype(str), account, minimum_units=MINIMUM_UNITS).astype(str)


def compare_ad_score(predictor: Any, test: pl.DataFrame, *, seed: int) -> tuple[list[Compared], FlipEffect]:
    """Pairs of siblings by declared gender and age (by account size where no segment declares either), ads asked for alone, and the flip.

    Raises `SampleError` when the test ads hold no pair of siblings that differ."""
    import polars as pl

    from within_pipelines.fairness import ATTRIBUTES, Measure, Role, declared, flip_effect, flipped, intersection, mean_measure
    from within_pipelines.features import CREATIVE_FEATURES
    from within_pipelines.prediction.ad_score.evaluation import Answers, Pairs

    # The same pairs, one way round, for every version: what is compared must not depend on chance.
    pairs = Pairs.of(test, rng=np.random.default_rng([seed, 40]))
    answers, first, second = Answers.of(predictor, test), pairs.first, pairs.second
    shown: NDArray[np.float64] = answers.contrasts[first] - answers.contrasts[second]
    real: NDArray[np.float64] = pairs.seen.log_odds[first] - pairs.seen.log_odds[second]
    noise: NDArray[np.float64] = pairs.seen.variance[first] + pairs.seen.variance[second]
    chance, right = pairs.chance(answers), pairs.right(answers.contrasts)
    account = account_of(test)
    segments = test["audience_segment"].to_list() if "audience_segment" in test.columns else [None] * test.height
    group = {name: np.array([declared(s, name) for s in segments], dtype=str) for name in ATTRIBUTES}
    joint = np.where((group["gender"] != "") & (group["age"] != ""), intersection(group["gender"], group["age"]), "")
    size = tiers_of(account, test["impressions"].cast(pl.Float64).to_numpy())
    groups = {**group, "account size": size, "platform": test["platform"].to_numpy().astype(str), "gender x age": joint}
    known = [name for name in ATTRIBUTES if len(set(group[name][first]) - {""}) > 1] or ["account size"]
    roles = {name: Role.REQUIRED if name in known else Role.WATCHED for name in groups}
    beside = Compared(
        (
            Measure("shown_difference", shown * real, real**2 - noise, SHOWN_DIFFERENCE_GAP),
            mean_measure("pairwise_accuracy", right, threshold=ACCURACY_GAP, role=Role.REFUTABLE),
            mean_measure("overconfidence", np.maximum(chance, 1 - chance) - right, threshold=ACCURACY_GAP, role=Role.WATCHED),
        ),
        {name: labels[first] for name, labels in groups.items()},
        roles,
        account[first],
        test["group_id"].cast(pl.String).to_numpy().astype(str)[first],
    )
    alone = Compared(
        (mean_measure("score_alone", predictor.predict(test.drop("group_id")).to_frame()["score"].to_numpy(), threshold=ALONE_GAP,
                      role=Role.WATCHED),),
        groups,
        roles,
        account,
        test["group_id"].cast(pl.String).to_numpy().astype(str),
    )  # fmt: skip

    # Stored features would hide the change of the segment.
    plain = test.drop([c for c in CREATIVE_FEATURES.columns if c in test.columns])

    def swapped(name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
        return lambda rows: rows.with_columns(pl.Series("audience_segment", [flipped(s, name) for s in segments], dtype=pl.String))

    flip = flip_effect(
        lambda rows: pairs.chance(Answers.of(predictor, rows)),
        plain,
        {name: swapped(name) for name in ATTRIBUTES if np.any(group[name] != "")},
        clusters=account[first],
        concerned={name: group[name][first] != "" for name in ATTRIBUTES},
        limit=FLIP_LIMIT,
        rng=np.random.default_rng([seed, 41]),
    )
    return [beside, alone], flip


def compare_account_health(predictor: Any, test: pl.DataFrame, *, seed: int) -> tuple[list[Compared], FlipEffect]:
    """Predicted less realised risk, and true and false positives among the riskiest fifth, by size, platform and market."""
    import polars as pl

    from within_pipelines.fairness import FlipEffect, Role, classification_measures, mean_measure

    rows = test.filter((pl.col("clicks_28").fill_null(0) >= predictor.minimum_clicks) & pl.col("degraded").is_not_null())
    if rows.height < 20:
        raise SampleError(f"{rows.height} test rows are too few to compare groups of accounts.")
    risk, account = predictor.probability(rows), account_of(rows)
    dropped = rows["degraded"].cast(pl.Float64).to_numpy()
    warned = (risk >= np.quantile(risk, 0.8)).astype(np.float64)
    watched = [replace(m, role=Role.WATCHED) for m in classification_measures(dropped, warned, thresholds=0.3) if "rate" in m.name]
    groups = {
        "account size": tiers_of(account, rows["clicks_28"].cast(pl.Float64).fill_null(0).to_numpy()),
        "platform": rows["platform"].to_numpy().astype(str),
        "market": _market(rows, account),
    }
    roles = {"account size": Role.REQUIRED, "platform": Role.REFUTABLE, "market": Role.WATCHED}
    measures = (mean_measure("risk_error", risk - dropped, threshold=RISK_GAP), *watched)
    return [Compared(measures, groups, roles, account, account)], FlipEffect({}, FLIP_LIMIT)


def compare_anomaly(predictor: Any, test: pl.DataFrame, *, seed: int) -> tuple[list[Compared], FlipEffect]:
    """Values in a tail that 5 % should reach, and alarms over the budget, by size, platform, market and metric.

    What really happened counts in both, so an account group with more incidents looks worse than it is treated."""
    import polars as pl

    from within_pipelines.fairness import FlipEffect, Measure, Role

    table = test.sort("metric", "platform", "account_id", "timestamp")
    scored = predictor.score_series(table, limits=False).filter(pl.col("state") == "scored")
    if scored.height < 20:
        raise SampleError(f"{scored.height} values of the test days can be judged; too few to compare groups of accounts.")
    account = account_of(scored)
    volume = table.filter(pl.col("metric") == "impressions").group_by("platform", "account_id").agg(pl.col("value").mean())
    of = dict(zip(account_of(volume).tolist(), volume["value"].to_list(), strict=True))
    tail = (scored["p_value"].fill_null(1.0).to_numpy() <= TAIL).astype(np.float64) / TAIL
    alarm = scored["alarm"].cast(pl.Float64).to_numpy() / predictor.expected_false_alarms_per_month
    groups = {
        "account size": tiers_of(account, np.array([of.get(a) or 0.0 for a in account.tolist()])),
        "platform": scored["platform"].to_numpy().astype(str),
        "market": _market(scored, account),
        "metric": scored["metric"].to_numpy().astype(str),
    }
    roles = {"account size": Role.REQUIRED, "platform": Role.REFUTABLE, "market": Role.WATCHED, "metric": Role.WATCHED}
    measures = (
        Measure("tail_rate", tail, np.ones_like(tail), TAIL_GAP),
        Measure("alarms_over_budget", alarm, np.full(len(alarm), 1 / DAYS_PER_MONTH), TAIL_GAP, Role.REFUTABLE),
    )
    return [Compared(measures, groups, roles, account, account)], FlipEffect({}, FLIP_LIMIT)


COMPARISONS: Mapping[str, Callable[..., tuple[list[Compared], FlipEffect]]] = {
    "ad_score": compare_ad_score,
    "account_health": compare_account_health,
    "anomaly": compare_anomaly,
}


def gate_verdict(audit: FairnessAudit, flip: FlipEffect, *, first: bool, changes: Mapping[str, tuple[Estimate, float]]) -> Verdict:
    """The gate `fairness`.

    - Failed when a required or refutable gap is beyond its threshold and beyond chance, or when flipping an attribute moves answers beyond
      the limit. Passed when every required gap is shown to be small and the flip is.
    - Bootstrap rule (`first`: no champion yet): a young deployment cannot show a gap of the threshold's size. Its first champion passes
      when nothing failed and the flip passed, which needs no large sample; the reason says what this sample could have found.
    - Beside a champion, a version whose evidence does not suffice passes when the flip passed and each required gap is not wider than the
      champion's by more than half the threshold: the whole interval of the paired `changes` must lie below."""
    base = audit.verdict(evidence={"flip": flip.reason, "rule": "absolute"})
    if flip.status is Status.FAILED:
        worst = max(flip.effects.values(), key=lambda effect: effect.value)
        return replace(base, status=Status.FAILED, estimate=worst, threshold=flip.limit, reason=f"{flip.reason} {base.reason}")
    if flip.status is Status.INSUFFICIENT and base.status is not Status.FAILED:
        return replace(base, status=Status.INSUFFICIENT, reason=f"{flip.reason} {base.reason}")
    if base.status is not Status.INSUFFICIENT:
        return base
    if first:
        reason = f"Bootstrap rule: nothing is shown to be unfair, and there is no champion yet. {flip.reason} {base.reason}"
        return replace(base, status=Status.PASSED, reason=reason, evidence={**base.evidence, "rule": "bootstrap: first champion"})
    if changes and all(change.high <= CHANGE_SHARE * limit for change, limit in changes.values()):
        said = ", ".join(f"{name} {change} (at most {CHANGE_SHARE * limit:g})" for name, (change, limit) in changes.items())
        reason = f"Not less even-handed than the champion: change of the gap by {said}. {flip.reason} {base.reason}"
        return replace(base, status=Status.PASSED, reason=reason, evidence={**base.evidence, "rule": "not worse than the champion"})
    return base


def _changes(new: Compared, old: Compared, *, rng: np.random.Generator) -> dict[str, tuple[Estimate, float]]:
    """Paired change of each required gap; empty when one cannot be computed."""
    from within_pipelines.fairness import Role, gap_change

    found: dict[str, tuple[Estimate, float]] = {}
    for mine, theirs in zip(new.measures, old.measures, strict=True):
        for name, labels in new.attributes.items():
            if mine.role is not Role.REQUIRED or new.roles[name] is not Role.REQUIRED:
                continue
            keep = labels != ""
            parts = [replace(m, numerator=m.numerator[keep], denominator=m.denominator[keep]) for m in (mine, theirs)]
            try:
                change = gap_change(parts[0], parts[1], labels[keep], clusters=new.clusters[keep], rng=rng)
            except SampleError:
                return {}
            found[f"{mine.name} by {name}"] = (change, mine.threshold)
    return found


@cache
def fairness_code() -> str:
    """A hash of the code that judges fairness, beside what `code_version` covers."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for source in (*sorted((root / "pipeline").glob("fairness_*.py")), *sorted((root / "fairness").rglob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _path(ws: Workspace, version: ModelVersion, champion: ModelVersion | None) -> Path:
    beside = "" if champion is None else champion.model_sha256
    key = fingerprint_of(data=version.data_version, code=code_version(), audit=fairness_code(), seed=ws.settings.seed, champion=beside)[:16]
    return ws.settings.artifacts / "fairness" / f"{version.model}-{version.model_sha256[:16]}-{key}.json"


def report_fairness(ws: Workspace, pin: Pin, version: ModelVersion, *, progress: Callable[[str], None] | None = None) -> FairnessReport:
    """Audit `version` on held-back rows beside the champion of its model; read back when the same was audited before."""
    from within_pipelines.files import write_text

    say = progress or (lambda text: None)
    champion = ws.registry.alias(version.model, "champion")
    path = _path(ws, version, champion)
    if path.is_file():
        say(f"{version.model} v{version.version}: fairness as audited before")
        return FairnessReport.from_dict(json.loads(path.read_text()))
    say(f"{version.model} v{version.version}: comparing groups")
    report = _audited(ws, version, champion, held_back_rows(ws, pin, version.model), say)
    if version.kind == KINDS[version.model][0]:
        say(f"{version.model} v{version.version}: looking for bias in what it was trained on")
        started = time.process_time()
        bias = training_bias(training_set(ws, pin, version.model), version.model, seed=ws.settings.seed)
        say(f"{version.model} v{version.version}: flipping declared worlds, looking for counterfactuals, trading accuracy for gaps")
        rows = held_back_rows(ws, pin, version.model)
        details, notes = fairness_details(load_version(ws, version), version.model, rows, seed=ws.settings.seed)
        seconds = round(report.cpu_seconds + time.process_time() - started, 2)
        report = replace(report, bias=bias, details=details, notes=(*report.notes, *notes), cpu_seconds=seconds)
    write_text(path, json.dumps(report.to_dict(), sort_keys=True, indent=1))
    return report


def _audited(
    ws: Workspace, version: ModelVersion, champion: ModelVersion | None, rows: pl.DataFrame, say: Callable[[str], None]
) -> FairnessReport:
    import polars as pl

    from within_pipelines.fairness import FairnessAudit, audit_fairness

    started, seed = time.process_time(), ws.settings.seed
    compare = COMPARISONS[version.model]
    try:
        compared, flip = compare(load_version(ws, version), rows, seed=seed)
        rng = np.random.default_rng([seed, 30])
        audits = [
            audit_fairness(
                c.measures, c.attributes, clusters=c.clusters, carriers=c.carriers, roles=c.roles, rng=rng, minimum_units=MINIMUM_UNITS
            )
            for c in compared
        ]
    except SampleError as error:
        verdict = Verdict("fairness", Status.INSUFFICIENT, None, None, {}, str(error))
        none = pl.DataFrame()
        return FairnessReport(version.model, version.version, version.kind, verdict, none, none, {}, none, (), 0.0)
    audit = FairnessAudit(tuple(row for own in audits for row in own.rows))
    changes: dict[str, tuple[Estimate, float]] = {}
    notes: list[str] = []
    if audit.status is Status.INSUFFICIENT and champion is not None:
        say(f"{version.model} v{version.version}: comparing with the champion, because this sample alone does not suffice")
        try:
            changes = _changes(compared[0], compare(load_version(ws, champion), rows, seed=seed)[0][0], rng=rng)
        except ArtifactError as error:
            notes.append(f"The champion v{champion.version} cannot be read: {error}")
    verdict = gate_verdict(audit, flip, first=champion is None, changes=changes)
    return FairnessReport(
        version.model, version.version, version.kind, verdict, audit.to_frame(), audit.groups(), dict(flip.effects),
        pl.DataFrame(), (flip.reason, *notes, *audit.warnings), round(time.process_time() - started, 2),
    )  # fmt: skip


def training_bias(rows: pl.DataFrame, model: str, *, seed: int) -> pl.DataFrame:
    """Label, missingness and proxy bias of a training set; empty for `anomaly`, which learns no labels, and where too little is there.

    For `ad_score` the label is the log-odds of a click less the account's mean, because accounts differ for other reasons than audiences;
    features are those that know the past of the ad's group. For `account_health` it is whether efficiency dropped."""
    import polars as pl

    from within_pipelines.fairness import ATTRIBUTES, declared, detect_bias

    if model == "anomaly" or rows.is_empty():
        return pl.DataFrame()
    account = account_of(rows)
    if model == "ad_score":
        odds = ((pl.col("clicks") + 0.5) / (pl.col("impressions") - pl.col("clicks") + 0.5)).log()
        table = rows.with_columns(label=odds - odds.mean().over("platform", "account_id"))
        segments = rows["audience_segment"].to_list() if "audience_segment" in rows.columns else [None] * rows.height
        groups = {name: np.array([declared(s, name) for s in segments], dtype=str) for name in ATTRIBUTES}
        wanted: tuple[str, ...] = (
            "group_ctr_before", "campaign_ctr_before", "account_ctr_before", "sibling_log_ctr_ratio", "impressions",
            "headline_characters", "headline_people_words", "headline_urgency_words",
        )  # fmt: skip
    else:
        table = rows.filter(pl.col("degraded").is_not_null()).with_columns(label=pl.col("degraded").cast(pl.Float64))
        account = account_of(table)
        groups = {
            "account size": tiers_of(account, table["clicks_28"].cast(pl.Float64).fill_null(0).to_numpy()),
            "platform": table["platform"].to_numpy().astype(str),
        }
        wanted = ("log_efficiency_7", "log_ctr_7", "log_cpc_7", "history_share", "volatility_efficiency_28")
    features = [name for name in wanted if name in table.columns]
    try:
        report = detect_bias(
            table, groups, clusters=account, rng=np.random.default_rng([seed, 42]), label="label", features=features,
            minimum_units=MINIMUM_UNITS, intersections=model == "ad_score",
        )  # fmt: skip
    except SampleError:
        return pl.DataFrame()
    return report.to_frame()


def fairness_verdict(ws: Workspace, pin: Pin, version: ModelVersion) -> Verdict:
    """The gate `fairness` of one version, not yet bound."""
    return report_fairness(ws, pin, version).verdict


def newest_fairness(ws: Workspace, pin: Pin, model: str, *, progress: Callable[[str], None] | None = None) -> list[FairnessReport]:
    """Reports of the challenger and of the baseline that were trained for `pin`; their verdicts are recorded by `judge`."""
    return [report_fairness(ws, pin, trained_version(ws, pin, model, kind), progress=progress) for kind in KINDS[model]]
