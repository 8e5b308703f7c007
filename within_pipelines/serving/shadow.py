"""The challenger answers every request beside the champion, in another process, and nobody waits for it.

What it is asked goes through a bounded queue: when it cannot keep up, requests are dropped and counted. It dies alone: it is started again,
and what it was asked meanwhile counts as dropped. Its answers go to the spool like all others, under the role "shadow".

It says when it has loaded a version or could not: until then it is starting, and what is dropped meanwhile is counted apart too."""

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
from typing import TYPE_CHECKING, Any, Literal

from within_pipelines.serving.logs import event
from within_pipelines.serving.metrics import Metrics

if TYPE_CHECKING:
    from within_pipelines.registry import ModelVersion

ShadowState = Literal["starting", "answering", "failed"]
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
        self._listener: threading.Thread | None = None
        self._states: dict[str, ShadowState] = {}
        self._prepared: set[str] = set()
        self._fell = False
        self._given_up = threading.Event()

    def start(self) -> None:
        """Start the thread; the process starts with the first version that is prepared or asked."""
        self._thread.start()

    def prepare(self, version: ModelVersion, folder: Path) -> None:
        """Have a version loaded before anybody asks it; once per version and process."""
        if version.model_sha256 in self._prepared:
            return
        if self.put(ShadowAsk(version, folder, [], [])):
            self._prepared.add(version.model_sha256)

    def state(self, model_sha256: str) -> ShadowState:
        """Whether a version answers: "starting" until the process has said that it loaded it, "failed" when it could not, or died."""
        return self._states.get(model_sha256, "failed" if self._fell else "starting")

    def put(self, ask: ShadowAsk) -> bool:
        """Hand over a request; False when it was dropped."""
        try:
            self._queue.put_nowait(ask)
        except queue.Full:
            self._drop(ask)
            return False
        return True

    def _drop(self, *asks: ShadowAsk) -> None:
        for ask in asks:
            self._metrics.shadow.labels("dropped").inc(len(ask.items))
            if self.state(ask.version.model_sha256) == "starting":
                self._metrics.shadow.labels("dropped_starting").inc(len(ask.items))

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

    def _send(self, asks: Sequence[ShadowAsk], *, again: bool = True) -> None:
        items = sum(len(ask.items) for ask in asks)
        used = self._process
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
                    "asks": [{"job": ask.job, "items": list(ask.items)} for ask in own if ask.items],
                }
                process.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            # It had died already and only looked alive: what closes its pipes comes before what tells that it ended.
            stale = again and used is not None and self._process is used and not self._given_up.is_set()
            if not stale:
                self._drop(*asks)
            self._kill()
            if stale:
                self._send(asks, again=False)
                return
            self._prepared.difference_update(by_version)
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
        self._fell = False
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_gentle_environment()
        )
        self._listener = threading.Thread(target=self._listen, args=[self._process], name="within-shadow-says")
        self._listener.start()
        return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Take down what the process says of the versions it was given, until it ends."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    said = json.loads(line)
                    state: ShadowState = "answering" if said["state"] == "answering" else "failed"
                    if self._states.get(said["model_sha256"]) != state:
                        event(f"shadow_{state}", model=said["model"], version=said["version"], why=said["why"])
                    self._states[said["model_sha256"]] = state
        self._states.clear()
        self._prepared.clear()
        self._fell = True

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
        self._hear_out()

    def _hear_out(self) -> None:
        if self._listener is not None:
            self._listener.join()

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
        self._hear_out()


def _gentle_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
