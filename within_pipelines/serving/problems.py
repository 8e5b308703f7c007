"""A refusal as a document: problem details for HTTP APIs (RFC 9457), with one entry per field that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TITLES: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "An API key is needed",
    403: "This is not allowed",
    404: "There is no such thing",
    405: "This method is not offered here",
    408: "The request took too long to arrive",
    409: "The request contradicts itself",
    413: "The request is too large",
    415: "The body is not JSON",
    422: "The request is not valid",
    429: "Too many requests",
    500: "The server failed",
    503: "Not available now",
    504: "No answer in time",
}


class FieldProblem(BaseModel):
    """One field that is wrong: where it is, what is wrong with it. The value itself is never repeated."""

    field: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457). `instance` is the request's id."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] = []


class ProblemError(Exception):
    """A refusal on its way to the caller."""

    def __init__(self, status: int, detail: str, *, errors: Sequence[FieldProblem] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def problem_response(error: ProblemError, *, request_id: str) -> Response:
    """The document as a response."""
    problem = Problem(
        type="about:blank",
        title=TITLES.get(error.status, "The request was refused"),
        status=error.status,
        detail=error.detail,
        instance=f"urn:request:{request_id}",
        errors=list(error.errors),
    )
    return Response(json.dumps(problem.model_dump()), status_code=error.status, media_type=MEDIA_TYPE, headers=error.headers)


def field_problems(errors: Sequence[Mapping[str, Any]]) -> list[FieldProblem]:
    """Pydantic's errors as ours: the place as a path, the message, not the input.

    >>> field_problems([{"loc": ("body", "creatives", 0, "headline"), "msg": "Field required", "input": {"secret": 1}}])
    [FieldProblem(field='creatives.0.headline', message='Field required')]
    """
    found = []
    for error in errors:
        place = [str(part) for part in error["loc"] if part != "body"]
        found.append(FieldProblem(field=".".join(place), message=str(error["msg"])))
    return found


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route for these statuses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}
