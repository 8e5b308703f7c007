"""Where an unfitted predictor finds the model that serves. The package face wires the registry in; nothing here knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from within_pipelines.exceptions import NotFittedError


class ChampionSource(Protocol):
    """Finds the artifact of the model that serves."""

    def artifact_folder(self, model: str) -> Path | None:
        """Folder of the champion's artifact, or None when there is no champion."""


_source: ChampionSource | None = None


def set_champion_source(source: ChampionSource | None) -> None:
    """Say where champions come from; None forgets it."""
    global _source
    _source = source


def champion_folder(model: str) -> Path:
    """Folder of the champion's artifact.

    Raises `NotFittedError` when there is none."""
    folder = None if _source is None else _source.artifact_folder(model)
    if folder is None:
        raise NotFittedError(
            f"This {model} predictor is not fitted and no champion is registered; call fit(), or train one with `within run`."
        )
    return folder
