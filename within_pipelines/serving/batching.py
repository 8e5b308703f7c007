"""Compute requests together that wait at the same time: what costs is the number of calls."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from within_pipelines.exceptions import WithinError
from within_pipelines.serving.answers import Answer, Answerer
from within_pipelines.serving.holder import Served
from within_pipelines.serving.metrics import Metrics


class OverloadedError(Exception):
    """More requests wait than may."""


@dataclass(slots=True)
class _Asked:
    served: Served
    job: Any
    explain: bool
    future: Future[list[Answer]] = field(default_factory=Future)


class MicroBatcher:
    """One thread for one model; every call of a predictor of that model happens in it, so predictors need no locks.

    It takes what has come in while it was busy, at most `most` requests, and where nothing waits it may wait `wait_seconds` for company.
    A request that makes a shared computation fail is found by computing each alone: the others get their answers."""

    def __init__(self, model: str, answerer: Answerer, metrics: Metrics, *, most: int, wait_seconds: float, waiting_most: int) -> None:
        self.model = model
        self._answerer = answerer
        self._metrics = metrics
        self._most = most
        self._wait = wait_seconds
        self._queue: queue.Queue[_Asked | None] = queue.Queue(waiting_most)
        self._thread = threading.Thread(target=self._run, name=f"within-{model}")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is waiting, then end."""
        self._queue.put(None)
        self._thread.join()

    async def ask(self, served: Served, job: Any, *, explain: bool = False) -> list[Answer]:
        """The answers to a job by a version.

        Raises `OverloadedError` when too many wait, and whatever the predictor refuses the job with."""
        return await asyncio.wrap_future(self.put(served, job, explain=explain))

    def put(self, served: Served, job: Any, *, explain: bool = False) -> Future[list[Answer]]:
        """`ask` for callers that are no coroutine."""
        asked = _Asked(served, job, explain)
        try:
            self._queue.put_nowait(asked)
        except queue.Full:
            raise OverloadedError from None
        return asked.future

    def _run(self) -> None:
        import torch

        # Several threads on texts of ten words cost more than they give, and take the other core from whoever needs it.
        torch.set_num_threads(1)
        while (first := self._queue.get()) is not None:
            batch, ended = self._company(first)
            # Whoever has gone away in the meantime is not answered.
            waiting = [asked for asked in batch if asked.future.set_running_or_notify_cancel()]
            for asked in waiting:
                if asked.explain:
                    self._settle(asked, lambda asked=asked: self._answerer.explain(asked.served.predictor, asked.job))
            plain = [asked for asked in waiting if not asked.explain]
            for served in {id(asked.served): asked.served for asked in plain}.values():
                self._answer(served, [asked for asked in plain if asked.served is served])
            if ended:
                return

    def _company(self, first: _Asked) -> tuple[list[_Asked], bool]:
        batch, until = [first], time.monotonic() + self._wait
        while len(batch) < self._most:
            try:
                left = until - time.monotonic() if len(batch) == 1 else 0.0
                other = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if other is None:
                return batch, True
            batch.append(other)
        return batch, False

    def _answer(self, served: Served, batch: Sequence[_Asked]) -> None:
        self._metrics.batch.labels(self.model).observe(len(batch))
        try:
            answers = self._answerer.answer(served.predictor, [asked.job for asked in batch])
        except Exception as error:  # noqa: BLE001 - every request gets its own answer or error below
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for asked in batch:
                self._settle(asked, lambda asked=asked: self._answerer.answer(served.predictor, [asked.job])[0])
            return
        for asked, answer in zip(batch, answers, strict=True):
            asked.future.set_result(answer)

    @staticmethod
    def _settle(asked: _Asked, compute: Any) -> None:
        try:
            asked.future.set_result(compute())
        except Exception as error:  # noqa: BLE001 - the caller decides what a refusal is and what a failure
            asked.future.set_exception(error)


def refusal(error: BaseException) -> str | None:
    """What a predictor's refusal says to the caller; None for a failure, which says nothing to anybody but the log."""
    return str(error) if isinstance(error, WithinError) and isinstance(error, ValueError) else None
