"""Equal specs give equal bytes; a day added later is the day of a longer history; nothing is ever half there."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.simulation.reading import END, SMALL, Agency, read_rows
from within_pipelines.exceptions import SettingsError
from within_pipelines.simulation import AgencySpec, LandingNotEmptyError, load_truth, write_agency, write_next_day
from within_pipelines.simulation.account import GERMAN_ACCOUNT

TINY = AgencySpec(end=END, accounts=3, days=40, daily_days=30)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_specs_give_equal_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_agency(tmp_path / name / "landing", TINY)
    write_agency(tmp_path / "three" / "landing", replace(TINY, seed=8))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert not set(tree(tmp_path / "one").values()) & set(tree(tmp_path / "three").values())


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    write_agency(tmp_path / "here" / "landing", TINY)
    code = (
        "from datetime import date; from pathlib import Path\n"
        "from within_pipelines.simulation import AgencySpec, write_agency\n"
        f"spec = AgencySpec(end=date({END.year}, {END.month}, {END.day}), accounts=3, days=40, daily_days=30)\n"
        f"write_agency(Path({str(tmp_path / 'there' / 'landing')!r}), spec)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "99", "PYTHONPATH": ":".join(sys.path)})
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


def test_more_accounts_do_not_change_the_first_ones(tmp_path: Path, agency: Agency) -> None:
    write_agency(tmp_path / "landing", replace(SMALL, accounts=1))
    account = agency.truth.accounts[0]
    folder = Path(account.platform) / account.account_id
    assert tree(tmp_path / "landing" / folder) == tree(agency.landing / folder)


@pytest.mark.parametrize("days", [40, 57])  # the added day falls inside a block of drawn days, and opens a new one
def test_days_added_later_equal_the_days_of_a_longer_history(tmp_path: Path, days: int) -> None:
    spec = replace(TINY, days=days, end=TINY.first_day + timedelta(days=days - 1))
    short, longer = tmp_path / "short" / "landing", tmp_path / "long" / "landing"
    first = write_agency(short, spec)
    added = [write_next_day(short, first.truth_path) for _ in range(2)]
    write_agency(longer, replace(spec, days=days + 2, end=spec.end + timedelta(days=2)))
    stamp = f"_asof_{spec.end + timedelta(days=3):%Y%m%d}T"
    new = {name: sha for name, sha in tree(short).items() if stamp in name and "creatives" not in name}
    want = {name: sha for name, sha in tree(longer).items() if stamp in name}
    assert len(new) >= 4  # three accounts, one of them also by age and gender
    assert new == want
    assert added[1].last_day == added[1].first_day == spec.end + timedelta(days=2)
    assert added[1].files >= 4
    assert added[1].rows > 0
    truth, long_truth = load_truth(first.truth_path), load_truth(longer.parent / "truth.json")
    assert truth.last_day == long_truth.last_day
    assert (truth.incidents, truth.degraded, truth.drift_date) == (
        long_truth.incidents,
        long_truth.degraded,
        long_truth.drift_date,
    )


def test_a_day_added_twice_after_a_kill_is_the_same_day(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    truth_path = write_agency(landing, TINY).truth_path
    before = truth_path.read_bytes()
    write_next_day(landing, truth_path)
    after = tree(tmp_path)
    truth_path.write_bytes(before)  # as if killed before the truth moved on
    write_next_day(landing, truth_path)
    assert tree(tmp_path) == after


def test_every_new_ad_of_an_added_day_comes_with_its_text(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    truth_path = write_agency(landing, replace(TINY, accounts=6)).truth_path
    for _ in range(4):
        write_next_day(landing, truth_path)
    new_texts = 0
    for folder in landing.glob("*/*"):
        texts = "".join(path.read_bytes().decode("utf-8-sig") for path in sorted(folder.glob("*creatives*")))
        new_texts += len(list(folder.glob("*creatives_asof*")))
        for path in folder.glob("*[0-9]_asof_*.csv"):
            german = folder.name == load_truth(truth_path).accounts[GERMAN_ACCOUNT].account_id
            assert {row.ad for row in read_rows(path, german=german)} - set(re.findall(r"\d{10,}", texts)) <= STRAY
    assert new_texts > 0


STRAY = {"700000109999"}  # the ad of the rows that are bad on purpose


def test_the_layout_is_platform_account_file(agency: Agency) -> None:
    accounts = yaml.safe_load((agency.landing / "accounts.yaml").read_text(encoding="utf-8"))
    assert sorted(accounts) == sorted(a.account_id for a in agency.truth.accounts)
    for index, account in enumerate(agency.truth.accounts):
        assert accounts[account.account_id] == {
            "currency": account.currency,
            "timezone": account.timezone,
            "name": account.name,
        }
        assert len(agency.files(index, "*_backfill.csv")) == len(agency.files(index, "*_creatives.csv")) == 1
        daily = [path.name for path in agency.files(index, f"{account.platform}_{account.account_id}_asof_*.csv")]
        assert len(daily) == 60
        for name in daily:
            stamp = re.fullmatch(r".*_asof_(\d{8})T(\d\d)(\d\d)00Z\.csv", name)
            assert stamp is not None
            assert 5 <= int(stamp[2]) < 10
        last = END + timedelta(days=1)
        assert f"_asof_{last:%Y%m%d}T" in daily[-1]
    files = list(agency.landing.rglob("*.csv"))
    assert len(files) == agency.summary.files
    assert agency.summary.accounts == 8


def test_rows_are_counted_as_they_are_in_the_files(agency: Agency) -> None:
    rows = 0
    for index in range(8):
        for path in agency.files(index, "*.csv"):
            if "creatives" in path.name:
                rows += len([line for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.count(",") >= 8]) - 1
            else:
                rows += len(read_rows(path, german=index == GERMAN_ACCOUNT))
    assert rows == agency.summary.rows


def test_rows_grow_in_proportion_to_days_and_accounts(tmp_path: Path) -> None:
    def rows(accounts: int, days: int) -> int:
        spec = AgencySpec(end=END, daily_days=0, accounts=accounts, days=days)
        return write_agency(tmp_path / f"{accounts}_{days}" / "landing", spec).rows

    # By differences, since the breakdown files of three accounts have a fixed size.
    by_days = np.diff([rows(8, days) for days in (60, 120, 180)])
    assert by_days[1] / by_days[0] == pytest.approx(1.0, rel=0.1)
    by_accounts = np.diff([rows(accounts, 60) for accounts in (12, 24, 36)])
    assert by_accounts[1] / by_accounts[0] == pytest.approx(1.0, rel=0.25)


def test_a_history_of_daily_exports_alone_and_of_backfill_alone(tmp_path: Path) -> None:
    daily = write_agency(tmp_path / "daily" / "landing", AgencySpec(end=END, accounts=1, days=20, daily_days=20))
    assert daily.files == 21
    assert not list(tmp_path.rglob("*backfill*"))
    alone = write_agency(tmp_path / "alone" / "landing", AgencySpec(end=END, accounts=1, days=20, daily_days=0))
    assert alone.files == 2
    write_next_day(tmp_path / "alone" / "landing", alone.truth_path)
    new = next(path for path in tmp_path.rglob("alone/**/*_asof_*") if "creatives" not in path.name)
    assert {row.day for row in read_rows(new)} == {(END + timedelta(days=1)).isoformat()}


def test_progress_is_told_per_account(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_agency(tmp_path / "landing", TINY, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "my_export.csv").write_text("mine")
    with pytest.raises(LandingNotEmptyError, match=r"already holds my_export\.csv; .*folder of its own"):
        write_agency(landing, TINY)
    assert [path.name for path in tmp_path.rglob("*")] == ["landing", "my_export.csv"]


def test_an_empty_folder_and_hidden_files_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "one" / "landing").mkdir(parents=True)
    write_agency(tmp_path / "one" / "landing", TINY)
    (tmp_path / "two" / "landing").mkdir(parents=True)
    (tmp_path / "two" / "landing" / ".gitkeep").touch()
    write_agency(tmp_path / "two" / "landing", TINY)
    assert (tmp_path / "two" / "landing" / ".gitkeep").exists()
    (tmp_path / "two" / "landing" / ".gitkeep").unlink()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_failure_on_the_way_leaves_nothing_and_a_rerun_is_whole(tmp_path: Path) -> None:
    def stop(done: int, of: int) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_agency(tmp_path / "landing", TINY, progress=stop)
    assert list(tmp_path.iterdir()) == []
    leftover = tmp_path / ".within-tmp-landing" / "google_ads"  # what a killed process leaves
    leftover.mkdir(parents=True)
    (leftover / "half.csv").write_text("half")
    write_agency(tmp_path / "landing", TINY)
    assert not list(tmp_path.rglob("half.csv"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["landing", "truth.json"]


def test_a_killed_run_leaves_no_half_agency(tmp_path: Path) -> None:
    write_agency(tmp_path / "whole" / "landing", replace(TINY, accounts=12))
    whole = tree(tmp_path / "whole")
    killed = tmp_path / "killed" / "landing"
    code = (
        "import os; from datetime import date; from pathlib import Path\n"
        "from within_pipelines.simulation import AgencySpec, write_agency\n"
        f"spec = AgencySpec(end=date({END.year}, {END.month}, {END.day}), accounts=12, days=40, daily_days=30)\n"
        f"write_agency(Path({str(killed)!r}), spec, progress=lambda done, of: os.kill(os.getpid(), 9) if done == MOMENT else None)"
    )
    for moment in (1, 7, 12):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("MOMENT", str(moment))], check=False, env={"PYTHONPATH": ":".join(sys.path)}
        )
        assert done.returncode == -9
        assert not killed.exists()
    write_agency(killed, replace(TINY, accounts=12))
    assert tree(tmp_path / "killed") == whole


def test_an_interrupted_move_is_finished_by_the_same_call(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    write_agency(landing, TINY)
    whole = tree(tmp_path)
    (landing / "accounts.yaml").unlink()
    write_agency(landing, TINY)
    assert tree(tmp_path) == whole
    next(landing.rglob("*_backfill.csv")).unlink()
    with pytest.raises(LandingNotEmptyError, match=r"_backfill\.csv is missing"):
        write_agency(landing, TINY)
    with pytest.raises(LandingNotEmptyError, match="next-day"):
        write_agency(landing, replace(TINY, seed=9))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"accounts": 0}, "0 accounts"),
        ({"daily_days": 41}, "daily_days is 41; give 0 to 40"),
        ({"daily_days": 5}, "below the 14 days"),
        ({"seed": -1}, "seed is -1"),
        ({"drift_strength": -0.5}, "drift_strength is -0.5"),
        ({"drift_strength": float("nan")}, "drift_strength is nan"),
    ],
)
def test_an_impossible_size_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        replace(TINY, **change)
