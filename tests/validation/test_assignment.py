"""A unit's arm is a fact: the same in every process, never lost when its share grows, independent between experiments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.validation import assign, stable_fraction

UNITS = [f"account-{number}" for number in range(4000)]
HALVES = {"treatment": 0.5, "control": 0.5}


def arms(experiment: str = "headline", shares: dict[str, float] | None = None, key: str = "key") -> list[str]:
    return [assign(unit, experiment=experiment, shares=shares or HALVES, key=key) for unit in UNITS]


def test_two_processes_with_different_hash_seeds_agree() -> None:
    code = (
        "from within_pipelines.validation.assignment import assign\n"
        "print([assign(f'account-{n}', experiment='e', shares={'a': .3, 'b': .7}, key='k') for n in range(50)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "'a'" in outputs.pop()


def test_arms_get_their_shares() -> None:
    found = arms(shares={"a": 0.1, "b": 0.3, "c": 0.6})
    for arm, share in (("a", 0.1), ("b", 0.3), ("c", 0.6)):
        assert found.count(arm) / len(found) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(found)))


def test_who_is_in_the_canary_stays_in_it_as_it_grows() -> None:
    inside: set[str] = set()
    for share in (0.01, 0.05, 0.25, 0.5, 1.0):
        now = {unit for unit in UNITS if assign(unit, experiment="c", shares={"canary": share, "champion": 1 - share}, key="k") == "canary"}
        assert inside <= now
        assert now == {unit for unit in UNITS if stable_fraction(unit, experiment="c", key="k") < share}
        inside = now
    assert inside == set(UNITS)


@pytest.mark.parametrize(("one", "other"), [({"experiment": "a"}, {"experiment": "b"}), ({"key": "a"}, {"key": "b"})])
def test_arms_of_two_experiments_or_keys_are_independent(one: dict[str, str], other: dict[str, str]) -> None:
    first, second = (np.array(arms(**options)) == "treatment" for options in (one, other))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(len(UNITS))


def test_name_and_unit_are_kept_apart() -> None:
    assert stable_fraction("c", experiment="ab", key="k") != stable_fraction("bc", experiment="a", key="k")


def test_long_keys_count_to_their_last_letter() -> None:
    assert stable_fraction("u", experiment="e", key="k" * 100 + "a") != stable_fraction("u", experiment="e", key="k" * 100 + "b")


@pytest.mark.parametrize("shares", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": float("nan"), "b": 1.0}])
def test_shares_that_do_not_sum_to_one_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(SampleError, match="sum to 1"):
        assign("u", experiment="e", shares=shares, key="k")


@pytest.mark.parametrize("empty", ["unit", "experiment", "key"])
def test_empty_names_are_refused(empty: str) -> None:
    named = {"unit": "u", "experiment": "e", "key": "k"} | {empty: ""}
    with pytest.raises(SampleError, match=f"{empty} is empty"):
        stable_fraction(named["unit"], experiment=named["experiment"], key=named["key"])
