"""An artifact is what was written, or it is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction import read_artifact, write_artifact
from within_pipelines.prediction.artifact import MANIFEST, float_list

FILES = {"model.json": b"{}", "trees.ubj": b"\x00\x01"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "a", FILES, {"model": "ad_score"})
    return tmp_path / "a"


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    artifact = read_artifact(folder)
    assert artifact.bytes("trees.ubj") == FILES["trees.ubj"]
    assert artifact.text("model.json") == "{}"
    assert artifact.manifest["model"] == "ad_score"
    assert artifact.manifest["files"]["model.json"] == hashlib.sha256(b"{}").hexdigest()


def test_the_hash_is_that_of_the_manifest_and_depends_on_content_alone(folder: Path, tmp_path: Path) -> None:
    expected = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    other_order = dict(reversed(FILES.items()))
    assert read_artifact(folder).model_sha256 == expected
    assert write_artifact(tmp_path / "elsewhere" / "b", other_order, {"model": "ad_score"}) == expected
    assert write_artifact(tmp_path / "c", FILES, {"model": "ad_score", "level": 0.9}) != expected
    assert write_artifact(tmp_path / "d", {**FILES, "model.json": b"{ }"}, {"model": "ad_score"}) != expected


def test_writing_the_same_again_changes_nothing_and_leaves_nothing_behind(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write_artifact(folder, FILES, {"model": "ad_score"}) == read_artifact(folder).model_sha256
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


def test_another_artifact_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="already holds another artifact; artifacts are never overwritten"):
        write_artifact(folder, FILES, {"model": "account_health"})
    assert read_artifact(folder).manifest["model"] == "ad_score"


@pytest.mark.parametrize("name", ["../outside", "a/b", MANIFEST])
def test_a_name_that_leaves_the_folder_is_refused_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be a file of an artifact"):
        write_artifact(tmp_path / "a", {name: b"x"}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_refused_by_name(folder: Path) -> None:
    (folder / "trees.ubj").write_bytes(b"\x00\x02")
    with pytest.raises(ArtifactError, match=r"changed after it was written: trees\.ubj"):
        read_artifact(folder)


def test_a_missing_and_an_added_file_are_refused_by_name(folder: Path) -> None:
    (folder / "trees.ubj").unlink()
    with pytest.raises(ArtifactError, match=r"trees\.ubj is missing or was added"):
        read_artifact(folder)
    (folder / "trees.ubj").write_bytes(FILES["trees.ubj"])
    (folder / "extra.py").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"extra\.py is missing or was added"):
        read_artifact(folder)


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "trees.ubj").unlink()
    (folder / "trees.ubj").mkdir()
    with pytest.raises(ArtifactError, match=r"trees\.ubj does not have its listed hash"):
        read_artifact(folder)


def test_a_manifest_changed_together_with_its_file_has_another_hash(folder: Path) -> None:
    before = read_artifact(folder).model_sha256
    (folder / "model.json").write_bytes(b"[]")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["model.json"] = hashlib.sha256(b"[]").hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest, sort_keys=True, indent=1))
    assert read_artifact(folder).model_sha256 != before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("no json", "is no manifest"),
        ("[1]", "is no manifest"),
        ("{}", "is no manifest"),
        ('{"files": {}, "format_version": 9}', "format 9"),
    ],
)
def test_a_broken_manifest_is_refused(folder: Path, content: str, told: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match=told):
        read_artifact(folder)


def test_no_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no manifest\.json; give the folder that a predictor's `save` wrote"):
        read_artifact(tmp_path)


def test_a_file_that_the_manifest_does_not_list_cannot_be_read(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no file secret; it holds model\.json, trees\.ubj"):
        read_artifact(folder).bytes("secret")


def test_numbers_survive_json_exactly() -> None:
    values = [0.1, 1 / 3, 1e-300, -2.5]
    assert json.loads(json.dumps(float_list(values))) == values


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    written = write_artifact(str(tmp_path / "text"), FILES, {"model": "ad_score"})
    assert read_artifact(str(tmp_path / "text")).model_sha256 == written == read_artifact(tmp_path / "text").model_sha256
