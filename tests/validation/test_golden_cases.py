"""The shipped cases are what the code makes of the frozen samples, and they can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from within_pipelines.validation import Part, ask_cases, load_golden_set
from within_pipelines.validation.golden_cases import main, shipped_set

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden"


def test_the_shipped_file_is_made_by_this_code(tmp_path: Path) -> None:
    made = shipped_set(GOLDEN)
    (shipped,) = GOLDEN.glob("golden-set-1-*.json")
    assert shipped.read_bytes() == made.to_json().encode()
    assert load_golden_set(GOLDEN).version == made.version
    with pytest.raises(SystemExit, match="usage"):
        main([])


def test_every_model_has_hard_cases_in_several_slices() -> None:
    cases = load_golden_set(GOLDEN).cases
    for model in ("ad_score", "account_health", "anomaly"):
        assert len({case.slice for case in cases if case.model == model and case.part is Part.HARD}) >= 2


def test_a_model_that_sees_nothing_meets_no_case_that_tells_days_or_accounts_apart() -> None:
    cases = load_golden_set(GOLDEN).of("anomaly") + load_golden_set(GOLDEN).of("account_health")
    for constant in (0.0, 0.5, 1.0):
        met = {result.case.id: result.met for result in ask_cases(lambda rows, c=constant: np.full(6, c), cases)}
        assert not (met["series-a-spend-70"] and met["series-b-clicks-65"])
        assert not met["account-declining"]
