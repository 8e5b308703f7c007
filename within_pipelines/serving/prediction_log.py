"""Write down what was answered without keeping anybody waiting, or only answer what has been written down (durable mode)."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from within_pipelines.serving.logs import event
from within_pipelines.serving.metrics import Metrics
from within_pipelines.serving.spool import Record, RecordStore, SpoolWriter, load_spool

_MOST_AT_ONCE = 256


class LogUnavailableError(Exception):
    """In durable mode an answer could not be written down, so it may not be given."""


@dataclass(frozen=True, slots=True)
class _Entry:
    records: Sequence[Record]
    written: Future[None] | None


class PredictionLog:
    """A bounded queue, a thread that appends what is in it to the spool, and a thread that loads the spool into the database.

    Without `durable`, a full queue or disk costs records, which are counted (`within_log_dropped_total`), never an answer. With it,
    `put` hands back a future that is done when the records are on disk; many requests share one fsync."""

    def __init__(self, writer: SpoolWriter, store: RecordStore, metrics: Metrics, *, most: int, durable: bool, load_seconds: float) -> None:
        self.durable = durable
        self._writer = writer
        self._store = store
        self._metrics = metrics
        self._queue: queue.Queue[_Entry | None] = queue.Queue(most)
        self._load_seconds = load_seconds
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, name="within-log"), threading.Thread(target=self._load, name="within-load")]
        self.problem = ""

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def put(self, records: Sequence[Record], *, durable: bool | None = None) -> Future[None] | None:
        """Hand over records. In durable mode the future says when they are on disk, or fails with `LogUnavailableError`."""
        sure = self.durable if durable is None else durable
        written: Future[None] | None = Future() if sure else None
        if written is not None:
            # A caller that goes away must not be able to cancel it: the writer would trip over it.
            written.set_running_or_notify_cancel()
        try:
            self._queue.put_nowait(_Entry(records, written))
        except queue.Full:
            self._lost(_Entry(records, written), "the queue is full")
        self._metrics.log_waiting.set(self._queue.qsize())
        return written

    def stop(self) -> None:
        """Write what is waiting, end the open file, load once more; a database that is away keeps its files for the next start."""
        self._queue.put(None)
        self._threads[0].join()
        self._stop.set()
        self._threads[1].join()
        self._load_once()

    def _write(self) -> None:
        ended = False
        while not ended:
            try:
                first = self._queue.get(timeout=self._load_seconds)
            except queue.Empty:
                self._rotate()
                continue
            entries: list[_Entry] = []
            entry = first
            while True:
                if entry is None:
                    ended = True
                    break
                entries.append(entry)
                if len(entries) >= _MOST_AT_ONCE:
                    break
                try:
                    entry = self._queue.get_nowait()
                except queue.Empty:
                    break
            self._append(entries)
        self._rotate()

    def _rotate(self) -> None:
        try:
            self._writer.rotate()
        except OSError as error:
            # What was written stays under its name, and is found when the next loader looks for files without a writer.
            event("spool_not_rotated", level=logging.ERROR, error=error)

    def _append(self, entries: Sequence[_Entry]) -> None:
        records = [record for entry in entries for record in entry.records]
        try:
            self._writer.write(records, durable=any(entry.written is not None for entry in entries))
        except OSError as error:
            for entry in entries:
                self._lost(entry, f"the spool cannot be written: {error.strerror}")
            return
        self._metrics.log_written.inc(len(records))
        for entry in entries:
            if entry.written is not None:
                entry.written.set_result(None)

    def _lost(self, entry: _Entry, why: str) -> None:
        if entry.written is not None:
            entry.written.set_exception(LogUnavailableError(why))
        else:
            self._metrics.log_dropped.inc(len(entry.records))

    def _load(self) -> None:
        while not self._stop.wait(self._load_seconds):
            try:
                self._load_once()
            except Exception as error:  # noqa: BLE001 - a pass that fails must not be the last
                event("spool_not_loaded", level=logging.ERROR, error=error)

    def _load_once(self) -> None:
        loaded = load_spool(self._writer.folder, self._store)
        self.problem = loaded.problem
        self._metrics.log_loaded.inc(loaded.new)
        self._metrics.log_torn.inc(loaded.torn)
        self._metrics.spool_files.set(loaded.waiting)
