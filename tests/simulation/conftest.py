"""A small agency for the tests of this room."""

from __future__ import annotations

import pytest

from tests.simulation.reading import SMALL, Agency
from within_pipelines.simulation import load_truth, write_agency


@pytest.fixture(scope="session")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Agency:
    """Eight accounts over 130 days, the last 60 as daily exports."""
    landing = tmp_path_factory.mktemp("agency") / "landing"
    summary = write_agency(landing, SMALL)
    return Agency(landing, summary, load_truth(summary.truth_path))
