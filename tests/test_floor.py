"""Settings, errors and files: the floor that everything stands on."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from within_pipelines import exceptions
from within_pipelines.exceptions import SampleError, SettingsError, WithinError
from within_pipelines.files import TEMPORARY_PREFIX, atomic_path, remove_temporaries, sha256_of, write_text
from within_pipelines.settings import Settings
from within_pipelines.stats import Estimate, Status, Verdict, judge_at_least


def test_every_error_is_ours_and_a_builtin_too() -> None:
    kinds = [k for _, k in inspect.getmembers(exceptions, inspect.isclass) if issubclass(k, WithinError) and k is not WithinError]
    assert len(kinds) >= 10
    for kind in kinds:
        assert issubclass(kind, (ValueError, LookupError, RuntimeError)), kind


def test_defaults_stay_below_the_home_folder(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for place in (settings.landing, settings.artifacts, Path(settings.lake)):
        assert place.is_relative_to(tmp_path)
    assert settings.database == f"sqlite:///{tmp_path / 'within.db'}"


def test_a_postgres_url_gets_the_driver_that_dagster_speaks(tmp_path: Path) -> None:
    for given in ("postgres://u:p@h/d", "postgresql://u:p@h/d", "postgresql+psycopg2://u:p@h/d"):
        assert Settings(home=tmp_path, database_url=given).database == "postgresql+psycopg2://u:p@h/d"  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="starts with 'mysql'"):
        _ = Settings(home=tmp_path, database_url="mysql://u:p@h/d").database  # type: ignore[arg-type]
    assert "p@h" not in repr(Settings(home=tmp_path, database_url="postgresql://u:p@h/d"))  # type: ignore[arg-type]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    write_text(target, "old")

    def fail_in_the_middle() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_middle()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_the_old_file_and_its_rest_can_be_removed(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    write_text(target, "old")
    code = (
        "import os, pathlib, sys\nfrom within_pipelines.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as t:\n    t.write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == 9
    assert target.read_text() == "old"
    assert len(list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))) == 1
    assert remove_temporaries(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [target]


def test_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "empty", "")
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_verdict_is_frozen_and_keeps_what_it_is_bound_to() -> None:
    verdict = judge_at_least("performance", Estimate(-1.0, -2.0, -0.5, 40), 0.0, minimum_n=10, what="gain")
    assert verdict.status is Status.FAILED
    assert not verdict.passed
    bound = verdict.bind(model_sha256="a", data_version="d", policy_version="p", baseline_sha256="b", golden_set_version="1")
    assert (bound.model_sha256, bound.data_version, bound.policy_version, bound.golden_set_version) == ("a", "d", "p", "1")
    assert isinstance(bound, Verdict)
    with pytest.raises(TypeError):
        bound.sample_sizes["units"] = 1  # type: ignore[index]
    with pytest.raises(SampleError, match="needs finite numbers"):
        judge_at_least("performance", Estimate(float("nan"), 0.0, 1.0, 40), 0.0, minimum_n=10, what="gain")
