"""The HTTP API: routes, their documents, and the app that holds them."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.responses import Response

from within_pipelines import __version__
from within_pipelines.serving import schemas
from within_pipelines.serving.examples import REQUESTS
from within_pipelines.serving.gate import Gate
from within_pipelines.serving.problems import Problem, ProblemError, documented, field_problems, problem_response
from within_pipelines.serving.server import Server
from within_pipelines.serving.settings import ServeSettings

if TYPE_CHECKING:
    from within_pipelines.pipeline import Workspace
    from within_pipelines.serving.traffic import TrafficSource

_DESCRIPTION = """Ad scores, account health and anomalies by the versions that the registry names.

Every answer names the version and the hash of its artifact, and carries a prediction id: send what became of it to `/v1/outcomes`.
Refusals are problem details (RFC 9457). Examples below were answered by the models that serve here."""
_KEY = [Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="A key made by `within keys create`."))]
_REFUSALS = documented(400, 401, 403, 409, 413, 422, 429, 503, 504)

v1 = APIRouter(prefix="/v1", dependencies=_KEY, responses=_REFUSALS)
open_routes = APIRouter()


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, allow_nan=False, separators=(",", ":")), status_code=status, media_type="application/json")


def _of(request: Request) -> tuple[Server, str]:
    server: Server = request.app.state.server
    request_id: str = request.state.request_id
    return server, request_id


def _possible(creatives: Sequence[schemas.Creative]) -> list[dict[str, Any]]:
    """The creatives as a job; a history that cannot be is refused before it meets other requests' creatives."""
    for place, creative in enumerate(creatives):
        said = creative.contradiction()
        if said is not None:
            raise ProblemError(409, f"Creative {place}: {said}")
    return [creative.model_dump() for creative in creatives]


async def _answered(request: Request, model: str, job: list[Any], unit: str | None, *, one: bool) -> Response:
    server, request_id = _of(request)
    found = await server.answer(model, job, request_id=request_id, unit=unit)
    head = {"request_id": request_id, "model": found.by}
    return _json(head | ({"result": found.results[0]} if one else {"results": found.results}))


@v1.post("/ad-score", response_model=schemas.AdScoreAnswer, tags=["ad score"])
async def ad_score(request: Request, body: schemas.AdScoreRequest) -> Response:
    """Score one creative: 100 x the probability that it beats a typical sibling."""
    return await _answered(request, "ad_score", _possible([body.creative]), body.unit or body.creative.account_id, one=True)


@v1.post("/ad-score/batch", response_model=schemas.AdScoreBatchAnswer, tags=["ad score"])
async def ad_score_batch(request: Request, body: schemas.AdScoreBatch) -> Response:
    """Score creatives; those with one `group_id` beside each other."""
    unit = body.unit or body.creatives[0].account_id
    return await _answered(request, "ad_score", _possible(body.creatives), unit, one=False)


@v1.post("/account-health", response_model=schemas.AccountHealthAnswer, tags=["account health"], responses=documented(404))
async def account_health(request: Request, body: schemas.AccountHealthRequest) -> Response:
    """The calibrated probability that an account's efficiency falls by a fifth within a week, and what drives it."""
    job = await _of(request)[0].health_job(body)
    return await _answered(request, "account_health", [job], body.unit or body.account_id, one=True)


@v1.post("/account-health/batch", response_model=schemas.AccountHealthBatchAnswer, tags=["account health"], responses=documented(404))
async def account_health_batch(request: Request, body: schemas.AccountHealthBatch) -> Response:
    """The health of several accounts."""
    jobs = [await _of(request)[0].health_job(account) for account in body.accounts]
    return await _answered(request, "account_health", jobs, body.unit or body.accounts[0].account_id, one=False)


@v1.post("/anomalies", response_model=schemas.AnomaliesAnswer, tags=["anomalies"], responses=documented(404))
async def anomalies(request: Request, body: schemas.AnomaliesRequest) -> Response:
    """Which metric of an account misbehaves, and since when."""
    job = await _of(request)[0].anomaly_job(body)
    return await _answered(request, "anomaly", [job], body.unit or body.account_id, one=True)


@v1.post("/anomalies/batch", response_model=schemas.AnomaliesBatchAnswer, tags=["anomalies"], responses=documented(404))
async def anomalies_batch(request: Request, body: schemas.AnomaliesBatch) -> Response:
    """The anomalies of several accounts."""
    jobs = [await _of(request)[0].anomaly_job(account) for account in body.accounts]
    return await _answered(request, "anomaly", jobs, body.unit or body.accounts[0].account_id, one=False)


@v1.post("/explain", response_model=schemas.ExplainAnswer, tags=["explanations"], responses=documented(404))
async def explain(request: Request, body: schemas.ExplainRequest) -> Response:
    """The parts that add up to an answer; not written down as a prediction."""
    server, request_id = _of(request)
    job: dict[str, Any]
    unit: str | None
    if isinstance(body, schemas.ExplainAdScore):
        (job,), unit = _possible([body.creative]), body.creative.account_id
    elif isinstance(body, schemas.ExplainAccountHealth):
        job, unit = await server.health_job(body.account), body.account.unit or body.account.account_id
    else:
        job, unit = await server.anomaly_job(body.account), body.account.unit or body.account.account_id
    found = await server.explain(body.model, [job], request_id=request_id, unit=unit)
    return _json({"request_id": request_id, "model": found.by, "rows": found.results})


