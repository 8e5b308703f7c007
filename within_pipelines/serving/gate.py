"""What every request passes first: an id, a key, a limit on rate, size and time; and what is logged of it: everything but its content."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from within_pipelines.serving.keys import KeyRing
from within_pipelines.serving.limits import TokenBuckets
from within_pipelines.serving.logs import event
from within_pipelines.serving.metrics import Metrics
from within_pipelines.serving.problems import ProblemError, problem_response
from within_pipelines.serving.settings import ServeSettings

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_HERE = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})
# Paths that anybody may ask; every other needs the scope of its first match, and what no route knows needs any key.
OPEN: frozenset[str] = frozenset({"/health/live", "/health/ready", "/openapi.json", "/docs"})
SCOPE_OF: Mapping[str, str] = {
    "/v1/ad-score": "score",
    "/v1/account-health": "score",
    "/v1/anomalies": "score",
    "/v1/explain": "explain",
    "/v1/outcomes": "outcomes",
    "/v1/models": "models",
    "/v1/admin": "admin",
    "/metrics": "metrics",
}


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, settings: ServeSettings, keys: Callable[[], KeyRing], metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._metrics = metrics
        self._buckets = TokenBuckets(rate=settings.rate_per_second, burst=settings.rate_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        told: dict[str, Any] = {"status": 0, "bytes": 0}

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        failure: BaseException | None = None
        problem: ProblemError | None = None
        try:
            caller = self._admitted(scope, headers)
            state["caller"] = told["caller"] = caller
            async with asyncio.timeout(self._settings.timeout_seconds):
                body = await self._body(scope, headers, receive)
                told["bytes"] = len(body)
                await self._app(scope, _replayed(body, receive), sent)
        except ProblemError as error:
            problem = error
        except TimeoutError:
            problem = ProblemError(504, f"There was no answer within {self._settings.timeout_seconds:g} seconds; try again.")
        except Exception as error:  # noqa: BLE001 - the outermost edge: the caller gets a document, the log the kind and the place
            failure, problem = error, ProblemError(500, "Something went wrong here; the log has it under this request's id.")
        if problem is not None and told["status"] == 0:
            await problem_response(problem, request_id=request_id)(scope, receive, sent)
        self._written(scope, told, request_id, time.perf_counter() - started, failure)

    def _admitted(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """Who asks: the id of a key, or an address. Raises `ProblemError` for who may not."""
        path = scope["path"]
        if path in OPEN:
            return "open"
        caller = f"address {(scope.get('client') or ('unknown',))[0]}"
        text = headers.get("x-api-key") or _bearer(headers.get("authorization", ""))
        if text is not None:
            record = self._keys().find(text, now=datetime.now(UTC))
            if record is None:
                raise ProblemError(401, "This API key is unknown, has ended, or is not complete.", headers={"WWW-Authenticate": "ApiKey"})
            wanted = next((needed for start, needed in SCOPE_OF.items() if path == start or path.startswith(f"{start}/")), None)
            if wanted is not None and wanted not in record.scopes:
                raise ProblemError(
                    403, f"This API key has no scope {wanted!r}; ask for one that has (`within keys create --scope {wanted}`)."
                )
            caller = f"key {record.key_id}"
        elif self._settings.needs_key:
            raise ProblemError(401, "Send an API key in the header X-API-Key.", headers={"WWW-Authenticate": "ApiKey"})
        elif re.sub(r":\d+$", "", headers.get("host", "")) not in _HERE:
            # Without keys, a web page that gave this machine's address a name of its own could ask in the name of its visitor.
            raise ProblemError(403, "Without API keys only requests to localhost are answered; set WITHIN_SERVE_REQUIRE_KEY=true.")
        waits = self._buckets.take(caller, now=time.monotonic())
        if waits > 0:
            raise ProblemError(
                429, f"More than {self._settings.rate_per_second:g} requests per second.", headers={"Retry-After": str(int(waits) + 1)}
            )
        return caller

    async def _body(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> bytes:
        limit = self._settings.body_limit
        too_large = ProblemError(413, f"The body is larger than {limit} bytes; split the request.", headers={"Connection": "close"})
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > limit:
            raise too_large
        body, more = bytearray(), scope["method"] not in ("GET", "HEAD", "OPTIONS", "TRACE")
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_large
            more = message.get("more_body", False)
        return bytes(body)

    def _written(self, scope: Scope, told: Mapping[str, Any], request_id: str, seconds: float, failure: BaseException | None) -> None:
        # The template of the route, because a path may hold what a caller typed.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "other"
        self._metrics.requests.labels(route, method, str(told["status"])).inc()
        self._metrics.latency.labels(route).observe(seconds)
        event(
            "request",
            level=logging.ERROR if failure is not None else logging.INFO,
            error=failure,
            request_id=request_id,
            method=method,
            route=route,
            status=told["status"],
            milliseconds=round(1000 * seconds, 2),
            bytes=told["bytes"],
            caller=told.get("caller", "refused"),
        )


def _bearer(header: str) -> str | None:
    kind, _, text = header.partition(" ")
    return text.strip() if kind.lower() == "bearer" and text.strip() else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever else comes."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
