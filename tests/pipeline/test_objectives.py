"""A training objective is chosen by a setting, changes what serves, and its price stands beside the version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.conftest import NOW, Agency
from within_pipelines.exceptions import SampleError, SettingsError
from within_pipelines.fairness import FairRanking
from within_pipelines.pipeline import (
    KINDS,
    Workspace,
    audit_robustness,
    judge,
    load_version,
    release,
    report_fairness,
    train,
    trained_version,
    training_run,
)
from within_pipelines.pipeline.ad_score_worst_case import EPS
from within_pipelines.pipeline.objectives import STRENGTHS, objective_costs, objective_of
from within_pipelines.prediction import AdScorePredictor, train_ad_score
from within_pipelines.registry import REQUIRED_GATES
from within_pipelines.reporting import model_card
from within_pipelines.robustness import AdversarialTraining, GaussianAugmentation, Trades
from within_pipelines.settings import Settings

ADS = pl.DataFrame({"audience_segment": ["women 25-34", "men 25-34", "women 45+", None]})
X = np.array([[0.1, 3.0, 7.0, 100.0], [0.7, 4.0, 7.0, 250.0], [0.2, 5.0, 7.0, 900.0], [np.nan, 3.0, 7.0, 400.0]])


def test_an_attacker_moves_real_numbers_and_counts_whose_unit_is_small() -> None:
    made = objective_of("adversarial")
    assert made is not None
    objective = made(ADS, X)
    assert isinstance(objective, AdversarialTraining)
    # One of three, four or five words is more than a tenth of their spread; one of hundreds of characters is less; a constant stays.
    assert objective.budget.tolist() == [EPS, 0.0, 0.0, EPS]
    assert objective.share == STRENGTHS["adversarial"][1]


def test_each_name_makes_its_own_objective_with_the_strength_asked_for() -> None:
    makers = {name: objective_of(name, 0.7) for name in STRENGTHS}
    made = {name: make(ADS, X) for name, make in makers.items() if make is not None}
    assert isinstance(made["trades"], Trades)
    assert made["trades"].beta == 0.7
    assert isinstance(made["noise"], GaussianAugmentation)
    assert made["noise"].sigma.tolist() == [0.7, 0.0, 0.0, 0.7]
    assert isinstance(made["fair"], FairRanking)
    assert len(set(made["fair"].groups.tolist())) == 4
    assert objective_of("plain") is None


def test_refusals() -> None:
    with pytest.raises(SettingsError, match="unknown; give one of plain, adversarial"):
        objective_of("magic")
    with pytest.raises(SettingsError, match="give 0 < share <= 1"):
        objective_of("adversarial", 2.0)
    with pytest.raises(ValueError, match="greater than 0"):
        Settings(ad_score_objective_strength=0)
    fair = objective_of("fair")
    assert fair is not None
    with pytest.raises(SampleError, match="at least two groups"):
        fair(ADS.with_columns(audience_segment=pl.lit("everybody")), X)
    ads = pl.DataFrame({"headline": ["a", "b"], "group_id": ["g", "g"]})
    rows = pl.concat([ads.with_columns(group_id=pl.lit(f"g{k}")) for k in range(12)])
    with pytest.raises(SettingsError, match="no network"):
        AdScorePredictor(kind="longer_headline").fit(rows, np.linspace(0.01, 0.1, 24), objective=fair)


def costs_of(ws: Workspace, version: Any) -> dict[str, dict[str, float]]:
    return {row["measure"]: row for row in version.evaluation["details"]["objective_costs"]}


@pytest.mark.slow
def test_costs_are_nothing_beside_oneself_and_the_change_is_with_less_without() -> None:
    from tests.pipeline.test_ad_score_worst_case import ads

    def declared(table: pl.DataFrame) -> pl.DataFrame:
        women = pl.col("group_id").str.tail(1).is_in(["0", "2", "4", "6", "8"])
        return table.with_columns(audience_segment=pl.when(women).then(pl.lit("women 25-34")).otherwise(pl.lit("men 25-34")))

    train_rows, test = declared(ads(60, 1)), declared(ads(40, 3))
    plain = AdScorePredictor(encoder="none").fit(train_rows, seed=7)
    # It climbs where it should descend: a network that knows and says the opposite.
    contrary = AdScorePredictor(encoder="none").fit(train_rows, seed=7, objective=lambda ads, x: lambda shown, loss, *more: -loss(shown))
    same = objective_costs(plain, plain, test, rng=np.random.default_rng(1))
    assert same["measure"].to_list() == [
        "pairs ranked rightly", "pairs ranked rightly, network alone", "significant pairs, network alone",
        "significant pairs, network under attack", "share of the network in the score", "score gap by gender, ads asked for alone",
    ]  # fmt: skip
    assert same["plain"].to_list() == same["with objective"].to_list()
    assert same.select("change", "low", "high").to_numpy().tolist() == [[0.0, 0.0, 0.0]] * 6
    costs = objective_costs(plain, contrary, test, rng=np.random.default_rng(1))
    assert costs["plain"].to_list() == same["plain"].to_list()
    assert costs["change"].to_numpy() == pytest.approx((costs["with objective"] - costs["plain"]).to_numpy())
    changes = dict(zip(costs["measure"].to_list(), costs["high"].to_list(), strict=True))
    assert changes["pairs ranked rightly, network alone"] < 0
    # The weight is what a network said of ads that it had not seen: none, so the score knows nothing rather than the opposite, and says so.
    assert costs.filter(pl.col("measure") == "share of the network in the score")["with objective"].item() == 0
    assert costs.filter(pl.col("measure") == "pairs ranked rightly")["with objective"].item() == 0.5
    assert np.ptp(contrary.contrasts(test)) == 0
    assert changes["pairs ranked rightly"] < 0


@pytest.mark.slow
def test_a_hardened_ad_score_goes_through_every_gate_and_its_price_is_told(agency: Agency, tmp_path: Path) -> None:
    home = agency.copy(tmp_path / "home").home
    with Workspace.open(Settings(home=home)) as ws:
        pin = ws.pin()
        plain = trained_version(ws, pin, "ad_score", "stack")
        assert "objective" not in plain.evaluation["details"]
    with Workspace.open(Settings(home=home, ad_score_objective="adversarial")) as ws:
        pin = ws.pin()
        trained = train(ws, pin, "ad_score", "stack", now=NOW)
        hardened = trained.version
        assert not trained.cached
        assert train(ws, pin, "ad_score", "stack", now=NOW).cached
        assert hardened.model_sha256 != plain.model_sha256
        assert trained_version(ws, pin, "ad_score", "stack").version == hardened.version
        assert trained_version(ws, pin, "ad_score", "longer_headline").version != hardened.version
        costs = costs_of(ws, hardened)
        attacked = costs["significant pairs, network under attack"]
        if plain.evaluation["details"]["encoder"] != "words only":
            assert attacked["change"] > 0.02
            assert attacked["low"] > 0
        else:
            # Whether a word is there cannot be pushed a little, so without meanings there is hardly anything to attack, or to harden.
            unattacked = costs["significant pairs, network alone"]
            assert unattacked["plain"] - attacked["plain"] < 0.1
        # What serves descended the objective, whatever the lines and trees that were left out would have had to say.
        assert costs["share of the network in the score"]["with objective"] == 1
        assert costs["pairs ranked rightly"]["with objective"] == costs["pairs ranked rightly, network alone"]["with objective"]
        # Attacked networks are never better than themselves unattacked.
        clean = costs["significant pairs, network alone"]
        assert all(attacked[side] <= clean[side] for side in ("plain", "with objective"))
        run = training_run(ws, hardened)
        assert run is not None
        assert run.params["objective"] == "adversarial (share of the loss at attacked inputs, up to 1: 0.5)"
        assert "bought and cost" in model_card(hardened, [])
        assert "bought and cost" not in model_card(plain, [])
        # It serves only by the same gates as any other version.
        report_fairness(ws, pin, hardened)
        audit_robustness(ws, pin, "ad_score")
        judge(ws, pin, "ad_score")
        recorded = {v.gate for v in ws.registry.verdicts(hardened.model_sha256, hardened.data_version)}
        assert set(REQUIRED_GATES["ad_score"]) - {"golden_sample", "model_card"} <= recorded
        release(ws, pin, "ad_score", now=NOW, who="t", trigger="t")
        champion = ws.registry.alias("ad_score", "champion")
        assert champion is not None
        assert champion.version in (plain.version, hardened.version)
        load_version(ws, hardened)


@pytest.mark.slow
def test_a_fair_objective_evens_the_network_between_declared_audiences(agency: Agency, tmp_path: Path) -> None:
    """The network's mean win scores differ less between audiences over the ads that it was fitted on; unseen ads of so few audiences say
    little of a mean."""
    from within_pipelines.pipeline import training_set
    from within_pipelines.pipeline.objectives import _audiences
    from within_pipelines.prediction import split_ad_score

    with Workspace.open(agency.copy(tmp_path / "home")) as ws:
        pin = ws.pin()
        rows = training_set(ws, pin, "ad_score")
        older = split_ad_score(rows)[0]
        plain = load_version(ws, trained_version(ws, pin, "ad_score", KINDS["ad_score"][0]))
        fair = train_ad_score(rows, seed=ws.settings.seed, objective=objective_of("fair", 30.0))
        people = _audiences(older)

        def gap(predictor: Any) -> float:
            part, x, _ = predictor.smooth_part(older)
            win = 1 / (1 + np.exp(-part(x)))
            return float(np.ptp([win[people == g].mean() for g in np.unique(people) if np.sum(people == g) >= 10]))

        assert gap(fair) < 0.7 * gap(plain)
