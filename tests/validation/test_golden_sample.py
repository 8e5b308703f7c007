"""Laws of the gate golden_sample."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from within_pipelines.lake.schema import CREATIVE_COLUMNS, FACT_COLUMNS
from within_pipelines.stats import Status
from within_pipelines.validation import (
    GoldenPredictions,
    GoldenSample,
    GoldenSampleError,
    check_golden,
    load_golden,
    record_golden,
)
from within_pipelines.validation.golden_data import main, write_golden

FOLDER = Path(__file__).resolve().parents[2] / "data" / "golden"
MODELS = ("ad_score", "account_health", "anomaly")


class LengthModel:
    """Scores an ad by the length of its headline."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def __call__(self, rows: pl.DataFrame) -> np.ndarray:
        return rows["headline"].fill_null("").str.len_chars().to_numpy().astype(float) + self.shift


class BrokenError(Exception):
    """What a foreign model raises: no relative of any error that we know."""


def raising(rows: pl.DataFrame) -> np.ndarray:
    raise BrokenError("the model file has gone")


@pytest.fixture(scope="module")
def sample() -> GoldenSample:
    return load_golden(FOLDER, "ad_score")


def test_a_model_that_answers_as_recorded_passes(sample: GoldenSample) -> None:
    recorded = record_golden(LengthModel(), sample)
    verdict = check_golden(LengthModel(), sample, GoldenPredictions.from_json(recorded.to_json()), tolerance=0.0)
    assert verdict.passed
    assert verdict.gate == "golden_sample"
    assert verdict.golden_set_version == sample.version
    assert verdict.sample_sizes == {"rows": 40, "answers": 40}
    assert verdict.estimate is not None
    assert verdict.estimate.value == 0.0


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (raising, "raised BrokenError: the model file has gone"),
        (lambda rows: [float("nan"), *([0.0] * (len(rows) - 1))], "1 of 40 numbers that are not finite"),
        (lambda rows: [float("inf")] * len(rows), "40 of 40 numbers that are not finite"),
        (lambda rows: [0.0] * (len(rows) - 1), r"shape \(39,\), 40 numbers were wanted"),
        (lambda rows: np.zeros((len(rows), 2)), r"shape \(40, 2\)"),
        (lambda rows: 0.5, r"shape \(\)"),
        (lambda rows: None, "NoneType|not finite|shape"),
        (lambda rows: ["good"] * len(rows), "no array of numbers"),
    ],
)
def test_a_broken_model_fails_now_and_when_it_is_recorded(sample: GoldenSample, broken, reason: str) -> None:
    good = record_golden(LengthModel(), sample)
    now = check_golden(broken, sample, good, tolerance=1e9)
    assert now.status is Status.FAILED
    bad = record_golden(broken, sample)
    assert not bad.usable
    later = check_golden(LengthModel(), sample, GoldenPredictions.from_json(bad.to_json()), tolerance=1e9)
    assert later.status is Status.FAILED
    for verdict in (now, later):
        assert re.search(reason, verdict.reason)
        assert verdict.estimate is None


@settings(max_examples=40, deadline=None)
@given(st.floats(-10, 10), st.floats(0, 10))
def test_exactly_the_deviations_beyond_the_tolerance_fail(shift: float, tolerance: float) -> None:
    sample = GoldenSample("m", "1-x", pl.DataFrame({"headline": ["", "", ""]}))
    verdict = check_golden(LengthModel(shift), sample, record_golden(LengthModel(), sample), tolerance=tolerance)
    assert verdict.passed == (abs(shift) <= tolerance)
    assert verdict.status in (Status.PASSED, Status.FAILED)


def test_one_row_that_deviates_fails_and_is_named(sample: GoldenSample) -> None:
    recorded = record_golden(LengthModel(), sample)
    values = list(recorded.values)
    values[17] += 0.5
    verdict = check_golden(LengthModel(), sample, replace(recorded, values=tuple(values)), tolerance=0.1)
    assert verdict.status is Status.FAILED
    assert verdict.evidence["first_beyond"] == [17]
    assert "1 of 40 answers differ" in verdict.reason


def test_a_model_that_answers_at_random_fails(sample: GoldenSample) -> None:
    rng = np.random.default_rng(5)
    recorded = record_golden(lambda rows: rng.random(len(rows)), sample)
    assert check_golden(lambda rows: rng.random(len(rows)), sample, recorded, tolerance=1e-6).status is Status.FAILED


def test_an_empty_sample_and_predictions_of_another_sample_show_nothing(sample: GoldenSample) -> None:
    recorded = record_golden(LengthModel(), sample)
    empty = replace(sample, rows=sample.rows.clear())
    assert check_golden(LengthModel(), empty, recorded, tolerance=0.0).status is Status.INSUFFICIENT
    other = replace(sample, version="2-ffffffffffff")
    verdict = check_golden(LengthModel(), other, recorded, tolerance=0.0)
    assert verdict.status is Status.INSUFFICIENT
    assert "record them anew" in verdict.reason


