"""Robustness is a gate: what breaks under a feed's faults cannot serve, whatever else it passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.conftest import NOW, Agency
from within_pipelines.exceptions import PromotionRefusedError
from within_pipelines.pipeline import (
    KINDS,
    Workspace,
    audit_robustness,
    find_anomalies,
    held_back_rows,
    load_version,
    robustness_report,
    score_accounts,
    trained_version,
)
from within_pipelines.pipeline.audit_time import REPORT_CPU_SECONDS
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.model import Ridge
from within_pipelines.prediction.ad_score.stack import Stack
from within_pipelines.prediction.encoder import _KEPT_TEXTS, TransformerEncoder
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.robustness import Expectation, fact_faults
from within_pipelines.stats import Status, Verdict

pytestmark = pytest.mark.slow


def loves_capitals(predictor: AdScorePredictor) -> AdScorePredictor:
    """A model that is nothing but the share of capitals: an artifact like any other, and fragile."""
    state: Any = predictor._fitted
    features = (*state.inputs.features, "headline_capital_share")
    inputs = replace(state.inputs, features=features, meanings=(), encoder=None)
    columns = inputs.n_explained
    coefficients = np.zeros(columns)
    coefficients[len(features) - 1] = 3.0
    ridge = Ridge(np.zeros(columns), np.ones(columns), coefficients)
    fragile = AdScorePredictor(kind="stack", encoder="none")
    fragile._fitted = replace(state, inputs=inputs, stack=Stack({"words": 1.0}, ridge, penalties={}), centre=0.5)
    return fragile


def test_a_fragile_model_cannot_become_champion(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        sound = trained_version(ws, pin, "ad_score", KINDS["ad_score"][0])
        predictor = load_version(ws, sound)
        assert isinstance(predictor, AdScorePredictor)
        sha = loves_capitals(predictor).save(tmp_path / "fragile")
        fragile = ws.registry.register(
            replace(
                sound, version=0, model_sha256=sha, artifact=ws.artifacts.put("ad_score", tmp_path / "fragile"), training_fingerprint="f"
            )
        )
        verdict = robustness_report(ws, pin, fragile).verdict()
        assert verdict.status is Status.FAILED
        assert "upper case" in verdict.reason
        others = [Verdict(gate, Status.PASSED, None, None, {}, "as if") for gate in REQUIRED_GATES["ad_score"] if gate != "robustness"]
        ws.registry.record_verdicts(
            v.bind(model_sha256=sha, data_version=fragile.data_version, policy_version=POLICY_VERSION) for v in (*others, verdict)
        )
        champion = ws.registry.alias("ad_score", "champion")
        with pytest.raises(PromotionRefusedError, match=r"robustness: failed: .*upper case"):
            ws.registry.promote("ad_score", fragile.version, who="t", why="t", now=NOW, expected_current=champion and champion.version)
        assert ws.registry.alias("ad_score", "champion") == champion


def test_a_verdict_does_not_hang_on_what_the_process_scored_before(agency: Agency, tmp_path: Path) -> None:
    """The encoder's memory is full, and half of the texts that are asked for are the next that it would forget: none is computed twice."""
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        trained = trained_version(ws, pin, "ad_score", KINDS["ad_score"][0])
        predictor = load_version(ws, trained)
        assert isinstance(predictor, AdScorePredictor)
        state: Any = predictor._fitted
        encoder = state.inputs.encoder
        if not isinstance(encoder, TransformerEncoder):
            pytest.skip("no sentence encoder is installed")
        # Whatever the weights are on so few ads: here what the texts mean counts.
        predictor._fitted = replace(state, stack=replace(state.stack, weights={"words": 0.5, "meaning": 0.5}))
        sha = predictor.save(tmp_path / "meaning")
        artifact = ws.artifacts.put("ad_score", tmp_path / "meaning")
        version = ws.registry.register(replace(trained, version=0, model_sha256=sha, artifact=artifact, training_fingerprint="m"))
        encoder.remembered.clear()
        predictor.scores(held_back_rows(ws, pin, "ad_score"))
        asked = list(encoder.remembered)
        encoder.remembered.clear()
        for text in asked[::2]:
            encoder.encode([text])
        for number in range(_KEPT_TEXTS - len(encoder.remembered)):
            encoder.remembered[f"another text {number}"] = np.zeros(encoder.dimension, np.float32)
        found = robustness_report(ws, pin, version)
        encoder.remembered.clear()
    unchanged = [result for result in found.results if result.expectation is Expectation.UNCHANGED]
    # In points of 100; a text computed twice, beside others, moves a score by 2e-5.
    assert [result.worst_change for result in unchanged] == pytest.approx([0, 0, 0], abs=1e-9)
    assert {found.statuses()[result.name] for result in unchanged} == {Status.PASSED}


