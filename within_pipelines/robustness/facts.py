"""What a feed gets wrong about an account's newest days: units, currencies, copies, gaps, shifts, noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from within_pipelines.exceptions import SchemaError

COUNTS: tuple[str, ...] = ("impressions", "clicks")
MONEY: tuple[str, ...] = ("spend_micros", "revenue_micros")
MEASURES: tuple[str, ...] = (*COUNTS, *MONEY, "conversions")
_KEY = ("platform", "account_id", "campaign_id", "ad_group_id", "ad_id", "breakdown")
# Days that a fault lasts before somebody looks.
FAULT_DAYS = 3


@dataclass(frozen=True, slots=True)
class FactFault:
    """A named, seeded change of facts (`lake` columns, all grains alike): `apply(facts, day, rng)` spoils the days up to `day`.

    `unchanged` says that nothing was told differently, so that no answer may move at all."""

    name: str
    what: str
    apply: Callable[[pl.DataFrame, date, np.random.Generator], pl.DataFrame]
    unchanged: bool = False


def _newest(day: date, days: int) -> pl.Expr:
    return pl.col("event_date").is_between(day - timedelta(days=days - 1), day)


def _scaled(facts: pl.DataFrame, columns: tuple[str, ...], factor: float, where: pl.Expr) -> pl.DataFrame:
    absent = [name for name in columns if name not in facts.columns]
    if absent:
        raise SchemaError(f"The facts lack {absent}, which the fault changes; read them with Lake.history.")
    return facts.with_columns(
        pl.when(where)
        .then((pl.col(name).cast(pl.Float64) * factor).round(6 if name == "conversions" else 0))
        .otherwise(pl.col(name))
        .cast(facts.schema[name])
        for name in columns
    )


def unit_of_money(factor: float, name: str, *, days: int = FAULT_DAYS) -> FactFault:
    """Spend and revenue of the newest days in another unit: 100 for cents, 1e6 for micros, 5.4 for another currency under the old label."""
    return FactFault(name, f"money x{factor:g}", lambda facts, day, rng: _scaled(facts, MONEY, factor, _newest(day, days)))


def other_currency(*, days: int = FAULT_DAYS) -> FactFault:
    """The newest days come labelled with another currency, amounts as they were."""

    def apply(facts: pl.DataFrame, day: date, rng: np.random.Generator) -> pl.DataFrame:
        other = pl.when(pl.col("currency") == "EUR").then(pl.lit("USD")).otherwise(pl.lit("EUR"))
        return facts.with_columns(currency=pl.when(_newest(day, days)).then(other).otherwise("currency"))

    return FactFault("currency label", "another currency code", apply)


def copied_days(*, days: int = FAULT_DAYS) -> FactFault:
    """A stale export: the newest days repeat the numbers of the day before them, row by row."""

    def apply(facts: pl.DataFrame, day: date, rng: np.random.Generator) -> pl.DataFrame:
        present = [name for name in MEASURES if name in facts.columns]
        source = facts.filter(pl.col("event_date") == day - timedelta(days=days))
        source = source.unique(_KEY, keep="last", maintain_order=True).select(*_KEY, *(pl.col(n).alias(f"_{n}") for n in present))
        joined = facts.join(source, on=list(_KEY), how="left", maintain_order="left")
        there = _newest(day, days) & pl.col(f"_{present[0]}").is_not_null()
        return joined.with_columns(pl.when(there).then(pl.col(f"_{n}")).otherwise(pl.col(n)).alias(n) for n in present).select(
            facts.columns
        )

    return FactFault("stale days", "the numbers of an older day again", apply)


def multiplied_days(factor: int = 2, *, days: int = 1) -> FactFault:
    """Every number of the newest day added up `factor` times."""
    return FactFault("doubled day", f"every number x{factor}", lambda facts, day, rng: _scaled(facts, MEASURES, factor, _newest(day, days)))


def repeated_rows(*, days: int = FAULT_DAYS) -> FactFault:
    """Every row of the newest days a second time under another ad id, as after a join with itself."""

    def apply(facts: pl.DataFrame, day: date, rng: np.random.Generator) -> pl.DataFrame:
        again = facts.filter(_newest(day, days)).with_columns(ad_id=pl.col("ad_id") + "-1")
        return pl.concat([facts, again])

    return FactFault("repeated rows", "rows twice under another ad", apply)


def missing_days(*, days: int = 2) -> FactFault:
    """No rows on the newest days."""
    return FactFault("missing days", "no rows", lambda facts, day, rng: facts.filter(~_newest(day, days)))


def missing_measure(name: str = "conversions", *, days: int = FAULT_DAYS) -> FactFault:
    """A measure that the newest days do not report."""

    def apply(facts: pl.DataFrame, day: date, rng: np.random.Generator) -> pl.DataFrame:
        return facts.with_columns(pl.when(_newest(day, days)).then(None).otherwise(pl.col(name)).alias(name))

    return FactFault(f"no {name}", f"{name} not reported", apply)


def shifted_zone(share: float = 0.1, *, days: int = FAULT_DAYS) -> FactFault:
    """Another time zone: `share` of each of the newest days' numbers is told a day later."""

    def apply(facts: pl.DataFrame, day: date, rng: np.random.Generator) -> pl.DataFrame:
        order = ["event_date", *(name for name in ("as_of", "commit_seq") if name in facts.columns)]
        ordered = facts.with_row_index("_row").sort(*_KEY, *order)
        newest = ordered.unique([*_KEY, "event_date"], keep="last", maintain_order=True)
        before = newest.select(*_KEY, event_date=pl.col("event_date") + pl.duration(days=1), **{f"_{n}": pl.col(n) for n in MEASURES})
        joined = ordered.join(before, on=[*_KEY, "event_date"], how="left", maintain_order="left")
        moved = [
            pl.when(_newest(day, days) & pl.col(n).is_not_null())
            .then((pl.col(n) * (1 - share) + pl.col(f"_{n}").fill_null(0) * share).round(6 if n == "conversions" else 0))
            .otherwise(pl.col(n))
            .cast(facts.schema[n])
            .alias(n)
            for n in MEASURES
        ]
        return joined.with_columns(moved).sort("_row").select(facts.columns)

    return FactFault("time zone", f"{share:.0%} of a day told a day later", apply)


