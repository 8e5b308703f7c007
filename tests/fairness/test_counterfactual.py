"""Counterfactuals change the decision, break no rule, and the audit by flips finds direct use and use through a proxy."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.fairness import Categorical, CounterfactualSearch, Numeric, ProxyWorld, flip_effect
from within_pipelines.stats import Status

SPACE = {
    "spend": Numeric(low=0.0, high=500.0, step=0.01),
    "clicks": Numeric(low=0.0, step=1.0, direction=1),
    "age": Numeric(fixed=True),
    "format": Categorical(("image", "video")),
    "market": Categorical(("DE", "FR"), fixed=True),
}


def known(n: int = 150) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "spend": rng.uniform(0, 300, n).round(2), "clicks": rng.integers(0, 200, n), "age": rng.integers(18, 65, n),
            "format": rng.choice(["image", "video"], n), "market": rng.choice(["DE", "FR"], n),
        }
    )  # fmt: skip


def decide(rows: pl.DataFrame) -> np.ndarray:
    score = rows["spend"].to_numpy() / 100 + rows["clicks"].to_numpy() / 50 + (rows["format"] == "video").to_numpy() * 1.0
    return (score > 3.5).astype(float)


def test_answers_are_valid_and_feasible() -> None:
    rows = known()
    search = CounterfactualSearch(decide, rows, SPACE)
    refused = [row for row in rows.to_dicts() if not decide(pl.DataFrame([row]))[0]][:25]
    for row in refused:
        found = search.find(row)
        assert found.found
        after: dict[str, Any] = {**row, **{name: value for name, (_, value) in found.changes.items()}}
        assert decide(pl.DataFrame([after], schema=rows.schema))[0] == 1
        assert after["age"] == row["age"]
        assert after["market"] == row["market"]
        assert after["clicks"] >= row["clicks"]
        assert isinstance(after["clicks"], int)
        assert 0 <= after["spend"] <= 500
        assert round(after["spend"], 2) == pytest.approx(after["spend"], abs=1e-9)
        assert after["format"] in ("image", "video")
        assert found.distance > 0


def test_answers_are_near_and_sparse() -> None:
    rows = known()
    search = CounterfactualSearch(decide, rows, SPACE)
    refused = [row for row in rows.to_dicts() if not decide(pl.DataFrame([row]))[0]][:20]
    quality = search.quality(refused)
    assert quality.validity == 1.0
    assert quality.sparsity <= 1.6
    assert quality.plausibility < 6
    assert quality.seconds_per_case < 2
    # Not further than the nearest known row with the wanted decision that changes nothing immutable.
    for row in refused[:5]:
        best = min(
            (search._distance(row, {**row, **{n: search._feasible(n, row[n], other[n]) for n in SPACE}})
             for other in rows.to_dicts()
             if decide(pl.DataFrame([{**row, **{n: search._feasible(n, row[n], other[n]) for n in SPACE}}], schema=rows.schema))[0]),
        )  # fmt: skip
        assert search.find(row).distance <= best + 1e-9


def test_a_line_is_reached_at_its_nearest_point() -> None:
    rows = pl.DataFrame({"spend": [float(v) for v in range(0, 100, 5)]})
    search = CounterfactualSearch(lambda t: (t["spend"] > 50).cast(pl.Float64), rows, {"spend": Numeric(low=0, step=0.01)})
    found = search.find({"spend": 20.0})
    assert found.changes["spend"][1] == pytest.approx(50.01, abs=0.02)


def test_what_cannot_be_reached_is_said() -> None:
    rows = known()
    fixed = {name: Numeric(fixed=True) if isinstance(f, Numeric) else Categorical(f.values, fixed=True) for name, f in SPACE.items()}
    search = CounterfactualSearch(decide, rows, fixed)
    row = next(row for row in rows.to_dicts() if not decide(pl.DataFrame([row]))[0])
    assert not search.find(row).found
    assert search.quality([row]).validity == 0.0
    with pytest.raises(SampleError, match="none of DE, FR"):
        search.find({**row, "market": "XX"})
    with pytest.raises(SampleError, match="No row was given"):
        search.quality([])
    with pytest.raises(SchemaError, match="lacks"):
        CounterfactualSearch(decide, rows, {"absent": Numeric()})


def test_a_flip_through_a_declared_proxy_finds_what_a_flip_alone_does_not() -> None:
    rng = np.random.default_rng(4)
    group = rng.choice(["women", "men"], 400)
    rows = pl.DataFrame({"gender": group, "shops": rng.normal(size=400) + 2.0 * (group == "women"), "skill": rng.normal(size=400)})
    becomes = {"women": "men", "men": "women"}
    alone = ProxyWorld.fit(rows, attribute="gender", becomes=becomes)
    through = ProxyWorld.fit(rows, attribute="gender", becomes=becomes, proxies=["shops"])
    models = {
        "attribute": lambda t: (t["gender"] == "men").cast(pl.Float64),
        "proxy": lambda t: 1 / (1 + np.exp(-t["shops"].to_numpy())),
        "blind": lambda t: 1 / (1 + np.exp(-t["skill"].to_numpy())),
    }

    def status(model: str, world: ProxyWorld) -> Status:
        return flip_effect(
            models[model], rows, {"gender": world.flip}, clusters=range(400), limit=0.05, rng=np.random.default_rng(1), n_resamples=200
        ).status  # fmt: skip

    assert {m: status(m, alone) for m in models} == {"attribute": Status.FAILED, "proxy": Status.PASSED, "blind": Status.PASSED}
    assert {m: status(m, through) for m in models} == {"attribute": Status.FAILED, "proxy": Status.FAILED, "blind": Status.PASSED}


def test_flipping_twice_comes_back_and_missing_values_stay() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(["a", "b"], 50)
    rows = pl.DataFrame({"g": group, "x": [None, *(rng.normal(size=99) + 3 * (group[1:] == "a"))]})
    world = ProxyWorld.fit(rows, attribute="g", becomes={"a": "b", "b": "a"}, proxies=["x"])
    once = world.flip(rows)
    assert once["x"].null_count() == 1
    assert once.filter(pl.col("g") == "b")["x"].mean() < 1
    twice = world.flip(once)
    assert twice["g"].to_list() == rows["g"].to_list()
    # But for the few at the ends, where ranks are coarse.
    assert np.quantile(np.abs((twice["x"] - rows["x"]).drop_nulls().to_numpy()), 0.9) < 0.3
    with pytest.raises(SchemaError, match="lack"):
        ProxyWorld.fit(rows, attribute="nobody", becomes={})
    with pytest.raises(SampleError, match="at least 10"):
        ProxyWorld.fit(rows.head(12), attribute="g", becomes={"a": "b"}, proxies=["x"])


def test_a_value_beyond_the_end_that_it_may_only_move_towards_stays() -> None:
    rows = pl.DataFrame({"spend": [600.0, 100.0, 450.0]})
    decide = lambda table: (table["spend"] < 550).cast(pl.Float64)
    found = CounterfactualSearch(decide, rows, {"spend": Numeric(low=0, high=500, direction=1)}).find({"spend": 600.0})
    assert not found.found
