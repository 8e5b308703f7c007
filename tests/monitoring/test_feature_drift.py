"""Laws of drift over the features of a table."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.monitoring import DriftState, feature_drift


def table(rng: np.random.Generator, n_accounts: int, days: int, n_features: int = 6, *, level: np.ndarray | None = None) -> pl.DataFrame:
    labels = np.repeat(np.arange(n_accounts), days)
    own = rng.normal(size=(n_accounts, n_features)) if level is None else level
    window = rng.normal(scale=0.5, size=(n_accounts, n_features))
    values = (own + window)[labels] + rng.normal(scale=0.3, size=(len(labels), n_features))
    return pl.DataFrame({"account_id": [f"a{i}" for i in labels], **{f"f{j}": values[:, j] for j in range(n_features)}})


def test_false_alarms_over_a_table_of_clustered_rows_stay_nominal() -> None:
    # 120 pairs of windows: share of tables with any drifted feature <= .05 + three standard errors (.06).
    rng = np.random.default_rng(31)
    alarms = 0
    for _ in range(120):
        level = rng.normal(size=(30, 6))
        report = feature_drift(
            table(rng, 30, 20, level=level), table(rng, 30, 7, level=level), clusters="account_id", rng=rng, minimum_effect=0.0
        )
        alarms += bool(report.drifted)
    assert alarms / 120 <= 0.11


def test_the_feature_that_moved_is_found_and_named_first() -> None:
    rng = np.random.default_rng(32)
    hits = clean = 0
    for _ in range(30):
        level = rng.normal(size=(40, 6))
        before, after = table(rng, 40, 14, level=level), table(rng, 40, 7, level=level)
        report = feature_drift(before, after.with_columns(pl.col("f2") + 1.0), clusters="account_id", rng=rng)
        hits += "f2" in report.drifted[:1]
        clean += report.drifted == ("f2",)
    assert hits >= 28
    assert clean >= 25


def test_equal_tables_never_drift_and_50_sigma_always_do() -> None:
    rng = np.random.default_rng(33)
    before = table(rng, 20, 40)
    for clusters in (None, "account_id"):
        same = feature_drift(before, before.sample(fraction=1, shuffle=True, seed=1), clusters=clusters, rng=rng)
        assert same.drifted == ()
        moved = feature_drift(before, before.with_columns(pl.col("^f.$") + 500), clusters=clusters, rng=rng)
        assert len(moved.drifted) == 6
        assert moved.state is DriftState.DRIFTED
    assert feature_drift(before, before, rng=rng).state is DriftState.STABLE


def test_values_that_go_missing_are_drift_of_their_own() -> None:
    rng = np.random.default_rng(34)
    before = table(rng, 20, 40)
    gone = before.with_columns(
        f1=pl.when(pl.int_range(pl.len()) % 2 == 0).then(None).otherwise("f1"),
        f3=pl.lit(None, dtype=pl.Float64),
        f4=pl.lit(float("nan")),
    )
    report = feature_drift(before, gone, clusters="account_id", rng=rng)
    by_name = {feature.feature: feature for feature in report.features}
    assert set(report.drifted) == {"f1", "f3", "f4"}
    assert by_name["f1"].cause == "missing"
    assert (by_name["f1"].missing_reference, by_name["f1"].missing_current) == (0.0, 0.5)
    assert by_name["f3"].distance is None
    both_gone = feature_drift(gone, gone, rng=rng)
    assert both_gone.features[3].state is DriftState.STABLE


def test_a_constant_feature_is_stable_and_the_report_is_a_table() -> None:
    rng = np.random.default_rng(35)
    before = table(rng, 20, 40).with_columns(c=pl.lit(1))
    report = feature_drift(before, before, features=["c", "f1"], rng=rng)
    frame = report.to_frame()
    assert frame["feature"].to_list() == ["c", "f1"]
    assert frame["state"].to_list() == ["stable", "stable"]
    assert frame["distance"].to_list() == [0.0, 0.0]


def test_few_accounts_or_few_rows_are_insufficient() -> None:
    rng = np.random.default_rng(36)
    before = table(rng, 5, 200)
    report = feature_drift(before, before.with_columns(pl.col("^f.$") + 500), clusters="account_id", rng=rng)
    assert report.state is DriftState.INSUFFICIENT
    small = before.head(10)
    assert feature_drift(small, small, rng=rng).state is DriftState.INSUFFICIENT


def test_equal_seeds_give_equal_reports() -> None:
    before = table(np.random.default_rng(1), 12, 10)
    reports = [feature_drift(before, before, clusters="account_id", rng=np.random.default_rng(2)) for _ in range(2)]
    assert reports[0] == reports[1]


def test_refusals_name_the_columns() -> None:
    rng = np.random.default_rng(1)
    good = table(rng, 10, 5)
    with pytest.raises(SchemaError, match="current window has no column f5"):
        feature_drift(good, good.drop("f5"), rng=rng)
    with pytest.raises(SchemaError, match="account_id of the reference window are not numeric"):
        feature_drift(good, good, features=["account_id"], rng=rng)
    with pytest.raises(SchemaError, match="no numeric columns"):
        feature_drift(good.select("account_id"), good, rng=rng)
    with pytest.raises(SampleError, match="current window has no rows"):
        feature_drift(good, good.clear(), rng=rng)
    with pytest.raises(SampleError, match="null in 50 rows"):
        feature_drift(good.with_columns(account_id=pl.lit(None, dtype=pl.String)), good, clusters="account_id", rng=rng)
