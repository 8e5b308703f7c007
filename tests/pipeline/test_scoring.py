"""The band of account health follows the outcomes that are known on the day that is scored, and nothing later."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import LAST_DAY, Agency
from within_pipelines.database import AccountHealthRepository
from within_pipelines.pipeline import KINDS, Workspace, champion, load_version, score_day, scoring, trained_version
from within_pipelines.pipeline.scoring import _outcome_origins


def test_outcomes_lie_a_horizon_back_and_after_what_was_learned() -> None:
    day = date(2026, 11, 20)
    assert _outcome_origins(None, day) == []
    assert _outcome_origins(day - timedelta(days=7), day) == []
    origins = _outcome_origins(day - timedelta(days=14), day)
    assert origins == [day - timedelta(days=back) for back in (13, 10, 7)]
    assert len(_outcome_origins(day - timedelta(days=900), day)) == 30


@pytest.mark.slow
def test_the_band_learns_from_known_outcomes_and_a_day_scored_again_is_the_same(agency: Agency, tmp_path: Path) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        predictor = load_version(ws, champion(ws, "account_health"))
        learned = predictor.learned_until
        assert learned is not None

        def bands(day: date) -> dict[tuple[str, ...], tuple[float | None, float | None, str | None]]:
            score_day(ws, day=day, models=["account_health"])
            rows = AccountHealthRepository(ws.database).on(day).iter_rows(named=True)
            said = {(r["platform"], r["account_id"], r["campaign_id"]): r["spend_efficiency"] for r in rows}
            return {place: (s["log_ratio_low"], s["log_ratio_high"], s["outcomes_until"]) for place, s in said.items()}

        late = bands(LAST_DAY)
        until = {date.fromisoformat(str(row[2])) for row in late.values()}
        assert len(until) == 1
        assert learned < min(until) <= LAST_DAY - timedelta(days=7)
        assert bands(LAST_DAY) == late
        # Nothing new was known a week after the model's own last outcome.
        early = bands(learned + timedelta(days=7))
        assert {row[2] for row in early.values()} == {learned.isoformat()}
        widths = {high - low for low, high, _ in late.values() if low is not None and high is not None}
        assert widths
        assert all(width > 0 for width in widths)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS["account_health"])
def test_either_kind_of_model_lives_through_outcomes(agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        version = trained_version(ws, ws.pin(), "account_health", kind)
        monkeypatch.setattr(scoring, "champion", lambda *_: version)
        assert score_day(ws, models=["account_health"]).accounts.height > 0
        stored = AccountHealthRepository(ws.database).on(LAST_DAY)
        assert stored.filter(pl.col("model_version") == version.version).height > 0


@pytest.mark.slow
def test_the_daily_job_keeps_why_an_account_is_unlike_those_of_the_training(
    agency: Agency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = agency.copy(tmp_path / "home")
    with Workspace.open(settings) as ws:
        usual = score_day(ws, models=["account_health"]).accounts
        rows = scoring.account_rows

        def larger(*arguments: Any, **options: Any) -> pl.DataFrame:
            known = rows(*arguments, **options)
            return known.with_columns(log_efficiency_7=pl.when(pl.col("campaign_id") == "").then(9.0).otherwise("log_efficiency_7"))

        monkeypatch.setattr(scoring, "account_rows", larger)
        found = score_day(ws, models=["account_health"]).accounts
        assert found.filter(pl.col("campaign_id") == "")["out_of_support"].all()
        assert usual["out_of_support"].mean() < 0.2  # type: ignore[operator]
        stored = AccountHealthRepository(ws.database).on(LAST_DAY).filter(pl.col("campaign_id") == "")
        for told in stored["spend_efficiency"].to_list():
            assert told["out_of_support"][0].startswith("log_efficiency_7 is 9, above the ")
            assert told["target"] == "conversions_per_cost"
