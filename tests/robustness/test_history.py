"""Laws of faults in what is known of the past."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.robustness import history_faults, stability_report
from within_pipelines.stats import Status

COLUMNS = ("impressions_before", "clicks_before", "ctr_before")
FAULTS = {fault.name: fault for fault in history_faults(COLUMNS, order="day", within="group")}


def ads(n: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    shown = rng.integers(100, 9000, n)
    clicks = rng.binomial(shown, 0.04)
    group = np.arange(n) // 5
    return pl.DataFrame({"day": rng.permutation(n), "group": group, "impressions_before": shown, "clicks_before": clicks,
                         "ctr_before": clicks / shown})  # fmt: skip


def test_noise_keeps_whole_counts_clicks_within_impressions_and_is_as_large_as_stated() -> None:
    rows = ads().with_columns(clicks_before="impressions_before")
    told = FAULTS["history noise"].apply(rows, np.random.default_rng(1)).rows
    assert told.schema == rows.schema
    assert (told["clicks_before"] <= told["impressions_before"]).all()
    ratio = (told["ctr_before"] / rows["ctr_before"]).to_numpy()
    assert np.std(ratio) == pytest.approx(0.02, rel=0.15)
    assert np.mean(ratio) == pytest.approx(1, abs=0.005)


def test_units_gaps_and_age() -> None:
    rows, rng = ads(), np.random.default_rng(1)
    for name, factor in (("history x100", 100), ("history in micros", 1e6)):
        told = FAULTS[name].apply(rows, rng).rows
        for column in COLUMNS:
            np.testing.assert_allclose(told[column], rows[column].to_numpy() * factor)
    told = FAULTS["history missing"].apply(rows, rng).rows
    assert {told[column].null_count() for column in COLUMNS} == {30}
    stale = FAULTS["history stale"].apply(rows, rng).rows
    assert stale["day"].to_list() == rows["day"].to_list()
    for group in (0, 17):
        mine = lambda table, group=group: table.filter(pl.col("group") == group).sort("day")["clicks_before"].to_list()
        assert mine(stale) == [None, *mine(rows)[:-1]]


def test_a_model_that_hangs_on_the_last_digit_of_its_past_fails_and_one_that_smooths_it_does_not() -> None:
    rows, faults = ads(), tuple(FAULTS.values())
    smooth = lambda table: 50 + 10 * np.log(table["ctr_before"].fill_null(0.04).to_numpy() / 0.04 + 0.1)
    rough = lambda table: 100.0 * (table["clicks_before"].fill_null(0).to_numpy().astype(int) % 2)
    found = [
        stability_report(model, rows, faults, rng=np.random.default_rng(2), tolerance=5.0, clusters="group", n_resamples=200)
        for model in (smooth, rough)
    ]
    assert [report.verdict(minimum_units=12).status for report in found] == [Status.PASSED, Status.FAILED]
    assert "history noise" in found[1].verdict(minimum_units=12).reason
    noise = found[0].results[0].rank_stability
    assert noise is not None
    assert noise.low > 0.95


def test_refusals() -> None:
    with pytest.raises(SchemaError, match="lacks ctr_before"):
        FAULTS["history x100"].apply(ads().drop("ctr_before"), np.random.default_rng(1))
    with pytest.raises(SchemaError, match="not numeric: ctr_before"):
        FAULTS["history noise"].apply(ads().with_columns(ctr_before=pl.lit("?")), np.random.default_rng(1))