def test_a_model_with_its_own_units_must_keep_their_number() -> None:
    sample = load_golden(FOLDER, "account_health")
    assert not sample.per_row
    by_account = lambda rows: rows.group_by("account_id", maintain_order=True).agg(pl.col("spend_micros").sum())["spend_micros"]
    recorded = record_golden(by_account, sample)
    assert len(recorded.values) == 6
    assert check_golden(by_account, sample, recorded, tolerance=0.0).passed
    assert check_golden(lambda rows: by_account(rows)[:5], sample, recorded, tolerance=1e12).status is Status.FAILED


def test_a_model_cannot_change_the_sample(sample: GoldenSample) -> None:
    before = sample.rows.clone()

    def vandal(rows: pl.DataFrame) -> np.ndarray:
        rows.insert_column(0, pl.Series("junk", [0] * len(rows)))
        return np.zeros(len(rows))

    record_golden(vandal, sample)
    assert sample.rows.equals(before)


def test_numbers_survive_json_bit_for_bit() -> None:
    values = (*np.random.default_rng(1).normal(size=200).tolist(), 5e-324, -0.0, 1 / 3)
    assert GoldenPredictions.from_json(GoldenPredictions("m", "1-x", values).to_json()).values == values


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model":"m","sample_version":"v","values":[NaN],"fault":""}'])
def test_unreadable_predictions_are_refused(text: str) -> None:
    with pytest.raises(GoldenSampleError, match="record them again"):
        GoldenPredictions.from_json(text)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_tolerates_everything_is_refused(sample: GoldenSample, tolerance: float) -> None:
    with pytest.raises(GoldenSampleError, match="finite number >= 0"):
        check_golden(LengthModel(), sample, record_golden(LengthModel(), sample), tolerance=tolerance)


def test_the_committed_samples_are_what_the_script_writes(tmp_path: Path) -> None:
    main([str(tmp_path)])
    for path in tmp_path.iterdir():
        assert (FOLDER / path.name).read_bytes() == path.read_bytes(), path.name
    with pytest.raises(SystemExit, match="usage"):
        main([])


def test_the_samples_have_the_columns_that_models_read() -> None:
    creatives = load_golden(FOLDER, "ad_score").rows
    assert creatives["group_id"].n_unique() == 10
    assert {"headline", "description", "call_to_action", "format", "audience_segment"} <= set(CREATIVE_COLUMNS.names) & set(
        creatives.columns
    )
    facts = load_golden(FOLDER, "account_health").rows
    assert [name for name in facts.columns if name not in ("ingested_at", "commit_seq")] == FACT_COLUMNS.names
    wanted = pl.DataFrame(pl.from_arrow(FACT_COLUMNS.empty_table())).schema
    assert {name: facts.schema[name] for name in wanted} == dict(wanted)
    assert facts.filter(pl.col("clicks") > pl.col("impressions")).is_empty()
    assert facts["account_id"].n_unique() == 6
    series = load_golden(FOLDER, "anomaly").rows
    assert series.select("platform", "account_id", "metric").n_unique() == 8
    assert max(path.stat().st_size for path in FOLDER.iterdir()) < 200_000


def test_another_version_or_content_is_another_sample(tmp_path: Path) -> None:
    write_golden(tmp_path, version=2)
    assert load_golden(tmp_path, "anomaly").version != load_golden(FOLDER, "anomaly").version
    write_golden(tmp_path, seed=1)
    assert load_golden(tmp_path, "anomaly").version != load_golden(FOLDER, "anomaly").version
    assert len(list(tmp_path.glob("anomaly-*.csv"))) == 2  # the older file stays


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "golden")
    path = next(folder.glob("ad_score-*.csv"))
    path.write_bytes(path.read_bytes().replace(b"Free", b"Fr33", 1))
    with pytest.raises(GoldenSampleError, match="changed after it was frozen"):
        load_golden(folder, "ad_score")
    path.unlink()
    with pytest.raises(GoldenSampleError, match="restore it from version control"):
        load_golden(folder, "ad_score")


def test_an_index_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GoldenSampleError, match="does not exist"):
        load_golden(tmp_path, "ad_score")
    folder = shutil.copytree(FOLDER, tmp_path / "golden")
    with pytest.raises(GoldenSampleError, match="none for 'weather'"):
        load_golden(folder, "weather")
    index = json.loads((folder / "golden.json").read_text())
    (folder / "golden.json").write_text(json.dumps(index | {"format": 9}))
    with pytest.raises(GoldenSampleError, match="has format 9"):
        load_golden(folder, "ad_score")
    (folder / "golden.json").write_text("{")
    with pytest.raises(GoldenSampleError, match="cannot be read as an index"):
        load_golden(folder, "ad_score")


@pytest.mark.parametrize("model", MODELS)
def test_equal_bytes_give_equal_rows_and_versions(model: str) -> None:
    first, second = load_golden(FOLDER, model), load_golden(FOLDER, model)
    assert first.rows.equals(second.rows)
    assert first.version == second.version


def test_answers_that_were_cut_short_after_recording_fail(sample: GoldenSample) -> None:
    recorded = record_golden(LengthModel(), sample)
    cut = replace(recorded, values=recorded.values[:-1])
    verdict = check_golden(LengthModel(), sample, cut, tolerance=1e9)
    assert verdict.status is Status.FAILED
    assert verdict.reason == "39 answers were recorded, the model now gives 40."
