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
    Pin,
    Workspace,
    audit_robustness,
    find_anomalies,
    held_back_rows,
    judge,
    load_version,
    release,
    robustness_audit,
    robustness_report,
    score_accounts,
    trained_version,
)
from within_pipelines.pipeline.audit_time import REPORT_CPU_SECONDS
from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor
from within_pipelines.prediction.account_health.model import LinearPart
from within_pipelines.prediction.ad_score.model import Ridge
from within_pipelines.prediction.ad_score.stack import Stack
from within_pipelines.prediction.anomaly import Judgement
from within_pipelines.prediction.calibration import PlattScaling
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


def learned_by_heart(predictor: AccountHealthPredictor) -> AccountHealthPredictor:
    """Trees that know by heart what a coin said of every half per cent of yesterday's efficiency, and noise decides which one it is."""
    import xgboost

    blend = predictor._fitted_blend()
    steps = np.repeat(np.arange(-1.0, 1.0, 0.005), 4) + np.tile([0.0, 0.00125, 0.0025, 0.00375], 400)
    coin = np.repeat(np.random.default_rng(1).integers(0, 2, 400), 4)
    rows = np.full((len(steps), len(blend.features)), np.nan)
    rows[:, blend.features.index("log_efficiency_1")] = steps
    settings = {"objective": "binary:logistic", "tree_method": "exact", "max_depth": 12, "eta": 1.0, "min_child_weight": 0, "nthread": 1}
    trees = xgboost.train(settings | {"lambda": 0.1}, xgboost.DMatrix(rows, coin), num_boost_round=15)
    assert np.array_equal(trees.predict(xgboost.DMatrix(rows)) > 0.5, coin == 1)
    silent = LinearPart(np.zeros(1), np.ones(1), np.zeros(1), 0.0)
    predictor._blend = replace(
        blend, lean=silent, lean_features=("log_efficiency_1",), wide=None, spread=None, trees=bytes(trees.save_raw("ubj")), share=1.0
    )
    # The silent part halves what the trees say.
    predictor._platt = PlattScaling(0.0, 2.0)
    return predictor


def a_little_surer(predictor: AccountHealthPredictor) -> AccountHealthPredictor:
    """The sound model in another artifact: by a thousandth surer of what it says."""
    predictor._platt = replace(predictor._platt, slope=1.001 * predictor._platt.slope)
    return predictor


def offer(ws: Workspace, pin: Pin, sound: ModelVersion, predictor: AdScorePredictor | AccountHealthPredictor, folder: Path) -> ModelVersion:
    """Register `predictor` as a version like `sound`, audited as every version is; its other gates as if they had passed."""
    sha = predictor.save(folder)
    artifact = ws.artifacts.put(sound.model, folder)
    offered = ws.registry.register(
        replace(sound, version=0, model_sha256=sha, artifact=artifact, training_fingerprint=f"{sound.model} {folder.name}")
    )
    others = [Verdict(gate, Status.PASSED, None, None, {}, "as if") for gate in REQUIRED_GATES[sound.model] if gate != "robustness"]
    ws.registry.record_verdicts(
        v.bind(model_sha256=sha, data_version=offered.data_version, policy_version=POLICY_VERSION)
        for v in (*others, robustness_report(ws, pin, offered).verdict())
    )
    return offered


def robustness_of(ws: Workspace, version: ModelVersion) -> Verdict:
    """The newest verdict of the gate."""
    return [v for v in ws.registry.verdicts(version.model_sha256, version.data_version) if v.gate == "robustness"][-1]


def promote(ws: Workspace, version: ModelVersion) -> None:
    """Let it serve, if the gates let it."""
    champion = ws.registry.alias(version.model, "champion")
    ws.registry.promote(version.model, version.version, who="t", why="t", now=NOW, expected_current=champion and champion.version)


