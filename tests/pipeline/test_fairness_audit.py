"""The gate `fairness`: it fails unfair models, says by which rule it passes young deployments, and keeps an unfair version from serving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.conftest import NOW, Agency
from within_pipelines.fairness import FairnessAudit, FlipEffect, audit_fairness, declared, mean_measure
from within_pipelines.pipeline import (
    KINDS,
    MODELS,
    Workspace,
    fairness_audit,
    judge,
    release,
    report_fairness,
    trained_version,
    write_fairness_page,
)
from within_pipelines.pipeline.fairness_audit import COMPARISONS, FLIP_LIMIT, MINIMUM_UNITS, FairnessReport, gate_verdict
from within_pipelines.pipeline.fairness_groups import size_tiers
from within_pipelines.stats import Estimate, Status


def audit(gap: float, n: int) -> FairnessAudit:
    rng = np.random.default_rng(3)
    group = np.repeat(["a", "b"], n // 2)
    values = rng.normal(size=n) + gap * (group == "a")
    return audit_fairness([mean_measure("score", values, threshold=1.0)], {"g": group}, clusters=range(n), rng=rng, n_permutations=499)


FAIR, UNFAIR, YOUNG = audit(0.0, 400), audit(3.0, 400), audit(0.0, 40)
BLIND = FlipEffect({"gender": Estimate(0.0, 0.0, 0.0, 24)}, FLIP_LIMIT)
DIRECT = FlipEffect({"gender": Estimate(0.3, 0.2, 0.4, 24)}, FLIP_LIMIT)
UNSURE = FlipEffect({"gender": Estimate(0.05, 0.03, 0.07, 24)}, FLIP_LIMIT)
SAME = {"score by g": (Estimate(0.0, -0.1, 0.1, 24), 1.0)}
WORSE = {"score by g": (Estimate(0.4, 0.1, 0.7, 24), 1.0)}


@pytest.mark.parametrize(
    ("audited", "flip", "first", "changes", "status", "rule"),
    [
        (FAIR, BLIND, True, {}, Status.PASSED, "absolute"),
        (FAIR, BLIND, False, {}, Status.PASSED, "absolute"),
        (UNFAIR, BLIND, True, {}, Status.FAILED, "absolute"),
        (UNFAIR, BLIND, False, SAME, Status.FAILED, "absolute"),  # no champion excuses what is shown
        (UNFAIR, UNSURE, True, {}, Status.FAILED, "absolute"),
        (FAIR, DIRECT, True, {}, Status.FAILED, "absolute"),
        (FAIR, UNSURE, True, {}, Status.INSUFFICIENT, "absolute"),
        (YOUNG, BLIND, True, {}, Status.PASSED, "bootstrap: first champion"),
        (YOUNG, DIRECT, True, {}, Status.FAILED, "absolute"),
        (YOUNG, UNSURE, True, {}, Status.INSUFFICIENT, "absolute"),
        (YOUNG, BLIND, False, {}, Status.INSUFFICIENT, "absolute"),
        (YOUNG, BLIND, False, WORSE, Status.INSUFFICIENT, "absolute"),
        (YOUNG, BLIND, False, SAME, Status.PASSED, "not worse than the champion"),
    ],
)  # fmt: skip
def test_each_rule_has_its_outcomes(
    audited: FairnessAudit, flip: FlipEffect, first: bool, changes: dict[str, Any], status: Status, rule: str
) -> None:
    verdict = gate_verdict(audited, flip, first=first, changes=changes)
    assert verdict.status is status
    assert verdict.evidence["rule"] == rule
    if rule.startswith("bootstrap"):
        assert "this sample would only find" in verdict.reason


def test_tiers_halve_the_accounts() -> None:
    assert size_tiers(["a", "b", "c", "d"], [4, 1, 3, 2]) == {"a": "larger", "b": "smaller", "c": "larger", "d": "smaller"}


def test_a_report_survives_being_kept() -> None:
    report = FairnessReport("m", 1, "k", gate_verdict(FAIR, BLIND, first=True, changes={}), FAIR.to_frame(), FAIR.groups(),
                            dict(BLIND.effects), pl.DataFrame({"kind": ["label"]}), ("note",), 1.5,
                            details={"frontier": pl.DataFrame({"gap": [0.1]})})  # fmt: skip
    back = FairnessReport.from_dict(report.to_dict())
    assert back.cached
    assert replace(back, cached=False).to_dict() == report.to_dict()
    assert back.verdict.estimate == report.verdict.estimate


class Hostile:
    """A fitted ad score whose order of an ad group aimed at women is turned round."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def contrasts(self, rows: pl.DataFrame) -> np.ndarray:
        women = np.array([declared(s, "gender") == "women" for s in rows["audience_segment"]])
        found: np.ndarray = np.where(women, -1.0, 1.0) * self._inner.contrasts(rows)
        return found


