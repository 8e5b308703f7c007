"""The challenger answers every request beside the champion, in another process, and nobody waits for it.

What it is asked goes through a bounded queue: when it cannot keep up, requests are dropped and counted. It dies alone: it is started again,
and what it was asked meanwhile counts as dropped. Its answers go to the spool like all others, under the role "shadow"."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from within_pipelines.serving.logs import event
from within_pipelines.serving.metrics import Metrics

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion

_MOST_AT_ONCE = 32
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ShadowAsk:
    """One request for the shadow: the version that shall answer, the job, and per item what its record needs."""

    version: ModelVersion
    folder: Path
    job: Any
    items: Sequence[Mapping[str, Any]]


class Shadow:
    """Feeds the shadow's process."""

    def __init__(self, spool: Path, metrics: Metrics, *, most: int, rotate_seconds: float, command: Sequence[str] | None = None) -> None:
        default = [sys.executable, "-m", "within_pipelines.serving.shadow_worker", str(spool), str(rotate_seconds)]
        self._command = list(default if command is None else command)
        self._metrics = metrics
        self._queue: queue.Queue[ShadowAsk | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._feed, name="within-shadow")
        self._process: subprocess.Popen[bytes] | None = None
        self._given_up = threading.Event()

    def start(self) -> None:
        """Start the thread; the process starts with the first request."""
        self._thread.start()

    def put(self, ask: ShadowAsk) -> bool:
        """Hand over a request; False when it was dropped."""
        try:
            self._queue.put_nowait(ask)
        except queue.Full:
            self._metrics.shadow.labels("dropped").inc(len(ask.items))
            return False
        return True

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._queue.qsize()

    def stop(self, *, within: float = 10.0) -> None:
        """Let the shadow finish what it was asked, for at most `within` seconds."""
        until = time.monotonic() + within
        try:
            self._queue.put(None, timeout=within)
        except queue.Full:
            self._given_up.set()
        self._thread.join(max(0.0, until - time.monotonic()))
        self._given_up.set()
        while self._thread.is_alive():
            self._kill()
            self._thread.join(0.1)
        self._kill()

    def _feed(self) -> None:
        while not self._given_up.is_set() and (first := self._queue.get()) is not None:
            asks: list[ShadowAsk] = [first]
            ended = False
            while len(asks) < _MOST_AT_ONCE and not ended:
                try:
                    other = self._queue.get_nowait()
                except queue.Empty:
                    break
                if other is None:
                    ended = True
                else:
                    asks.append(other)
            self._send(asks)
            if ended:
                break
        self._end()

    def _send(self, asks: Sequence[ShadowAsk]) -> None:
        items = sum(len(ask.items) for ask in asks)
        by_version: dict[str, list[ShadowAsk]] = {}
        for ask in asks:
            by_version.setdefault(ask.version.model_sha256, []).append(ask)
        try:
            process = self._running()
            assert process.stdin is not None
            for own in by_version.values():
                version = own[0].version
                message = {
                    "version": {name: getattr(version, name) for name in ("model", "version", "model_sha256")},
                    "folder": str(own[0].folder),
                    "asks": [{"job": ask.job, "items": list(ask.items)} for ask in own],
                }
                process.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            self._metrics.shadow.labels("dropped").inc(items)
            self._kill()
            # A worker that dies at once must not be started in a tight loop.
            self._given_up.wait(_PAUSE_SECONDS)
        else:
            self._metrics.shadow.labels("asked").inc(items)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._given_up.is_set():
            raise BrokenPipeError
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._process is not None:
            self._kill()
            self._metrics.shadow.labels("restarted").inc()
            event("shadow_restarted", exit_code=self._process.returncode)
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_gentle_environment()
        )
        return self._process

    def _end(self) -> None:
        """Close its input: it answers what it has, ends its spool file and exits."""
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
        except OSError:
            process.kill()
        process.wait()

    def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdin is not None:
            # What its pipe still holds is lost with it.
            with contextlib.suppress(OSError):
                process.stdin.close()


def _gentle_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
