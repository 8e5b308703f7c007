"""A profile stands for the reference: distances to it are off by no more than it says."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.monitoring import DriftState, ReferenceProfile, binned_drift, kolmogorov_smirnov_distance, reference_profile

SHAPES = {
    "even": lambda rng, n: rng.uniform(-3, 3, n),
    "bits": lambda rng, n: np.exp(2 * rng.normal(size=n)) * rng.choice([-1, 1], n),
    "edges": lambda rng, n: rng.choice([0.0, 1.0, 1.0, 7.5], n),
}


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 10_000), shift=st.floats(-1, 1), scale=st.floats(0.5, 2))
@settings(max_examples=15, deadline=None)
def test_the_true_distance_lies_within_the_stated_error(shape: str, seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    # Single precision, as leading bits are: equal numbers then fall into equal bins.
    old, new = SHAPES[shape](rng, 3000).astype(np.float32), (SHAPES[shape](rng, 2000) * scale + shift).astype(np.float32)
    profile = reference_profile(pl.DataFrame({"x": old}))
    assert profile.features[0].binning == shape
    found = binned_drift(profile, pl.DataFrame({"x": new}))[0]
    truth = kolmogorov_smirnov_distance(old, new)
    assert found.distance is not None
    # Even bins take a value on an edge to within rounding: a row in the wrong bin is 1 / n.
    slack = 1 / 2000 + 1 / 3000
    assert found.distance - slack <= truth <= found.distance + found.error + slack
    assert found.error <= max(profile.features[0].largest_bin, 0.6) + slack


@pytest.mark.parametrize(("shape", "most"), [("even", 0.03), ("bits", 0.03)])
def test_the_error_of_a_stable_window_is_about_one_bin(shape: str, most: float) -> None:
    rng = np.random.default_rng(1)
    profile = reference_profile(pl.DataFrame({"x": SHAPES[shape](rng, 20_000)}))
    found = binned_drift(profile, pl.DataFrame({"x": SHAPES[shape](rng, 20_000)}))[0]
    assert found.state is DriftState.STABLE
    assert found.error <= most


def test_a_profile_survives_json_and_refuses_another_format() -> None:
    rng = np.random.default_rng(2)
    frame = pl.DataFrame(
        {"x": rng.normal(size=500), "y": rng.normal(size=500), "kind": ["a", None] * 250, "empty": [None] * 500}
    ).with_columns(pl.col("empty").cast(pl.Float64), z=pl.col("x") * 2)
    profile = reference_profile(frame)
    again = ReferenceProfile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert again == profile
    assert profile.correlated == ("x", "y", "z")
    assert profile.correlations[0][2] == pytest.approx(1.0)
    kind = profile.features[2]
    assert (kind.kind, kind.missing, kind.categories) == ("category", 0.5, ("a",))
    with pytest.raises(SchemaError, match="format 9"):
        ReferenceProfile.from_dict(profile.to_dict() | {"format": 9})


def test_windows_that_cannot_be_compared_are_insufficient_and_empty_ones_refused() -> None:
    frame = pl.DataFrame({"x": np.arange(200.0), "kind": ["a", "b"] * 100})
    profile = reference_profile(frame)
    odd = pl.DataFrame({"x": ["text"] * 9, "kind": [None] * 9}, schema={"x": pl.String, "kind": pl.String})
    assert [s.state for s in binned_drift(profile, odd)] == [DriftState.INSUFFICIENT] * 2
    gone = frame.with_columns(x=pl.lit(float("nan")))
    assert binned_drift(profile, gone)[0].missing_current == 1.0
    with pytest.raises(SampleError, match="no rows"):
        binned_drift(profile, frame.head(0))
    with pytest.raises(SampleError, match="0 rows and 64 bins"):
        reference_profile(frame.head(0))


def test_rare_categories_are_one() -> None:
    frame = pl.DataFrame({"id": [f"c{i % 40}" for i in range(4000)]})
    profile = reference_profile(frame, most_categories=10)
    assert binned_drift(profile, frame)[0].distance == pytest.approx(0.0)
    assert binned_drift(profile, pl.DataFrame({"id": ["other"] * 900}))[0].state is DriftState.DRIFTED
