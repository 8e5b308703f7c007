"""The running server: snapshot of models, batchers, log, shadow and keys, started and ended together."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from within_pipelines.database import ApiKeyRepository, CanaryRepository, ExperimentRepository, PredictionRepository
from within_pipelines.exceptions import DatabaseError
from within_pipelines.serving.accounts import LakeAccounts, UnknownAccountError
from within_pipelines.serving.answers import Answer, answerers
from within_pipelines.serving.batching import MicroBatcher, OverloadedError, refusal
from within_pipelines.serving.examples import trial
from within_pipelines.serving.holder import Lane, ModelHolder, Served
from within_pipelines.serving.keys import KeyRing
from within_pipelines.serving.loading import load_predictor
from within_pipelines.serving.logs import event
from within_pipelines.serving.metrics import Metrics
from within_pipelines.serving.planned import PlannedChanges
from within_pipelines.serving.prediction_log import LogUnavailableError, PredictionLog
from within_pipelines.serving.problems import ProblemError
from within_pipelines.serving.records import prediction_record
from within_pipelines.serving.schemas import AccountHealthRequest, AnomaliesRequest, Outcome
from within_pipelines.serving.settings import ServeSettings
from within_pipelines.serving.shadow import Shadow, ShadowAsk, ShadowState
from within_pipelines.serving.spool import SpoolWriter
from within_pipelines.serving.traffic import RegistryTraffic, Routed, TrafficSource, route

if TYPE_CHECKING:
    from within_pipelines.pipeline import Workspace
    from within_pipelines.registry import ModelVersion

MODELS: tuple[str, ...] = ("ad_score", "account_health", "anomaly")


def spool_folder(home: Path) -> Path:
    """Where answers wait for the database."""
    return home / "spool" / "predictions"


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers with their ids, and who gave them."""

    served: Served
    role: str
    results: list[Answer]

    @property
    def by(self) -> dict[str, Any]:
        """The version, for the answer's head."""
        return answered_by(self.served.version, self.role)


def answered_by(version: ModelVersion, role: str) -> dict[str, Any]:
    """A version as answers name it."""
    return {
        "name": version.model,
        "version": version.version,
        "kind": version.kind,
        "model_sha256": version.model_sha256,
        "role": role,
    }