class AlarmedBySmall:
    """A fitted account-health model that adds six tenths of a probability for the smaller half of accounts."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def probability(self, rows: pl.DataFrame) -> np.ndarray:
        if "clicks_28" not in rows.columns:  # a made-up case of the counterfactual search has features alone
            return np.asarray(self._inner.probability(rows))
        clicks = rows.select(pl.col("clicks_28").cast(pl.Float64).fill_null(0).mean().over("platform", "account_id"))[:, 0]
        small = (clicks < clicks.unique().median()).to_numpy()
        found: np.ndarray = np.minimum(1.0, self._inner.probability(rows) + 0.6 * small)
        return found


class WatchesSmall:
    """A fitted detector that reports a tenth of the p-value it found where the value is small."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def score_series(self, table: pl.DataFrame, **options: Any) -> pl.DataFrame:
        volume = table.filter(pl.col("metric") == "impressions").group_by("account_id").agg(pl.col("value").mean())
        small = volume.filter(pl.col("value") < volume["value"].median())["account_id"].implode()
        found: pl.DataFrame = self._inner.score_series(table, **options)
        return found.with_columns(p_value=pl.when(pl.col("account_id").is_in(small)).then(pl.col("p_value") / 10).otherwise("p_value"))


UNFAIR_MODELS: dict[str, Callable[[Any], Any]] = {"ad_score": Hostile, "account_health": AlarmedBySmall, "anomaly": WatchesSmall}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_deliberately_unfair_model_cannot_become_champion(
    model: str, agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text

    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        challenger, baseline = (trained_version(ws, pin, model, kind) for kind in KINDS[model])
        honest = report_fairness(ws, pin, challenger)
        assert honest.verdict.passed
        assert not honest.groups.is_empty()
        with ws.database.writing() as session:
            session.execute(text("DELETE FROM aliases"))
            # A deployment on which nothing was judged yet; the audit trail itself refuses to forget.
            session.execute(text("DROP TRIGGER verdicts_refuses_delete"))
            session.execute(text("DELETE FROM verdicts"))
        for kept in (ws.settings.artifacts / "fairness").glob("*.json"):
            kept.unlink()
        load = fairness_audit.load_version
        monkeypatch.setattr(
            fairness_audit,
            "load_version",
            lambda ws, v: UNFAIR_MODELS[model](load(ws, v)) if v.version == challenger.version else load(ws, v),
        )
        verdict = next(v for v in judge(ws, pin, model).verdicts if v.gate == "fairness")
        assert verdict.status is Status.FAILED, verdict.reason
        judge(ws, pin, model, is_baseline=True)
        released = release(ws, pin, model, now=NOW, who="test")
        assert released.champion is None or released.champion.version == baseline.version
        assert "fairness: failed" in released.reasons[0]
        page = write_fairness_page(ws, report_fairness(ws, pin, challenger)).read_text()
        assert "do not serve this version" in page or "Flipping the declared attribute" in page


@pytest.mark.slow
def test_a_challenger_s_report_tells_more_than_the_gate_asks(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        for model in ("ad_score", "account_health"):
            report, rival = (report_fairness(ws, pin, trained_version(ws, pin, model, kind)) for kind in KINDS[model])
            assert rival.details == {}
            # A table that this small agency cannot fill is named in a note.
            wanted = {"proxy world", "delivery"} if model == "ad_score" else {"proxy world", "counterfactuals", "frontier"}
            missing = {note.split(":")[0].removeprefix("No ") for note in report.notes if note.startswith("No ")}
            assert {name.replace("_", " ") for name in report.details} == wanted - missing
            assert report.details, report.notes
            assert report.cpu_seconds <= 60
            page = write_fairness_page(ws, report).read_text()
            assert ("direct discrimination" in page) == ("frontier" in report.details)


@pytest.mark.slow
def test_without_a_declared_audience_the_ad_score_is_judged_by_account_size(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        predictor = fairness_audit.load_version(ws, trained_version(ws, pin, "ad_score", KINDS["ad_score"][1]))
        rows = fairness_audit.held_back_rows(ws, pin, "ad_score").drop("audience_segment")
        compared, flip = COMPARISONS["ad_score"](predictor, rows, seed=7)
        one = compared[0]
        found = audit_fairness(one.measures, one.attributes, clusters=one.clusters, carriers=one.carriers, roles=one.roles,
                               rng=np.random.default_rng(1), minimum_units=MINIMUM_UNITS)  # fmt: skip
        assert {row.attribute for row in found.deciding} == {"account size"}
        assert flip.effects == {}