def noisy(scale: float = 0.02, *, days: int = FAULT_DAYS) -> FactFault:
    """Numbers off by a Gaussian of relative deviation `scale`; counts stay whole, clicks within impressions."""

    def apply(facts: pl.DataFrame, day: date, rng: np.random.Generator) -> pl.DataFrame:
        factors = {name: np.maximum(0.0, 1 + scale * rng.standard_normal(facts.height)) for name in MEASURES}
        there = _newest(day, days)
        noised = facts.with_columns(
            pl.when(there)
            .then((pl.col(name).cast(pl.Float64) * pl.Series(factor)).round(6 if name == "conversions" else 0))
            .otherwise(pl.col(name))
            .cast(facts.schema[name])
            .alias(name)
            for name, factor in factors.items()
        )
        within = pl.when(there & (pl.col("clicks") > pl.col("impressions"))).then("impressions").otherwise("clicks")
        return noised.with_columns(clicks=within)

    return FactFault("noise", f"numbers off by {scale:.0%}", apply)


def shuffled() -> FactFault:
    """The same rows in another order."""
    return FactFault("row order", "rows shuffled", lambda facts, day, rng: facts[rng.permutation(facts.height)], unchanged=True)


def fact_faults() -> tuple[FactFault, ...]:
    """Every fault of facts, as the gate of account health and anomalies asks about them."""
    return (
        unit_of_money(100.0, "money x100"),
        unit_of_money(1e6, "money in micros"),
        unit_of_money(5.4, "money in another currency"),
        other_currency(),
        copied_days(),
        multiplied_days(),
        repeated_rows(),
        missing_days(),
        missing_measure(),
        shifted_zone(),
        noisy(),
        shuffled(),
    )
