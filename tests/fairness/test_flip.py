"""Flipping the attribute finds direct use of it whatever the sample's size, and nothing where it is not used."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import declared, flip_effect, flipped
from within_pipelines.stats import Status

ADS = pl.DataFrame({"segment": ["women 18-44", "men 45+", "broad", None] * 8, "length": range(32)})


def swap(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.Series("segment", [flipped(s, "gender") for s in rows["segment"]]))


def effect(answers, **options):
    return flip_effect(answers, ADS, {"gender": swap}, clusters=range(32), limit=0.05, rng=np.random.default_rng(7), **options)


def test_a_model_that_uses_only_the_attribute_is_found_and_one_that_cannot_see_it_is_not() -> None:
    seen = lambda rows: [float(declared(s, "gender") == "men") for s in rows["segment"]]
    blind = lambda rows: rows["length"].to_numpy() / 100
    assert effect(seen).status is Status.FAILED
    assert "above 0.05" in effect(seen).reason
    found = effect(blind)
    assert found.status is Status.PASSED
    assert found.effects["gender"].high == 0.0


def test_only_rows_that_declare_the_attribute_count() -> None:
    seen = lambda rows: [float(declared(s, "gender") == "men") for s in rows["segment"]]
    concerned = {"gender": [declared(s, "gender") != "" for s in ADS["segment"]]}
    assert effect(seen).effects["gender"].value == pytest.approx(0.5)
    assert effect(seen, concerned=concerned).effects["gender"].value == pytest.approx(1.0)
    nobody = effect(seen, concerned={"gender": [False] * 32})
    assert nobody.status is Status.PASSED
    assert "none can be flipped" in nobody.reason


def test_a_flip_near_the_limit_is_insufficient() -> None:
    rng = np.random.default_rng(3)
    shift = rng.exponential(0.05, 32)
    slight = lambda rows: [s * (declared(g, "gender") == "men") for s, g in zip(shift, rows["segment"], strict=True)]
    concerned = {"gender": [declared(s, "gender") != "" for s in ADS["segment"]]}
    assert effect(slight, concerned=concerned).status is Status.INSUFFICIENT


@pytest.mark.parametrize(
    ("segment", "gender", "age"),
    [
        ("women 45+", "women", "45+"), ("Men 18-44", "men", "under 45"), ("Female | 55\u201364", "women", "45+"), ("broad", "", ""),
        ("women and men", "", ""), ("Mothers 25-34", "women", "under 45"), (None, "", ""), ("management", "", ""), ("18-24, 45-54", "", ""),
    ],
)  # fmt: skip
def test_segments_are_read(segment: str | None, gender: str, age: str) -> None:
    assert declared(segment, "gender") == gender
    assert declared(segment, "age") == age
    other = {"women": "men", "men": "women", "": "", "under 45": "45+", "45+": "under 45"}
    assert declared(flipped(segment, "gender"), "gender") == other[gender]
    assert declared(flipped(segment, "age"), "age") == other[age]
    assert declared(flipped(segment, "gender"), "age") == age


def test_refusals() -> None:
    with pytest.raises(SampleError, match="31 after flipping gender"):
        flip_effect(lambda rows: np.ones(rows.height - (rows["segment"][0] == "men 18-44")), ADS, {"gender": swap}, clusters=range(32),
                    limit=0.1, rng=np.random.default_rng(1))  # fmt: skip
