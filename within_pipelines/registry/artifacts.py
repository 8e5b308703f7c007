"""Where artifacts lie: one folder per content hash, complete or absent."""

from __future__ import annotations

import shutil
from pathlib import Path

from within_pipelines.exceptions import ArtifactError
from within_pipelines.registry.version import ModelVersion


class ArtifactStore:
    """Folders `root/<model>/<model_sha256>`; a folder that exists is complete because it is renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, model: str, folder: Path) -> str:
        """Move a freshly written artifact folder (on the same file system) into the store; returns its path relative to the root.

        Raises `ArtifactError` when the folder is not a complete artifact."""
        from within_pipelines.prediction import read_artifact

        sha256 = read_artifact(folder).model_sha256
        target = self.root / model / sha256
        if target.is_dir() and not _holds(target, sha256):
            # What lies there was damaged after it was written; the fresh copy has the hash that the folder is named by.
            shutil.rmtree(target)
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.replace(target)
        return f"{model}/{sha256}"

    def folder(self, version: ModelVersion) -> Path:
        """The artifact folder of a version.

        Raises `ArtifactError` when the stored path leaves the artifact root or the folder is missing."""
        folder = (self.root / version.artifact).resolve()
        if not folder.is_relative_to(self.root.resolve()):
            raise ArtifactError(f"The artifact path {version.artifact!r} of {version.model} v{version.version} leaves {self.root}.")
        if not folder.is_dir():
            raise ArtifactError(f"The artifact of {version.model} v{version.version} is missing at {folder}; train it again or restore it.")
        return folder

    def verify(self, version: ModelVersion) -> bool:
        """Whether the artifact is there and is, hash by hash, what was registered."""
        try:
            folder = self.folder(version)
        except ArtifactError:
            return False
        return _holds(folder, version.model_sha256)


def _holds(folder: Path, model_sha256: str) -> bool:
    from within_pipelines.prediction import read_artifact

    try:
        return read_artifact(folder).model_sha256 == model_sha256
    except ArtifactError:
        return False
