"""The process of the shadow: requests as JSON lines on stdin, answers into the spool. On stdout it says which versions it has loaded or
could not load; it is asked nothing else and answers nobody."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from within_pipelines.serving.answers import answerers
from within_pipelines.serving.loading import load_predictor
from within_pipelines.serving.records import prediction_record
from within_pipelines.serving.spool import SpoolWriter

_LOADED_MOST = 4
_SPOOL_ROWS = 2000
# The champion's process goes first when both want the processor.
_NICENESS = 10


class ShadowAnswers:
    """Answers messages with the version that each names; a version that cannot be loaded or fails is an answer too: an error."""

    def __init__(self, say: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self._answerers = answerers()
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._say = say

    def records(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The lines of the spool for one message."""
        version, asks = message["version"], message["asks"]
        answerer = self._answerers[version["model"]]
        started = time.perf_counter()
        try:
            predictor = self._predictor(version, Path(message["folder"]))
            if not asks:
                return []
            started = time.perf_counter()
            answers = answerer.answer(predictor, [ask["job"] for ask in asks])
        except Exception as error:  # noqa: BLE001 - the shadow's failures are what is to be found out
            return [record for ask in asks for record in self._alone(version, message, ask, error, together=len(asks) > 1)]
        each = 1000 * (time.perf_counter() - started) / len(asks)
        return [
            self._record(version, item, value=answerer.value(answer), answer=answer, latency_ms=each)
            for ask, own in zip(asks, answers, strict=True)
            for item, answer in zip(ask["items"], own, strict=True)
        ]

    def _alone(
        self, version: Mapping[str, Any], message: Mapping[str, Any], ask: Mapping[str, Any], error: Exception, *, together: bool
    ) -> list[dict[str, Any]]:
        if together:
            return self.records({**message, "asks": [ask]})
        # The kind of the error alone: its text may quote what a caller sent.
        return [self._record(version, item, error=type(error).__name__) for item in ask["items"]]

    def _predictor(self, version: Mapping[str, Any], folder: Path) -> Any:
        sha256 = version["model_sha256"]
        if sha256 not in self._loaded:
            try:
                self._loaded[sha256] = load_predictor(version["model"], folder, model_sha256=sha256)
            except Exception as error:
                self._tell(version, "failed", type(error).__name__)
                raise
            self._tell(version, "answering", "")
            if len(self._loaded) > _LOADED_MOST:
                self._loaded.popitem(last=False)
        return self._loaded[sha256]

    def _tell(self, version: Mapping[str, Any], state: str, why: str) -> None:
        if self._say is not None:
            self._say({**version, "state": state, "why": why})

    @staticmethod
    def _record(version: Mapping[str, Any], item: Mapping[str, Any], **found: Any) -> dict[str, Any]:
        return prediction_record(version, role="shadow", answered_at=datetime.now(UTC), **item, **found)


def _said(what: Mapping[str, Any]) -> None:
    """One line to the server. After the first one the process is gentle: imports and loading happen once, and at the lowest priority they
    took longer than a minute beside a busy server, in which the shadow answered nothing."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def work(source: BinaryIO, spool: Path, *, rotate_seconds: float) -> None:
    """Answer until the input ends; the spool file is ended every `rotate_seconds`, also when nothing is asked."""
    writer, answers = SpoolWriter(spool, rows=_SPOOL_ROWS), ShadowAnswers(_said)
    buffered, rotated = b"", time.monotonic()
    handle = source.fileno()
    while True:
        ready, _, _ = select.select([handle], [], [], rotate_seconds)
        chunk = os.read(handle, 1 << 20) if ready else None
        if chunk == b"":
            break
        *lines, buffered = (buffered + (chunk or b"")).split(b"\n")
        for line in lines:
            records = answers.records(json.loads(line))
            if records:
                writer.write(records, durable=False)
        if time.monotonic() - rotated >= rotate_seconds:
            writer.rotate()
            rotated = time.monotonic()
    writer.rotate()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    work(sys.stdin.buffer, Path(sys.argv[1]), rotate_seconds=float(sys.argv[2]))
