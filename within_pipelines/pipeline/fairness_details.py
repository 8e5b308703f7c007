"""Told beside the gate `fairness`: what follows when an attribute moves its proxies, what would change a decision, what parity costs.

None of these tables is judged. A declared causal world is an assumption, a counterfactual is an explanation, and whether to trade accuracy
for a gap is for people to decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.pipeline.fairness_groups import account_of, tiers_of

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.fairness import FlipEffect

Floats = NDArray[np.float64]
# The declared world of ads: the audience moves what is known of the past of its ad group, campaign and account.
AD_PROXIES: tuple[str, ...] = ("group_ctr_before", "campaign_ctr_before", "account_ctr_before", "sibling_log_ctr_ratio")
# The declared world of accounts: size moves how noisy numbers are and how much is known, not how efficient an account is.
SIZE_PROXIES: tuple[str, ...] = (
    "volatility_efficiency_28", "volatility_ctr_28", "volatility_spend_28", "reliability_conversions_28", "reliability_clicks_28",
)  # fmt: skip
_BECOMES: Mapping[str, Mapping[str, str]] = {
    "gender": {"women": "men", "men": "women"},
    "age": {"under 45": "45+", "45+": "under 45"},
    "account size": {"smaller": "larger", "larger": "smaller"},
}
# What an advertiser can move within a week, in the model's own terms.
_MOVABLE: tuple[str, ...] = ("log_efficiency_7", "log_ctr_7", "log_cvr_7", "log_cpc_7", "log_spend_7", "slope_efficiency_28")
WARNED_SHARE = 0.2
# Siblings share their audience, so of each pair one wins in every group: there is no rate of selection that groups could differ in.
NO_FRONTIER = "No frontier: an ad score chooses among ads of one audience, so every group is chosen equally often whatever it says."
_MOST_CASES, _MOST_BACKGROUND, _STARTS, _HALVINGS = 6, 150, 15, 5
_NO_LIMIT = 1.0


def fairness_details(predictor: Any, model: str, rows: pl.DataFrame, *, seed: int) -> tuple[dict[str, pl.DataFrame], tuple[str, ...]]:
    """(tables by name, notes about those that could not be made) for held-back `rows` of `model`; nothing for models without any."""
    makers: Mapping[str, Mapping[str, Callable[..., pl.DataFrame]]] = {
        "ad_score": {"proxy_world": ad_proxy_world, "delivery": ad_delivery},
        "account_health": {"proxy_world": size_proxy_world, "counterfactuals": counterfactual_quality, "frontier": frontier},
    }
    found: dict[str, pl.DataFrame] = {}
    notes = [NO_FRONTIER] if model == "ad_score" else []
    for number, (name, make) in enumerate(makers.get(model, {}).items()):
        try:
            found[name] = make(predictor, rows, rng=np.random.default_rng([seed, 43, number]))
        except SampleError as error:
            notes.append(f"No {name.replace('_', ' ')}: {error}")
    return found, tuple(notes)


def ad_proxy_world(predictor: Any, rows: pl.DataFrame, *, rng: np.random.Generator) -> pl.DataFrame:
    """Per declared attribute: how far scores of ads asked for alone move when the segment is flipped, and when its proxies follow.

    Raises `SampleError` when no attribute can be flipped, or a group has too few ads to say how it moves its proxies."""
    import polars as pl

    from within_pipelines.fairness import ATTRIBUTES, ProxyWorld, declared, flip_effect, flipped
    from within_pipelines.features import CREATIVE_FEATURES

    segments = rows["audience_segment"].to_list() if "audience_segment" in rows.columns else [None] * rows.height
    groups = {name: np.array([declared(s, name) for s in segments], dtype=str) for name in ATTRIBUTES}
    # Stored features would hide the change of the segment.
    plain = rows.drop([c for c in (*CREATIVE_FEATURES.columns, "group_id") if c in rows.columns and c not in AD_PROXIES])
    proxies = [name for name in AD_PROXIES if name in plain.columns]
    flips: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {}
    concerned, told = {}, {}

    def declare(name: str, world: ProxyWorld | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
        def flip(table: pl.DataFrame) -> pl.DataFrame:
            if world is not None:
                table = world.flip(table.with_columns(pl.Series("_group", groups[name]))).drop("_group")
            return table.with_columns(pl.Series("audience_segment", [flipped(s, name) for s in segments], dtype=pl.String))

        return flip

    for name in ATTRIBUTES:
        if len(set(groups[name].tolist()) - {""}) < 2:
            continue
        known = plain.with_columns(pl.Series("_group", groups[name]))
        world = ProxyWorld.fit(known, attribute="_group", becomes=_BECOMES[name], proxies=proxies)
        for how, used in (("declared", None), ("with its proxies", world)):
            flips[f"{name}, {how}"] = declare(name, used)
            concerned[f"{name}, {how}"], told[f"{name}, {how}"] = groups[name] != "", ", ".join(proxies) if used else ""
    effect = flip_effect(predictor.scores, plain, flips, clusters=account_of(rows), concerned=concerned, limit=_NO_LIMIT, rng=rng)
    return _effects(effect, "points of the score, ad asked for alone", told)


def size_proxy_world(predictor: Any, rows: pl.DataFrame, *, rng: np.random.Generator) -> pl.DataFrame:
    """How far the risk of accounts moves when small ones are as noisy and as well known as large ones, and the other way round.

    Raises `SampleError` when the model reads none of these or a half has too few rows."""
    import polars as pl

    from within_pipelines.fairness import ProxyWorld, flip_effect

    told = rows.filter(pl.col("clicks_28").fill_null(0) >= predictor.minimum_clicks)
    proxies = [name for name in SIZE_PROXIES if name in predictor.features]
    if not proxies or told.is_empty():
        raise SampleError(
            f"The model reads none of {', '.join(SIZE_PROXIES)}, or no row has enough clicks; size moves nothing that it sees."
        )
    account = account_of(told)
    known = told.with_columns(pl.Series("_group", tiers_of(account, told["clicks_28"].cast(pl.Float64).to_numpy())))
    world = ProxyWorld.fit(known, attribute="_group", becomes=_BECOMES["account size"], proxies=proxies)
    effect = flip_effect(
        predictor.probability, known, {"account size, with its proxies": world.flip}, clusters=account, limit=_NO_LIMIT, rng=rng
    )
    return _effects(effect, "risk", {"account size, with its proxies": ", ".join(proxies)})


def _effects(effect: FlipEffect, answer: str, proxies: Mapping[str, str]) -> pl.DataFrame:
    import polars as pl

    if not effect.effects:
        raise SampleError("No row declares an attribute with two groups, so none can be flipped.")
    return pl.DataFrame(
        [
            {
                "flip": name,
                "answer": answer,
                "mean_change": e.value,
                "low": e.low,
                "high": e.high,
                "accounts": e.n,
                "proxies": proxies[name],
            }
            for name, e in effect.effects.items()
        ]
    )


def ad_delivery(predictor: Any, rows: pl.DataFrame, *, rng: np.random.Generator) -> pl.DataFrame:
    """Per declared group: its share of impressions and of spend over its share of ads, with intervals over accounts; 1 is parity.

    What platforms and budgets did with these ads, whatever the model says of them. Spend counts as a share of its currency's, because
    currencies do not add up. Raises `SampleError` when no attribute has ads of two groups, or all are of one account."""
    import polars as pl

    from within_pipelines.fairness import ATTRIBUTES, declared, exposure_gaps

    segments = rows["audience_segment"].to_list() if "audience_segment" in rows.columns else [None] * rows.height
    account = account_of(rows)
    exposures: dict[str, Floats] = {}
    if "impressions" in rows.columns:
        exposures["impressions"] = rows["impressions"].cast(pl.Float64).fill_null(0.0).to_numpy()
    if {"spend", "currency"} <= set(rows.columns):
        spent = pl.col("spend").cast(pl.Float64).fill_null(0.0)
        total = spent.sum().over(pl.col("currency").fill_null(""))
        exposures["spend"] = rows.select(share=pl.when(total > 0).then(spent / total).otherwise(0.0))["share"].to_numpy()
    found = []
    for name in ATTRIBUTES:
        group = np.array([declared(s, name) for s in segments], dtype=str)
        known = group != ""
        if len(set(group[known].tolist())) < 2 or len(set(account[known].tolist())) < 2:
            continue
        for what, exposure in exposures.items():
            if exposure[known].sum() <= 0:
                continue
            gaps = exposure_gaps(exposure[known], group[known], clusters=account[known], rng=rng)
            found += [
                {
                    "attribute": name, "group": one, "of": what, "ads": int((group == one).sum()), "over_share_of_ads": gap.value,
                    "low": gap.low, "high": gap.high, "accounts": gap.n,
                }
                for one, gap in gaps.items()
            ]  # fmt: skip
    if not found:
        raise SampleError("No attribute is declared with ads of two groups in two accounts, so delivery cannot be compared.")
    return pl.DataFrame(found)


def counterfactual_quality(predictor: Any, rows: pl.DataFrame, *, rng: np.random.Generator) -> pl.DataFrame:
    """How good the nearest counterfactuals of warned accounts are: what would have to differ, among what an advertiser moves in a week, for
    them not to be among the riskiest fifth.

    Inputs are moved in the model's own terms, one by one: an explanation of the model, no promise about the world. Raises `SampleError`
    when nobody is warned, or rows or movable inputs are too few."""
    import polars as pl

    from within_pipelines.fairness import CounterfactualSearch, Numeric

    movable = [name for name in _MOVABLE if name in predictor.features]
    told = rows.filter(pl.col("clicks_28").fill_null(0) >= predictor.minimum_clicks).drop_nulls(movable)
    if not movable or told.height < 20:
        raise SampleError(
            f"{told.height} rows with known {', '.join(movable) or 'movable inputs'}; at least 20 rows and one input are needed."
        )
    risk = np.asarray(predictor.probability(told), dtype=np.float64)
    cut = float(np.quantile(risk, 1 - WARNED_SHARE))
    table = told.select(*predictor.features)
    background = table[np.sort(rng.permutation(table.height)[:_MOST_BACKGROUND])]
    # One case per account: days of one account ask the same.
    warned = (
        told.with_row_index("_row")
        .filter(pl.Series(risk >= cut))
        .sort("_row")
        .unique(["platform", "account_id"], keep="last", maintain_order=True)
    )
    cases = table[warned["_row"].cast(pl.Int64).to_numpy()[:_MOST_CASES]].to_dicts()
    search = CounterfactualSearch(
        lambda asked: np.asarray(predictor.probability(asked)) >= cut,
        background,
        {name: Numeric(low=_end(table, name, min), high=_end(table, name, max)) for name in movable},
        starts=_STARTS,
        halvings=_HALVINGS,
    )
    found = search.quality(cases)
    return pl.DataFrame(
        [
            {
                "decision": f"among the riskiest {WARNED_SHARE:.0%}", "cases": found.cases, "validity": found.validity,
                "proximity": found.proximity,
                "sparsity": found.sparsity, "plausibility": found.plausibility, "seconds_per_case": round(found.seconds_per_case, 3),
                "may_change": ", ".join(movable),
            }
        ]
    )  # fmt: skip


def _end(table: pl.DataFrame, name: str, which: Callable[[Any], float]) -> float:
    return float(which(table[name].to_list()))


def frontier(predictor: Any, rows: pl.DataFrame, *, rng: np.random.Generator) -> pl.DataFrame:
    """Accuracy of "drops or not" against the gap between small and large accounts in who is warned, when risks are post-processed;
    cross-fitted on held-back rows.

    Raises `SampleError` when accounts or outcomes are too few."""
    import polars as pl

    from within_pipelines.fairness import accuracy_gap_frontier

    told = rows.filter((pl.col("clicks_28").fill_null(0) >= predictor.minimum_clicks) & pl.col("degraded").is_not_null())
    if told.height < 20:
        raise SampleError(f"{told.height} test rows are too few to trade accuracy for a gap.")
    account = account_of(told)
    size = tiers_of(account, told["clicks_28"].cast(pl.Float64).to_numpy())
    dropped = told["degraded"].cast(pl.Float64).to_numpy()
    points = accuracy_gap_frontier(predictor.probability(told), dropped, size, clusters=account, rng=rng)
    return pl.DataFrame(
        [
            {
                "method": p.method, "knob": p.knob, "accuracy": p.accuracy.value, "accuracy_low": p.accuracy.low,
                "accuracy_high": p.accuracy.high,
                "gap": p.gap.value, "gap_low": p.gap.low, "gap_high": p.gap.high,
            }
            for p in points
        ]
    )  # fmt: skip
