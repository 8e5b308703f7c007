"""Ads that share a story or a text are held back together, and a fold depends on nothing but name and seed."""

from __future__ import annotations

import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.ad_score.folds import clusters_of, folds_of


def test_groups_that_share_a_headline_stay_together_and_a_given_cluster_counts_more() -> None:
    rows = pl.DataFrame({"group_id": [f"g{i // 2}" for i in range(40)], "headline": [f"headline {i}" for i in range(40)]})
    tied = rows.with_columns(headline=pl.when(pl.int_range(40).is_in([1, 2])).then(pl.lit(" Same Text")).otherwise("headline"))
    names = clusters_of(tied)
    assert names[:4] == ["g0"] * 4
    assert len(set(names)) == 19
    given = tied.with_columns(cluster_id=pl.when(pl.int_range(40) < 6).then(pl.lit("story")))
    assert clusters_of(given)[:7] == ["g0"] * 6 + ["g3"]


def test_a_group_is_never_split_and_missing_headlines_tie_nothing() -> None:
    rows = pl.DataFrame({"group_id": [f"g{i // 2}" for i in range(40)], "headline": [None] * 20 + [f"own {i}" for i in range(20)]})
    assert clusters_of(rows) == rows["group_id"].to_list()
    by_ad = rows.with_columns(cluster_id=pl.int_range(40).cast(pl.String))
    assert clusters_of(by_ad) == rows["group_id"].to_list()
    with pytest.raises(SampleError, match="cluster_id makes 1 clusters of all groups; at least 5 are needed to hold some back"):
        clusters_of(rows.with_columns(cluster_id=pl.lit("all")))


def test_texts_that_are_used_everywhere_tie_nothing_together() -> None:
    headlines = ["the same" if i % 2 else f"own {i}" for i in range(40)]
    rows = pl.DataFrame({"group_id": [f"g{i // 2}" for i in range(40)], "headline": headlines})
    assert clusters_of(rows) == rows["group_id"].to_list()


def test_a_fold_depends_on_name_and_seed_alone() -> None:
    names = [f"c{i}" for i in range(200)]
    found = dict(zip(names, folds_of(names, seed=7).tolist(), strict=True))
    assert folds_of(names[::-1], seed=7).tolist() == [found[name] for name in names[::-1]]
    assert folds_of(names, seed=8).tolist() != list(found.values())
    assert set(found.values()) == {0, 1, 2, 3, 4}
