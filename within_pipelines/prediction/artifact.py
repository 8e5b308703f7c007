"""A model on disk: plain files and a manifest with the hash of each. Nothing in it can run."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from within_pipelines.exceptions import ArtifactError
from within_pipelines.files import TEMPORARY_PREFIX, sha256_of

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact: `model_sha256` is the hash of its manifest, which lists the hash of every file."""

    folder: Path
    model_sha256: str
    manifest: Mapping[str, Any]

    def text(self, name: str) -> str:
        """Content of a text file of the artifact."""
        return self.bytes(name).decode("utf-8")

    def bytes(self, name: str) -> bytes:
        """Content of a file of the artifact.

        Raises `ArtifactError` for a name that the manifest does not list."""
        if name not in self.manifest["files"]:
            raise ArtifactError(f"The artifact {self.folder} holds no file {name}; it holds {', '.join(sorted(self.manifest['files']))}.")
        return (self.folder / name).read_bytes()


def write_artifact(folder: str | Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> str:
    """Write `files` and their manifest to `folder`, complete or not at all; returns `model_sha256`.

    The same files and manifest give the same hash: nothing in it depends on time, place or order. A folder that already holds exactly
    this artifact is left alone; one that holds another is refused.

    Raises `ArtifactError` when `folder` holds something else."""
    folder = Path(folder)
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    content = json.dumps({**manifest, "format_version": FORMAT_VERSION, "files": listed}, sort_keys=True, indent=1).encode()
    model_sha256 = hashlib.sha256(content).hexdigest()
    if folder.exists():
        if read_artifact(folder).model_sha256 == model_sha256:
            return model_sha256
        raise ArtifactError(f"{folder} already holds another artifact; artifacts are never overwritten, so give a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=TEMPORARY_PREFIX))
    try:
        for name, data in files.items():
            if Path(name).name != name or name == MANIFEST:
                raise ArtifactError(f"{name!r} cannot be a file of an artifact; give a plain file name other than {MANIFEST}.")
            (temporary / name).write_bytes(data)
        (temporary / MANIFEST).write_bytes(content)
        temporary.chmod(0o755)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return model_sha256


def read_artifact(folder: str | Path, *, model: str | None = None) -> Artifact:
    """Open an artifact, of `model` if that is given, after checking the hash of every file.

    Raises `ArtifactError` when the manifest is missing, a file is missing, was added or changed, the format is unknown, or the model is
    another."""
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} holds no {MANIFEST}; give the folder that a predictor's `save` wrote.")
    content = path.read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(content)
        listed: dict[str, str] = dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no manifest: {error}.") from error
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(f"{path} has format {manifest.get('format_version')}; this code reads format {FORMAT_VERSION}.")
    present = {entry.name for entry in folder.iterdir()} - {MANIFEST}
    if present != set(listed):
        raise ArtifactError(f"{folder} differs from its manifest: {', '.join(sorted(present ^ set(listed)))} is missing or was added.")
    changed = [name for name, digest in listed.items() if not (folder / name).is_file() or sha256_of(folder / name) != digest]
    if changed:
        raise ArtifactError(f"{folder} was changed after it was written: {', '.join(sorted(changed))} does not have its listed hash.")
    if model is not None and manifest.get("model") != model:
        raise ArtifactError(f"{folder} holds a {manifest.get('model')} model, not {model}.")
    return Artifact(folder, hashlib.sha256(content).hexdigest(), manifest)


def float_list(values: Any) -> list[float]:
    """Numbers as JSON keeps them: Python floats, so that a round trip through text is exact."""
    return [float(value) for value in values]