@v1.post("/outcomes", status_code=202, response_model=schemas.OutcomesAnswer, tags=["outcomes"])
async def outcomes(request: Request, body: schemas.OutcomesRequest) -> Response:
    """Say what became of predictions. When this is answered, it is on disk; it is joined with its prediction in the database."""
    server, request_id = _of(request)
    accepted = await server.record_outcomes(body.outcomes)
    return _json({"request_id": request_id, "accepted": accepted}, 202)


@v1.get("/models", response_model=schemas.ModelsAnswer, tags=["models"])
async def models(request: Request) -> Response:
    """Who answers, who answers beside, and what was measured of the champion."""
    server, request_id = _of(request)
    return _json({"request_id": request_id, "models": server.models()})


@v1.post("/admin/refresh", response_model=schemas.ModelsAnswer, tags=["models"])
async def refresh(request: Request) -> Response:
    """Read aliases and keys now instead of at the next poll."""
    server, request_id = _of(request)
    await server.refresh()
    return _json({"request_id": request_id, "models": server.models()})


@open_routes.get("/health/live", response_model=schemas.Live, tags=["health"])
async def live() -> Response:
    """The process runs."""
    return _json({"status": "live"})


@open_routes.get("/health/ready", response_model=schemas.Ready, responses=documented(503), tags=["health"])
async def ready(request: Request) -> Response:
    """Whether requests can be answered. While a new version is refused or the database is away, the version that serves goes on."""
    server, _ = _of(request)
    is_ready, state = server.ready()
    if not is_ready:
        raise ProblemError(503, "No version of any model serves yet.", headers={"Retry-After": "5"})
    return _json(state)


@open_routes.get(
    "/metrics",
    dependencies=_KEY,
    tags=["health"],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Numbers"}, **documented(401, 403, 429)},
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(_of(request)[0].metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def create_app(ws: Workspace, settings: ServeSettings | None = None, *, traffic: TrafficSource | None = None) -> FastAPI:
    """The API on an open workspace. `traffic` says who answers (default: the registry's aliases).

    The app starts and ends its threads with its lifespan; the workspace stays the caller's."""
    chosen = ServeSettings() if settings is None else settings
    server = Server(ws, chosen, traffic=traffic)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    app = FastAPI(
        title="WITHIN Pipelines", version=__version__, description=_DESCRIPTION, lifespan=lifespan, redoc_url=None, openapi_url=None
    )
    app.state.server = server
    app.add_middleware(Gate, settings=chosen, keys=lambda: server.keys, metrics=server.metrics)
    app.include_router(v1)
    app.include_router(open_routes)
    _refusals_as_problems(app)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return _json(await documents(app))

    return app


def _refusals_as_problems(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def refused(request: Request, error: ProblemError) -> Response:
        return problem_response(error, request_id=request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = field_problems(error.errors())
        problem = ProblemError(422, f"{len(found)} fields are wrong." if len(found) != 1 else "One field is wrong.", errors=found)
        return problem_response(problem, request_id=request.state.request_id)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        problem = ProblemError(error.status_code, str(error.detail), headers=dict(error.headers or {}))
        return problem_response(problem, request_id=request.state.request_id)


async def documents(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the answers that the models that serve now give to the examples."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components |= problem.pop("$defs", {})
    components["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path, example in REQUESTS.items():
        operation = document["paths"][path]["post"]
        operation["requestBody"]["content"]["application/json"]["examples"] = {"typical": {"value": copy.deepcopy(example)}}
        answer = await _example_answer(app, path)
        if answer is not None:
            success = operation["responses"]["202" if path == "/v1/outcomes" else "200"]
            success["content"]["application/json"]["examples"] = {"typical": {"value": answer}}
    return document


async def _example_answer(app: FastAPI, path: str) -> dict[str, Any] | None:
    """What is answered to the example of a path, without being written down; None while nothing serves."""
    server: Server = app.state.server
    example = REQUESTS[path]
    request_id = "0" * 32
    if path == "/v1/outcomes":
        return {"request_id": request_id, "accepted": len(example["outcomes"])}
    try:
        if path.startswith("/v1/ad-score"):
            model, job, unit = "ad_score", example.get("creatives") or [example["creative"]], example.get("unit")
        elif path.startswith("/v1/account-health"):
            accounts = [schemas.AccountHealthRequest(**account) for account in example.get("accounts") or [example]]
            model, job, unit = "account_health", [await server.health_job(account) for account in accounts], accounts[0].account_id
        elif path.startswith("/v1/anomalies"):
            asked = [schemas.AnomaliesRequest(**account) for account in example.get("accounts") or [example]]
            model, job, unit = "anomaly", [await server.anomaly_job(account) for account in asked], asked[0].account_id
        else:
            model, job, unit = "ad_score", [example["creative"]], None
        found = await server.preview(model, job, unit=unit or request_id, explain=path == "/v1/explain")
    except ProblemError:
        return None
    head = {"request_id": request_id, "model": found.by}
    if path == "/v1/explain":
        return head | {"rows": found.results}
    results = [{"prediction_id": f"{request_id}-{place}", **answer} for place, answer in enumerate(found.results)]
    return head | ({"results": results} if path.endswith("/batch") else {"result": results[0]})
