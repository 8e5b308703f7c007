"""A blend is the sum of its parts, and its contributions are theirs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from within_pipelines.prediction.account_health.blend import HealthBlend, fit_blend
from within_pipelines.prediction.account_health.model import open_trees, tree_log_odds

FEATURES = ("log_efficiency_7", "volume_events_28", "log_ctr_7", "log_cpc_7")
ARGUMENTS: dict[str, Any] = {
    "features": FEATURES, "lean_features": ("log_efficiency_7", "volume_events_28"), "threshold": -0.2, "overlap": 1.0, "seed": 3,
    "threads": 1,
}  # fmt: skip


def world(n: int = 1500, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    x[rng.random((n, 4)) < 0.05] = np.nan
    ratio = np.nan_to_num(0.3 * x[:, 0] + 0.2 * x[:, 2]) + 0.3 * rng.standard_normal(n)
    return x, (ratio < -0.2).astype(float), ratio


@pytest.fixture(scope="module")
def blend() -> HealthBlend:
    x, y, ratio = world()
    return fit_blend(x, y, ratio, rich=True, **ARGUMENTS)


def test_the_share_mixes_the_lean_part_with_the_mean_of_all(blend: HealthBlend) -> None:
    x = world(50, 2)[0]
    assert blend.wide is not None
    assert blend.trees is not None
    assert blend.spread is not None
    lean = blend.lean(x[:, :2])
    rich = (lean + blend.wide(x) + tree_log_odds(open_trees(blend.trees), x) + blend.spread.log_odds(x)) / 4
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(blend.with_share(share).log_odds(x), (1 - share) * lean + share * rich, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_contributions_add_up_to_the_log_odds(blend: HealthBlend, share: float) -> None:
    x = world(80, 3)[0]
    mixed = blend.with_share(share)
    np.testing.assert_allclose(mixed.contributions(x).sum(axis=1), mixed.log_odds(x), atol=1e-5)
    if share == 0:
        assert np.abs(mixed.contributions(x)[:, 2:4]).max() == 0


def test_overlapping_labels_pull_every_part_towards_saying_nothing() -> None:
    x, y, ratio = world()
    stiff = fit_blend(x, y, ratio, rich=True, **{**ARGUMENTS, "overlap": 50.0}).with_share(1.0)
    loose = fit_blend(x, y, ratio, rich=True, **ARGUMENTS).with_share(1.0)
    assert stiff.log_odds(x).std() < 0.7 * loose.log_odds(x).std()
    # Fifty copies of each row with fifty-fold penalties are the same rows.
    copies = fit_blend(np.repeat(x, 50, axis=0), np.repeat(y, 50), None, rich=False, **{**ARGUMENTS, "overlap": 50.0})
    once = fit_blend(x, y, None, rich=False, **ARGUMENTS)
    np.testing.assert_allclose(copies.lean.coefficients, once.lean.coefficients, atol=1e-5)


def test_without_log_ratios_there_is_no_scatter_to_speak_of() -> None:
    x, y, _ = world(300)
    for ratio in (None, np.full(300, np.nan)):
        plain = fit_blend(x, y, ratio, rich=True, **ARGUMENTS).with_share(0.5)
        assert (plain.has_band, plain.spread) == (False, None)
        np.testing.assert_allclose(plain.contributions(x).sum(axis=1), plain.log_odds(x), atol=1e-5)


def test_the_unit_of_the_band_grows_where_the_truth_scatters_more() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4000, 4))
    ratio = np.exp(-1 + 0.6 * x[:, 1]) * rng.standard_normal(4000)
    for share in (0.0, 1.0):
        wide = fit_blend(x, (ratio < -0.2).astype(float), ratio, rich=True, share=share, **ARGUMENTS)
        scale = wide.location_and_scale(np.array([[0.0, -1.5, 0, 0], [0.0, 1.5, 0, 0]]))[1]
        assert scale[1] > 1.3 * scale[0] > 0


def test_it_survives_json_exactly(blend: HealthBlend) -> None:
    x = world(60, 4)[0]
    again = HealthBlend.from_dict(json.loads(json.dumps(blend.with_share(0.6).to_dict())), blend.trees)
    np.testing.assert_array_equal(again.log_odds(x), blend.with_share(0.6).log_odds(x))
    np.testing.assert_array_equal(again.location_and_scale(x)[1], blend.with_share(0.6).location_and_scale(x)[1])