class Server:
    """Everything behind the routes."""

    def __init__(self, ws: Workspace, settings: ServeSettings, *, traffic: TrafficSource | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.keys = KeyRing()
        self._ws = ws
        self._key_store = ApiKeyRepository(ws.database)
        self._answerers = answerers(self.metrics.texts)
        self.holder = ModelHolder(
            MODELS,
            RegistryTraffic(ws.registry, canaries=CanaryRepository(ws.database), experiments=ExperimentRepository(ws.database))
            if traffic is None
            else traffic,
            self._load,
            self.metrics,
        )
        self._batchers = {
            model: MicroBatcher(
                model,
                answerer,
                self.metrics,
                most=settings.batch_most,
                wait_seconds=settings.batch_wait_ms / 1000,
                waiting_most=settings.waiting_most,
            )
            for model, answerer in self._answerers.items()
        }
        folder = spool_folder(ws.settings.home)
        self.log = PredictionLog(
            SpoolWriter(folder, rows=settings.spool_rows),
            PredictionRepository(ws.database),
            self.metrics,
            most=settings.log_queue,
            durable=settings.durable,
            load_seconds=settings.load_seconds,
        )
        self.shadow = (
            Shadow(folder, self.metrics, most=settings.shadow_queue, rotate_seconds=settings.load_seconds) if settings.shadow else None
        )
        self._accounts = LakeAccounts(ws)
        self._planned = PlannedChanges(ws)
        self._lake = ThreadPoolExecutor(1, thread_name_prefix="within-lake")
        self._refresher = ThreadPoolExecutor(1, thread_name_prefix="within-refresh")
        self._now = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    # -- life ----------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start threads, load what the registry names, begin to poll."""
        for batcher in self._batchers.values():
            batcher.start()
        self.log.start()
        if self.shadow is not None:
            self.shadow.start()
        await self.refresh()
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """End in the order in which nothing is lost: no more polls, answers given, shadow done, log written."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._refresher.shutdown(cancel_futures=True)
        self._lake.shutdown(cancel_futures=True)
        for batcher in self._batchers.values():
            batcher.stop()
        if self.shadow is not None:
            self.shadow.stop()
        self.log.stop()
        event("stopped")

    async def refresh(self) -> None:
        """Read aliases and keys again, off the thread that answers."""
        await asyncio.get_running_loop().run_in_executor(self._refresher, self._refresh)

    def refresh_soon(self) -> None:
        """Ask for a refresh now instead of at the next poll; for signal handlers."""
        self._now.set()

    async def _poll(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.settings.poll_seconds):
                    await self._now.wait()
            except TimeoutError:
                pass
            self._now.clear()
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - a poll that fails must not be the last
                event("refresh_failed", level=logging.ERROR, error=error)

    def _refresh(self) -> None:
        self.holder.refresh()
        if self.shadow is not None:
            for lane in self.holder.lanes.values():
                if lane.plan.shadow is not None:
                    self.shadow.prepare(lane.plan.shadow, self._ws.artifacts.root / lane.plan.shadow.artifact)
        try:
            self.keys = KeyRing(self._key_store.records())
        except DatabaseError:
            # The keys as last read hold on.
            self.holder.registry_problem = self.holder.registry_problem or "the API keys could not be read"

    def _load(self, version: ModelVersion) -> Any:
        """A predictor that has answered a trial in the thread that will use it."""
        predictor = load_predictor(version.model, self._ws.artifacts.folder(version), model_sha256=version.model_sha256)
        self._batchers[version.model].put(Served(version, predictor), trial(version.model)).result(timeout=60)
        return predictor

    # -- answering -----------------------------------------------------------------------------------------------------------------

    def routed(self, model: str, unit: str) -> tuple[Lane, Served, Routed]:
        """The lane in force and who answers `unit`. Raises `ProblemError` when nobody does."""
        lane = self.holder.lanes[model]
        routed = route(lane.plan, model=model, unit=unit, key=self.settings.traffic_key)
        if routed is None:
            raise ProblemError(
                503,
                f"No version of {model} serves; `within run` trains and promotes one when its gates pass.",
                headers={"Retry-After": str(int(self.settings.poll_seconds) + 1)},
            )
        return lane, lane.served[routed.version.model_sha256], routed

    async def answer(self, model: str, job: Sequence[Any], *, request_id: str, unit: str | None) -> Answered:
        """Answers to a job, written down, and asked of the shadow too.

        Raises `ProblemError` for what is refused, overloaded, or in durable mode could not be written down."""
        started = time.perf_counter()
        asked_by = request_id if unit is None else unit
        lane, served, routed = self.routed(model, asked_by)
        found = await self._asked(model, served, job)
        latency = 1000 * (time.perf_counter() - started)
        stem, now = uuid.uuid4().hex, datetime.now(UTC)
        results = [{"prediction_id": f"{stem}-{place}", **answer} for place, answer in enumerate(found)]
        answerer = self._answerers[model]
        items = [{"prediction_id": result["prediction_id"], "request_id": request_id, "unit": asked_by} for result in results]
        written = self.log.put(
            [
                prediction_record(
                    served.version,
                    role=routed.role,
                    answered_at=now,
                    value=answerer.value(answer),
                    answer=answer,
                    inputs=_inputs(job[place]) if self.settings.log_inputs else None,
                    latency_ms=latency,
                    experiment=routed.experiment,
                    **items[place],
                )
                for place, answer in enumerate(found)
            ]
        )
        self._ask_shadow(lane, served, job, items)
        if written is not None:
            await _on_disk(asyncio.wrap_future(written))
        self.metrics.predictions.labels(model, str(served.version.version), routed.role).inc(len(results))
        return Answered(served, routed.role, results)

    async def explain(self, model: str, job: Sequence[Any], *, request_id: str, unit: str | None) -> Answered:
        """The parts of an answer; nothing is written down."""
        return await self.preview(model, job, unit=request_id if unit is None else unit, explain=True)

    async def preview(self, model: str, job: Sequence[Any], *, unit: str, explain: bool = False) -> Answered:
        """What `unit` would be answered, without an id and without being written down."""
        _, served, routed = self.routed(model, unit)
        return Answered(served, routed.role, await self._asked(model, served, job, explain=explain))

    async def _asked(self, model: str, served: Served, job: Sequence[Any], *, explain: bool = False) -> list[Answer]:
        try:
            return await self._batchers[model].ask(served, job, explain=explain)
        except OverloadedError:
            raise ProblemError(503, f"Too many requests wait for {model}; try again.", headers={"Retry-After": "1"}) from None
        except (ValueError, LookupError) as error:
            said = refusal(error)
            if said is None:
                raise
            raise ProblemError(409, said) from None

    def _ask_shadow(self, lane: Lane, served: Served, job: Sequence[Any], items: Sequence[Mapping[str, Any]]) -> None:
        version = lane.plan.shadow
        if self.shadow is None or version is None or version.model_sha256 == served.version.model_sha256:
            return
        folder = self._ws.artifacts.root / version.artifact
        self.shadow.put(ShadowAsk(version, folder, job, items))

    async def record_outcomes(self, outcomes: Sequence[Outcome]) -> int:
        """Outcomes on disk; they are joined with their predictions in the database. Raises `ProblemError` when the disk refuses."""
        now = datetime.now(UTC).isoformat()
        records = [
            {
                "kind": "outcome",
                "prediction_id": outcome.prediction_id,
                "value": outcome.value,
                "weight": outcome.weight,
                "observed_at": outcome.observed_at.astimezone(UTC).isoformat(),
                "received_at": now,
            }
            for outcome in outcomes
        ]
        written = self.log.put(records, durable=True)
        assert written is not None
        await _on_disk(asyncio.wrap_future(written))
        return len(records)

    # -- jobs ----------------------------------------------------------------------------------------------------------------------

    async def health_job(self, request: AccountHealthRequest) -> dict[str, Any]:
        """What the answerer takes: the daily rows given, or the account's features from the lake. Raises `ProblemError`."""
        if request.daily is not None:
            days = [row.model_dump(mode="json") for row in request.daily]
            return {"platform": request.platform, "account_id": request.account_id, "currency": request.currency, "daily": days}
        plan = self.holder.lanes["account_health"].plan
        artifacts = {version.model_sha256 for version in (*plan.answering, *([] if plan.shadow is None else [plan.shadow]))}
        read = functools.partial(self._accounts.features, artifacts=artifacts)
        features, feed, bands = await self._from_lake(read, request.platform, request.account_id, request.day)
        return {"features": features, "feed": feed, "bands": bands}

    async def anomaly_job(self, request: AnomaliesRequest) -> dict[str, Any]:
        """What the answerer takes: the series given, or the account's from the lake. Raises `ProblemError`."""
        planned, calendar = self._planned.read()
        known: dict[str, Any] = {"account_id": request.account_id, "planned": planned, "calendar": calendar}
        if request.series is None:
            rows, feed = await self._from_lake(self._accounts.series, request.platform, request.account_id, request.day)
            names = ("platform", "account_id", "metric", "timestamp", "value", "maturity", "currency")
            return known | {"rows": [{name: row.get(name) for name in names} for row in rows], "feed": feed}
        rows = [
            {
                "platform": request.platform,
                "account_id": request.account_id,
                "metric": series.metric,
                "timestamp": point.date.isoformat(),
                "value": point.value,
                "maturity": 1.0 if point.maturity is None else point.maturity,
                "currency": series.currency,
            }
            for series in request.series
            for point in series.points
        ]
        return known | {"rows": rows}

    async def _from_lake(self, read: Any, platform: str | None, account_id: str, day: date | None) -> Any:
        if platform is None:
            raise ProblemError(409, "An account of the lake is named by platform and account_id; give both, or its rows.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._lake, read, platform, account_id, day)
        except UnknownAccountError:
            raise ProblemError(404, "The lake has no facts of this account up to that day; ingest its exports, or give its rows.") from None

    # -- state ---------------------------------------------------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        """What `/v1/models` says."""
        entries = []
        for model, lane in self.holder.lanes.items():
            champion, canary, shadow = lane.plan.champion, lane.plan.canary, lane.plan.shadow
            entries.append(
                {
                    "name": model,
                    "champion": None if champion is None else answered_by(champion, "champion"),
                    "canary": None if canary is None else answered_by(canary.version, "canary"),
                    "canary_share": None if canary is None else canary.share,
                    "shadow": None if shadow is None else answered_by(shadow, "shadow"),
                    "shadow_state": self._shadow_state(lane),
                    "trained_at": None if champion is None else champion.trained_at.isoformat(),
                    "data_version": None if champion is None else champion.data_version,
                    "metrics": {} if champion is None else {name: dict(numbers) for name, numbers in champion.metrics.items()},
                    "swap_problem": self.holder.problems.get(model),
                }
            )
        return entries

    def _shadow_state(self, lane: Lane) -> ShadowState | None:
        """None without a shadow, or when the server runs none."""
        version = lane.plan.shadow
        return None if self.shadow is None or version is None else self.shadow.state(version.model_sha256)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests can be answered, and the details."""
        champions = {model: lane.plan.champion for model, lane in self.holder.lanes.items()}
        served = {model: None if champion is None else champion.version for model, champion in champions.items()}
        ready = any(version is not None for version in served.values())
        return ready, {
            "status": "ready" if ready else "not ready",
            "models": served,
            # What the database said may name hosts; that is for the log.
            "registry": "unreachable" if self.holder.registry_problem else "reachable",
            "swap_problems": dict.fromkeys(self.holder.problems, "a newer version is not taken up; the log says why"),
            "log": "waiting for the database" if self.log.problem else "flowing",
            "shadows": {model: state for model, lane in self.holder.lanes.items() if (state := self._shadow_state(lane)) is not None},
        }


def _inputs(item: Any) -> dict[str, Any]:
    given = item if isinstance(item, dict) else {"value": item}
    return {name: value for name, value in given.items() if value is not None}


async def _on_disk(written: asyncio.Future[None]) -> None:
    try:
        await written
    except LogUnavailableError as error:
        raise ProblemError(
            503, f"In durable mode nothing is answered that could not be written down, and {error}.", headers={"Retry-After": "5"}
        ) from None