@pytest.mark.parametrize("model", ["ad_score", "account_health", "anomaly"])
def test_every_challenger_is_audited_and_its_report_is_kept_by_hash(agency: Agency, model: str, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        version = trained_version(ws, pin, model, KINDS[model][0])
        kept = [path for path in ws.reports.glob(f"robustness-{model}-*.json") if version.model_sha256[:16] in path.name]
        assert len(kept) == 1
        before = kept[0].stat().st_mtime_ns
        report, verdict = audit_robustness(ws, pin, model)
        assert kept[0].stat().st_mtime_ns == before
        recorded = [v for v in ws.registry.verdicts(version.model_sha256, version.data_version) if v.gate == "robustness"]
        assert recorded[-1].status is verdict.status is Status.PASSED, verdict.reason
        assert verdict.estimate is not None
        assert report.model == model
        # Measured when it was made, and kept with it.
        assert 0 < report.cpu_seconds < 10 * REPORT_CPU_SECONDS
        if model == "ad_score":
            told = {r.name: r for r in report.results}
            assert told["emoji"].expectation is told["worst of 3 edits"].expectation is Expectation.ANSWERED
            assert told["history noise"].expectation is Expectation.STABLE
            assert {"history x100", "history in micros", "history missing", "history stale"} <= set(told)
            assert told["history noise"].rank_stability is not None
            assert told["inputs 0.1 sd off"].unhandled is not None
            assert told["row order"].rank_stability is not None
            assert told["row order"].rank_stability.value == 1
            # Ads that an edit moves beyond the tolerance have money on them; where none moves, none hangs on it.
            assert all(bool(r.money) == (r.unhandled.value > 0) for name in ("emoji", "row order") if (r := told[name]).unhandled)
            ((radii, accuracy),) = report.certified.values()
            assert len(radii) == len(accuracy) > 1
        else:
            noticed = {r.name: r.noticed for r in report.results}
            assert min(noticed[name] for name in ("money x100", "money in micros", "doubled day", "no conversions")) > 0.9
            assert noticed["untouched feeds"] == 0
            order = next(r for r in report.results if r.name == "noise").rank_stability
            # Alarms have no order.
            assert (order is None) == (model == "anomaly")
            assert order is None or 0.9 < order.value <= 1
        champion = ws.registry.alias(model, "champion")
        assert champion is not None


def test_a_feed_in_micros_is_reported_and_neither_scored_nor_alarmed(
    agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from within_pipelines.lake import Lake, knowledge_time

    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        day = ws.lake.last_event_date(pin.commit_seq)
        assert day is not None
        spoiled_account = ws.lake.accounts()[0]
        micros = next(fault for fault in fact_faults() if fault.name == "money in micros")
        honest = Lake.history

        def spoiled(self: Lake, **options: Any) -> pl.DataFrame:
            told = honest(self, **options)
            one = (pl.col("platform") == spoiled_account[0]) & (pl.col("account_id") == spoiled_account[1])
            return pl.concat([told.filter(~one), micros.apply(told.filter(one), day, np.random.default_rng(1))])

        monkeypatch.setattr(Lake, "history", spoiled)
        scored = score_accounts(ws, pin, day, knowledge_time(day))
        mine = scored.filter((pl.col("platform") == spoiled_account[0]) & (pl.col("account_id") == spoiled_account[1]))
        assert mine.height > 0
        assert mine["state"].unique().to_list() == ["feed_problem"]
        assert mine["overall_score"].null_count() == mine.height
        assert "scored" in scored["state"].to_list()
        alarms = find_anomalies(ws, pin, day, knowledge_time(day))
        assert spoiled_account[1] not in alarms["account_id"].to_list()


def test_verdicts_bind_to_versions(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        for model in KINDS:
            champion: ModelVersion | None = ws.registry.alias(model, "champion")
            assert champion is not None
            gates = {v.gate: v.status for v in ws.registry.verdicts(champion.model_sha256, champion.data_version)}
            assert gates["robustness"] is Status.PASSED
