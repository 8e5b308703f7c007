"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Folder of the real public ad data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("WITHIN_PUBLIC_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"public ad data is not at {folder}; set WITHIN_PUBLIC_DATA to its folder")
    return folder