def test_an_ad_score_that_hangs_on_capitals_cannot_become_champion(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        sound = trained_version(ws, pin, "ad_score", KINDS["ad_score"][0])
        predictor = load_version(ws, sound)
        assert isinstance(predictor, AdScorePredictor)
        fragile = offer(ws, pin, sound, loves_capitals(predictor), tmp_path / "fragile")
        verdict = robustness_of(ws, fragile)
        assert verdict.status is Status.FAILED
        assert "upper case" in verdict.reason
        champion = ws.registry.alias("ad_score", "champion")
        with pytest.raises(PromotionRefusedError, match=r"robustness: failed: .*upper case"):
            promote(ws, fragile)
        assert ws.registry.alias("ad_score", "champion") == champion


def test_a_health_score_that_hangs_on_half_a_per_cent_cannot_become_champion_and_a_sound_one_can(agency: Agency, tmp_path: Path) -> None:
    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        sound = trained_version(ws, pin, "account_health", KINDS["account_health"][0])
        predictors = [load_version(ws, sound) for _ in range(2)]
        assert isinstance(predictors[0], AccountHealthPredictor)
        assert isinstance(predictors[1], AccountHealthPredictor)
        fragile = offer(ws, pin, sound, learned_by_heart(predictors[0]), tmp_path / "fragile")
        report = robustness_report(ws, pin, fragile)
        verdict = robustness_of(ws, fragile)
        # Shown, and not for want of evidence.
        assert verdict.status is Status.FAILED
        assert verdict.estimate is not None
        assert verdict.estimate.low > 0.1
        assert report.statuses()["noise"] is Status.FAILED
        champion = ws.registry.alias("account_health", "champion")
        with pytest.raises(PromotionRefusedError, match=r"robustness: failed: .*noise: .* move by more than 10 and nobody") as refused:
            promote(ws, fragile)
        assert not any(f"{gate}: " in str(refused.value) for gate in REQUIRED_GATES["account_health"] if gate != "robustness")
        assert ws.registry.alias("account_health", "champion") == champion
        twin = offer(ws, pin, sound, a_little_surer(predictors[1]), tmp_path / "sound")
        assert robustness_of(ws, twin).status is Status.PASSED
        promote(ws, twin)
        serving = ws.registry.alias("account_health", "champion")
        assert serving is not None
        assert serving.version == twin.version


class SuspectsRoundNumbers:
    """A fitted detector that also alarms whenever a count ends in 0, because such numbers look made up."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def judge(self, table: pl.DataFrame, **options: Any) -> Judgement:
        found: Judgement = self._inner.judge(table, **options)
        counts = table.filter(pl.col("metric").is_in(["impressions", "clicks"]) & (pl.col("value") > 0))
        made_up = counts.filter(pl.col("value").round().cast(pl.Int64) % 10 == 0).to_dicts()
        return replace(found, findings=(*found.findings, *made_up))


def test_alarms_that_hang_on_the_last_digit_keep_a_detector_from_serving_and_nothing_else_does(
    agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text

    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        challenger = trained_version(ws, pin, "anomaly", KINDS["anomaly"][0])
        with ws.database.writing() as session:
            session.execute(text("DELETE FROM aliases"))
            # A deployment on which nothing was judged yet; the audit trail itself refuses to forget.
            session.execute(text("DROP TRIGGER verdicts_refuses_delete"))
            session.execute(text("DELETE FROM verdicts"))

        def forget() -> None:
            for kept in ws.reports.glob("robustness-anomaly-*.json"):
                kept.unlink()

        forget()
        load = robustness_audit.load_version
        with monkeypatch.context() as patched:
            patched.setattr(
                robustness_audit,
                "load_version",
                lambda ws, v: SuspectsRoundNumbers(load(ws, v)) if v.version == challenger.version else load(ws, v),
            )
            verdicts = {v.gate: v for v in judge(ws, pin, "anomaly").verdicts}
        assert verdicts["robustness"].status is Status.FAILED, verdicts["robustness"].reason
        assert "noise: " in verdicts["robustness"].reason
        assert {v.status for gate, v in verdicts.items() if gate != "robustness"} == {Status.PASSED}
        released = release(ws, pin, "anomaly", now=NOW, who="test")
        assert released.champion is None or released.champion.version != challenger.version
        assert "robustness: failed: " in released.reasons[0]
        # The same version without that suspicion, on the same data.
        forget()
        assert {v.gate: v.status for v in judge(ws, pin, "anomaly").verdicts}["robustness"] is Status.PASSED
        served = release(ws, pin, "anomaly", now=NOW, who="test").champion
        assert served is not None
        assert served.version == challenger.version


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
        encoder.remembered.clear()
        predictor.scores(held_back_rows(ws, pin, "ad_score"))
        asked = list(encoder.remembered)
        encoder.remembered.clear()
        for text in asked[::2]:
            encoder.encode([text])
        for number in range(_KEPT_TEXTS - len(encoder.remembered)):
            encoder.remembered[f"another text {number}"] = np.zeros(encoder.dimension, np.float32)
        found = robustness_report(ws, pin, offer(ws, pin, trained, predictor, tmp_path / "meaning"))
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
