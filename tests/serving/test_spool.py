"""What is in the spool reaches the database once, whatever dies or is away in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import eventually
from within_pipelines.database import Database, PredictionRepository
from within_pipelines.exceptions import DatabaseError
from within_pipelines.serving import load_spool, recover_spool
from within_pipelines.serving.metrics import Metrics
from within_pipelines.serving.prediction_log import LogUnavailableError, PredictionLog
from within_pipelines.serving.spool import Record, SpoolWriter, read_spool_file


def record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "prediction", "prediction_id": f"{number:032x}-0", "request_id": "r", "role": "champion", "model": "ad_score", "version": 1,
        "model_sha256": "a" * 64, "unit": "u", "value": float(number), "answer": {"score": number}, "inputs": {}, "latency_ms": 1.0,
        "error": None, "answered_at": "2026-06-30T12:00:00+00:00", **more,
    }  # fmt: skip


class Kept:
    """A store that keeps records in memory, and may be away."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.away = False

    def load(self, records: Sequence[Record]) -> int:
        if self.away:
            raise DatabaseError("away")
        fresh = {r["prediction_id"]: r for r in records if r["prediction_id"] not in self.records}
        self.records |= fresh
        return len(fresh)


def test_loading_twice_is_loading_once(database: Database, tmp_path: Path) -> None:
    store, spool = PredictionRepository(database), tmp_path / "spool"
    outcome = {"kind": "outcome", "prediction_id": f"{1:032x}-0", "value": 1.0, "weight": 3.0, "observed_at": "2026-07-01T00:00:00+00:00",
               "received_at": "2026-07-01T00:00:01+00:00"}  # fmt: skip
    records = [record(1), record(2), record(2, role="shadow", model_sha256="b" * 64), outcome]
    for new in (4, 0):
        writer = SpoolWriter(spool, rows=100)
        writer.write(records, durable=True)
        writer.rotate()
        loaded = load_spool(spool, store)
        assert (loaded.files, loaded.records, loaded.new, loaded.waiting) == (1, 4, new, 0)
    assert (store.count(), store.count(role="shadow"), store.outcomes()) == (3, 1, 1)
    frame = store.predictions("ad_score")
    assert frame["outcome"].to_list() == [1.0, None, None]
    assert not list(spool.iterdir())


def test_a_database_that_is_away_keeps_the_files_in_order(tmp_path: Path) -> None:
    store, writer = Kept(), SpoolWriter(tmp_path, rows=2)
    store.away = True
    for number in range(5):
        writer.write([record(number)], durable=False)
    writer.rotate()
    loaded = load_spool(tmp_path, store)
    assert (loaded.files, loaded.waiting, loaded.problem) == (0, 3, "away")
    store.away = False
    assert load_spool(tmp_path, store).new == 5
    assert [r["value"] for r in store.records.values()] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_file_that_no_table_takes_is_set_aside_and_holds_nothing_up(database: Database, tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, rows=1)
    writer.write([{"kind": "nonsense"}], durable=False)
    writer.write([{"kind": "prediction", "prediction_id": "x"}], durable=False)
    writer.write([record(1)], durable=False)
    loaded = load_spool(tmp_path, PredictionRepository(database))
    assert (loaded.files, loaded.new, loaded.refused, loaded.waiting) == (1, 1, 2, 0)
    assert len(list(tmp_path.glob("refused-*"))) == 2


_WRITER = """
import json, sys, time
from pathlib import Path
from within_pipelines.serving.spool import SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]), rows=10_000)
for number in range(3):
    writer.write([{"kind": "prediction", "prediction_id": str(number)}], durable=True)
writer._file.write(b'{"kind": "pred')
writer._file.flush()
print("written", flush=True)
time.sleep(60)
"""


def test_a_killed_writers_file_is_found_and_a_living_ones_is_left_alone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert recover_spool(tmp_path) == 0
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert recover_spool(tmp_path) == 1
    (path,) = tmp_path.iterdir()
    found, torn = read_spool_file(path)
    assert [r["prediction_id"] for r in found] == ["0", "1", "2"]
    assert torn == 1


def log(tmp_path: Path, store: Any, **more: Any) -> tuple[PredictionLog, Metrics]:
    metrics = Metrics()
    settings: dict[str, Any] = {"most": 100, "durable": False, "load_seconds": 0.05} | more
    return PredictionLog(SpoolWriter(tmp_path, rows=50), store, metrics, **settings), metrics


def total(counter: Any) -> float:
    value: float = counter._value.get()
    return value


def test_a_full_queue_costs_records_that_are_counted_and_never_waits(tmp_path: Path) -> None:
    written, metrics = log(tmp_path, Kept(), most=3)
    started = time.perf_counter()
    for number in range(10):  # nothing empties the queue: the threads have not been started
        assert written.put([record(number)]) is None
    assert time.perf_counter() - started < 1.0
    assert total(metrics.log_dropped) == 7
    certain, _ = log(tmp_path, Kept(), most=1, durable=True)
    certain.put([record(0)])
    refused = certain.put([record(1)])
    assert refused is not None
    with pytest.raises(LogUnavailableError, match="queue is full"):
        refused.result(timeout=1)


def test_durable_means_on_disk_before_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync

    def sync(handle: int) -> None:
        synced.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    store = Kept()
    store.away = True
    written, metrics = log(tmp_path, store, durable=True)
    written.start()
    futures = [written.put([record(number)]) for number in range(20)]
    for future in futures:
        assert future is not None
        future.result(timeout=10)
    on_disk = [r for path in tmp_path.iterdir() for r in read_spool_file(path)[0]]
    assert len(on_disk) == 20
    assert synced
    store.away = False
    written.stop()
    assert len(store.records) == 20
    assert total(metrics.log_loaded) == 20
    assert not list(tmp_path.iterdir())


def test_a_caller_that_goes_away_does_not_stop_the_writer(tmp_path: Path) -> None:
    store = Kept()
    written, _ = log(tmp_path, store, durable=True)
    gone = written.put([record(1)])
    assert gone is not None
    gone.cancel()
    written.start()
    after = written.put([record(2)])
    assert after is not None
    after.result(timeout=10)
    written.stop()
    assert [r["value"] for r in store.records.values()] == [1.0, 2.0]


def test_a_disk_that_refuses_costs_nobody_a_wrong_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Kept()
    written, metrics = log(tmp_path, store)
    written.start()

    def full(self: SpoolWriter, records: Sequence[Record], *, durable: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SpoolWriter, "write", full)
    certain = written.put([record(1)], durable=True)
    assert certain is not None
    with pytest.raises(LogUnavailableError, match="No space left"):
        certain.result(timeout=10)
    written.put([record(2), record(3)])
    eventually(lambda: total(metrics.log_dropped) == 2)
    monkeypatch.undo()
    after = written.put([record(4)], durable=True)
    assert after is not None
    after.result(timeout=10)
    written.stop()
    assert [r["value"] for r in store.records.values()] == [4.0]


def test_what_could_not_be_written_whole_is_cut_off_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path, rows=100)
    writer.write([record(1)], durable=True)
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        writer.write([record(2)], durable=True)
    monkeypatch.undo()
    writer.write([record(3)], durable=True)
    writer.rotate()
    store = Kept()
    load_spool(tmp_path, store)
    assert sorted(r["value"] for r in store.records.values()) == [1.0, 3.0]
