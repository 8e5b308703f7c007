"""Whole tables: false alarms stay at their stated rate on clustered rows, verdicts do not depend on size, and whatever arrives has a
state."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.monitoring import DriftState, table_drift
from within_pipelines.monitoring.clustered import FEWEST_CLUSTERS, MOST_GROUPS, Question, adjusted_p_values, group_rows, joint_null

FEATURES = [f"f{k}" for k in range(4)]


def window(rng: np.random.Generator, accounts: np.ndarray, rows: np.ndarray | int, level: np.ndarray, icc: float = 0.3) -> pl.DataFrame:
    labels = np.repeat(accounts, rows)
    x = np.sqrt(icc) * level[labels] + np.sqrt(1 - icc) * rng.normal(size=(len(labels), len(FEATURES)))
    return pl.DataFrame(x, schema=FEATURES).with_columns(account=pl.Series(labels))


def alarms(case: str, runs: int, seed: int, shift: float = 0.0) -> float:
    rng = np.random.default_rng(seed)
    raised = 0
    for _ in range(runs):
        level = rng.normal(size=(80, len(FEATURES)))
        old, new, days = {
            "same accounts before and after": (np.arange(30), np.arange(30), (28, 7)),
            "other accounts": (np.arange(30), np.arange(30, 50), (28, 7)),
            "some accounts the same": (np.arange(30), np.arange(20, 40), (28, 7)),
            "accounts of unequal size": (np.arange(30), np.arange(30, 60), (rng.integers(1, 40, 30), rng.integers(1, 40, 30))),
            "independent rows": (np.arange(40), np.arange(40, 80), (1, 1)),
        }[case]
        before, after = window(rng, old, days[0], level), window(rng, new, days[1], level).with_columns(pl.col("f0") + shift)
        found = table_drift(before, after, rng=rng, clusters="account", n_permutations=199, minimum_effect=0.0)
        raised += (found.p_value or 1.0) <= 0.05
    return raised / runs


@pytest.mark.parametrize(
    "case",
    ["same accounts before and after", "other accounts", "some accounts the same", "accounts of unequal size", "independent rows"],
)
def test_false_alarms_of_a_whole_table_stay_at_the_stated_rate(case: str) -> None:
    # 250 runs at .05 have a standard error of .014.
    assert alarms(case, 250, seed=81) <= 0.05 + 2 * 0.014


def test_a_shift_of_half_a_standard_deviation_in_one_feature_is_seen() -> None:
    assert alarms("same accounts before and after", 25, seed=82, shift=0.5) >= 0.9
    assert alarms("other accounts", 25, seed=83, shift=0.8) >= 0.6


def test_taking_clustered_rows_as_independent_would_cry_wolf() -> None:
    rng = np.random.default_rng(84)
    level = rng.normal(size=(80, 4))
    p = []
    for _ in range(40):
        level = rng.normal(size=(80, 4))
        old, new = window(rng, np.arange(20), 30, level), window(rng, np.arange(20, 40), 30, level)
        p.append(table_drift(old, new, rng=rng, features=FEATURES, minimum_effect=0.0).p_value)
    assert np.mean(np.array(p) <= 0.05) > 0.5


@pytest.mark.parametrize("n", [2_000, 200_000])
def test_a_trifle_is_stable_and_a_real_shift_drifts_whatever_the_size(n: int) -> None:
    rng = np.random.default_rng(85)
    before = pl.DataFrame({"trifle": rng.normal(size=n), "real": rng.normal(size=n)})
    after = pl.DataFrame({"trifle": rng.normal(0.06, 1, size=n), "real": rng.normal(0.8, 1, size=n)})
    states = {f.feature: f.state for f in table_drift(before, after, rng=rng).features}
    assert states == {"trifle": DriftState.STABLE, "real": DriftState.DRIFTED}


def test_a_sample_in_which_a_shift_could_hide_is_not_called_calm() -> None:
    rng = np.random.default_rng(86)
    x = pl.DataFrame({"x": rng.normal(size=60)})
    assert table_drift(x.head(30), x.tail(30), rng=rng).state is DriftState.INSUFFICIENT


def test_many_categories_need_many_rows_before_they_are_called_calm() -> None:
    rng = np.random.default_rng(89)
    names = [f"c{k:02}" for k in range(40)]

    def ask(n: int):
        draw = lambda: pl.DataFrame({"kind": rng.choice(names, n)})
        return table_drift(draw(), draw(), rng=rng).features[0]

    few = [found for found in (ask(200) for _ in range(40)) if found.detectable is not None]
    assert {found.state for found in few} <= {DriftState.INSUFFICIENT, DriftState.DRIFTED}
    # What chance gives lies below what is said to be detectable: sqrt(39 / (2 pi 100)) is .249.
    assert {round(found.detectable, 3) for found in few} == {0.498}
    assert max(found.effect for found in few) < 0.498
    assert ask(20_000).state is DriftState.STABLE
    # Two categories are one question, and thousands of them are fifty and the rest.
    two = table_drift(frame(800, 1), frame(800, 2), rng=rng, features=["kind"]).features[0]
    assert two.detectable == pytest.approx(2 * np.sqrt(1 / (2 * np.pi * 400)))
    many = pl.DataFrame({"kind": [f"c{k % 200}" for k in range(2000)]})
    assert table_drift(many, many, rng=rng).features[0].detectable == pytest.approx(2 * np.sqrt(50 / (2 * np.pi * 1000)))


def frame(n: int = 400, seed: int = 87) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {"day": np.arange(n), "account": np.repeat(np.arange(n // 10), 10), "x": rng.normal(size=n), "y": rng.exponential(size=n),
         "kind": rng.choice(["image", "video"], n)}
    )  # fmt: skip


@pytest.mark.parametrize("clusters", [None, "account"])
def test_whatever_arrives_has_a_state_and_a_cause(clusters: str | None) -> None:
    rng = np.random.default_rng(88)
    old, new = frame(seed=1), frame(seed=2)
    ask = lambda current, reference=old, **options: table_drift(
        reference, current, rng=rng, clusters=clusters, features=["x", "y", "kind"], n_permutations=499, **options
    )
    state = lambda report: {f.feature: (f.state.value, f.cause) for f in report.features if f.cause or f.state is DriftState.DRIFTED}
    assert state(ask(new.drop("y"))) == {"y": ("drifted", "dropped")}
    assert state(ask(new.rename({"y": "y_new"}))) == {"y": ("drifted", "renamed to y_new")}
    assert state(ask(new.with_columns(pl.col("x").round(2).cast(pl.String)))) == {"x": ("drifted", "type")}
    assert state(ask(new.with_columns(x=pl.lit(None, dtype=pl.Float64)))) == {"x": ("drifted", "missing")}
    assert state(ask(new.with_columns(x=pl.lit(float("inf"))))) == {"x": ("drifted", "missing")}
    assert state(ask(new.with_columns(kind=pl.lit("reel")))) == {"kind": ("drifted", "values")}
    both = old.with_columns(x=pl.lit(None, dtype=pl.Float64)), new.with_columns(x=pl.lit(None, dtype=pl.Float64))
    assert state(ask(both[1], both[0])) == {}
    constant = old.with_columns(x=pl.lit(3.0)), new.with_columns(x=pl.lit(3.0))
    assert state(ask(constant[1], constant[0])) == {}
    assert state(ask(new.with_columns(x=pl.lit(4.0)), constant[0])) == {"x": ("drifted", "values")}
    assert ask(new.with_columns(kind=pl.when(pl.col("day") < 8).then(pl.lit("reel")).otherwise("kind"))).features[2].appeared == ("reel",)
    assert ask(new.with_columns(kind=pl.lit("image"))).features[2].vanished == ("video",)
    for few in (new.head(0), new.head(1)):
        report = ask(few)
        assert report.state is DriftState.INSUFFICIENT
        assert f"has {few.height} rows" in report.reason
    report = ask(new, reference_version="features/1", current_version="features/2")
    assert (report.state, report.features) == (DriftState.INSUFFICIENT, ())
    assert "schema version features/1" in report.reason
    assert ask(new.with_columns(z=pl.lit(1.0))).added[-1] == "z"


def test_a_day_that_was_delivered_twice_counts_once() -> None:
    old, new = frame(seed=1), frame(seed=2)
    twice = pl.concat([new, new.head(100).with_columns(pl.col("x") + 50)])
    report = table_drift(old, pl.concat([new, new.tail(200)]), rng=np.random.default_rng(1), features=["x"], identity=["day"])
    assert (report.repeated_rows, report.n_current) == (200, 400)
    assert report.drifted == ()
    assert table_drift(old, twice, rng=np.random.default_rng(1), features=["x"], identity=["day"]).drifted == ("x",)  # the later one holds


def test_few_accounts_are_never_enough() -> None:
    old, new = frame(80, 1), frame(80, 2)
    few = lambda f: f.filter(pl.col("account") < FEWEST_CLUSTERS - 1)
    report = table_drift(
        few(old), few(new).with_columns(pl.col("x") + 50), rng=np.random.default_rng(1), clusters="account", features=["x"]
    )
    assert report.state is DriftState.INSUFFICIENT
    assert "Only 7 accounts" in report.reason


def test_many_categories_are_one() -> None:
    rng = np.random.default_rng(3)
    old = pl.DataFrame({"id": [f"c{i}" for i in range(600)]})
    assert table_drift(old, old.sample(fraction=1.0, shuffle=True, seed=1), rng=rng).drifted == ()
    assert len(table_drift(old, pl.DataFrame({"id": ["new"] * 600}), rng=rng).features[0].vanished) == 20


def test_the_table_is_told_what_drifted_first_and_row_order_does_not_matter() -> None:
    old, new = frame(seed=1), frame(seed=2).with_columns(pl.col("y") + 2)
    found = table_drift(old, new, rng=np.random.default_rng(1), features=["x", "y", "kind"])
    assert found.to_frame()["feature"].to_list()[0] == "y"
    shuffled = table_drift(old, new.sample(fraction=1.0, shuffle=True, seed=4), rng=np.random.default_rng(1), features=["x", "y", "kind"])
    assert shuffled == found
    assert table_drift(old, old, rng=np.random.default_rng(1), features=["x", "y", "kind"]).effect == 0.0


def test_what_the_caller_names_wrongly_is_refused() -> None:
    old = frame()
    with pytest.raises(SchemaError, match="no column speed"):
        table_drift(old, old, rng=np.random.default_rng(1), features=["speed"])
    with pytest.raises(SchemaError, match="no cluster column 'client'"):
        table_drift(old, old, rng=np.random.default_rng(1), clusters="client")
    with pytest.raises(SampleError, match="null in 400 rows"):
        table_drift(old, old.with_columns(account=pl.lit(None, dtype=pl.Int64)), rng=np.random.default_rng(1), clusters="account")


def test_many_accounts_are_dealt_into_groups_and_whole_accounts_stay_together() -> None:
    accounts = np.repeat(np.arange(1000), 2)
    groups = group_rows(accounts, accounts, rng=np.random.default_rng(1))
    assert (groups.n_groups, groups.n_clusters) == (MOST_GROUPS, 1000)
    assert all(len(set(groups.codes[np.r_[accounts, accounts] == a])) == 1 for a in range(0, 1000, 97))


def test_adjusted_p_values_count_the_largest_of_all_questions() -> None:
    null = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    raw, adjusted = adjusted_p_values(np.array([2.5, 0.0]), null)
    assert raw.tolist() == [0.5, 1.0]
    assert adjusted.tolist() == [0.5, 1.0]
    with pytest.raises(SampleError, match="no question"):
        joint_null([], rng=np.random.default_rng(1), n_permutations=9)
    asked = Question(np.array([[2.0], [0.0]]), np.array([[0.0], [2.0]]), np.array([2.0, 2.0]), np.array([2.0, 2.0]), False)
    assert asked.observed == 0.0
