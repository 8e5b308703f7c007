"""Bias that was planted is found and named; data without any is not accused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.fairness import BiasFinding, BiasReport, detect_bias, proxy_strength


def table(
    rng: np.random.Generator, *, label: float = 0.0, proxy: float = 0.0, missing: float = 0.0, n: int = 300
) -> tuple[pl.DataFrame, np.ndarray]:
    group = rng.choice(["a", "b"], n)
    a = group == "a"
    x = rng.normal(size=n) + proxy * a
    gone = rng.random(n) < 0.1 + missing * a
    y = (rng.random(n) < 0.4 + label * a).astype(float)
    return pl.DataFrame({"y": y, "x": [None if g else v for g, v in zip(gone, x, strict=True)], "z": rng.normal(size=n)}), group


def look(rng: np.random.Generator, **planted: float) -> BiasReport:
    rows, group = table(rng, **planted)
    return detect_bias(
        rows, {"g": group}, clusters=range(rows.height), rng=rng, label="y", features=["x", "z"], reference={"g": {"a": 0.5, "b": 0.5}},
        n_permutations=199, n_resamples=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("planted", "kind", "what"), [({"label": 0.3}, "label", "y"), ({"proxy": 2.0}, "proxy", "x"), ({"missing": 0.4}, "missing", "x")]
)
def test_planted_bias_is_found_and_named(planted: dict[str, float], kind: str, what: str) -> None:
    found = {(f.kind, f.what) for f in look(np.random.default_rng(3), **planted).biased}
    assert (kind, what) in found
    assert {k for k, _ in found} == {kind}


def test_data_without_bias_are_not_accused() -> None:
    rng = np.random.default_rng(4)
    # Thresholds of nothing, so that only chance protects.
    accused = 0
    for _ in range(40):
        rows, group = table(rng, n=120)
        accused += bool(
            detect_bias(
                rows, {"g": group}, clusters=range(120), rng=rng, label="y", features=["x", "z"], n_permutations=199, n_resamples=100,
                thresholds={"label": 1e-9, "missing": 1e-9, "proxy": 1e-9},
            ).biased
        )  # fmt: skip
    assert accused <= 6


def test_a_sample_unlike_its_reference_is_found() -> None:
    rng = np.random.default_rng(5)
    group = rng.choice(["a", "b"], 400, p=[0.8, 0.2])
    rows = pl.DataFrame({"x": rng.normal(size=400)})
    even, true = (
        detect_bias(rows, {"g": group}, clusters=range(400), rng=rng, reference={"g": shares}, n_resamples=100).findings[0]
        for shares in ({"a": 0.5, "b": 0.5}, {"a": 0.8, "b": 0.2})
    )
    assert even.biased
    assert even.size.value == pytest.approx(0.3, abs=0.06)
    assert not true.biased


def test_features_tell_a_group_only_together() -> None:
    rng = np.random.default_rng(6)
    group = rng.choice(["a", "b"], 400)
    shared = rng.normal(0, 3, 400)
    x = np.column_stack([shared, shared + 0.8 * (group == "a") + 0.2 * rng.normal(size=400)])
    rows = pl.DataFrame({"one": x[:, 0], "other": x[:, 1]})
    found = detect_bias(rows, {"g": group}, clusters=range(400), rng=rng, features=["one", "other"], n_resamples=100).biased
    assert [f.what for f in found] == ["all features together"]
    assert proxy_strength(x, group, clusters=range(400)) > 0.8
    assert abs(proxy_strength(rng.normal(size=(400, 2)), group, clusters=range(400))) < 0.15


def test_rows_of_one_account_are_not_independent_evidence() -> None:
    rng = np.random.default_rng(7)
    accused = 0
    for _ in range(30):
        account = np.repeat(np.arange(16), 25)
        rows = pl.DataFrame({"y": rng.normal(size=16)[account]})
        group = np.array(["a", "b"])[rng.permutation(16) % 2][account]
        accused += bool(detect_bias(rows, {"g": group}, clusters=account, rng=rng, label="y", n_permutations=99, n_resamples=100).biased)
    assert accused <= 5


def test_joint_groups_are_looked_at_and_small_ones_named() -> None:
    rng = np.random.default_rng(8)
    one, other = rng.choice(["a", "b"], 400), rng.choice(["x", "y"], 400)
    y = ((one == "a") == (other == "x")).astype(float)
    rows = pl.DataFrame({"y": y})
    found = detect_bias(rows, {"one": one, "other": other}, clusters=range(400), rng=rng, label="y", n_resamples=100).biased
    assert [f.attribute for f in found] == ["one x other"]
    few = detect_bias(rows, {"one": np.where(np.arange(400) < 3, "c", one)}, clusters=range(400), rng=rng, label="y", n_resamples=100)
    assert few.small == ("one: c",)
    assert detect_bias(rows, {"g": ["a"] * 400}, clusters=range(400), rng=rng, label="y").findings == ()


def test_refusals() -> None:
    with pytest.raises(SampleError, match="all of one length"):
        detect_bias(pl.DataFrame({"y": [1.0]}), {"g": ["a", "b"]}, clusters=[1], rng=np.random.default_rng(1))
    with pytest.raises(SampleError, match="non-negative share"):
        detect_bias(
            pl.DataFrame({"y": [1.0] * 40}), {"g": ["a", "b"] * 20}, clusters=range(40), rng=np.random.default_rng(1),
            reference={"g": {"a": -1.0}},
        )  # fmt: skip
    with pytest.raises(SampleError, match="give two groups"):
        proxy_strength([[1.0]] * 9, ["a"] * 9, clusters=range(9))


def test_a_group_that_is_missing_from_the_sample_is_sampling_bias_and_a_small_one_is_none() -> None:
    rng = np.random.default_rng(5)

    def sampled(groups: list[str], shares: dict[str, float]) -> BiasFinding:
        rows = pl.DataFrame({"y": rng.random(len(groups))})
        found = detect_bias(
            rows, {"g": groups}, clusters=range(len(groups)), rng=rng, reference={"g": shares}, n_permutations=499, n_resamples=100
        ).findings
        return next(finding for finding in found if finding.kind == "sampling")

    absent = sampled(["a"] * 250 + ["b"] * 150, {"a": 0.5, "b": 0.3, "c": 0.2})
    assert absent.biased
    assert absent.size.value == pytest.approx(0.2)
    alone = sampled(["m"] * 200, {"m": 0.5, "f": 0.5})
    assert alone.biased
    assert alone.size.value == pytest.approx(0.5)
    small = sampled(["a"] * 392 + ["b"] * 4 + ["c"] * 4, {"a": 0.98, "b": 0.01, "c": 0.01})
    assert not small.biased
    assert small.size.value == pytest.approx(0, abs=1e-9)
