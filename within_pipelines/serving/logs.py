"""One JSON object a line about each request, without what was in it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any

LOGGER = "within.serving"


class JsonLines(logging.Formatter):
    """Time, level, event, and the fields of `extra={"fields": {...}}`; an error's kind and place, never its message.

    A message may quote what a caller sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            trace = record.exc_info[2]
            place = ""
            while trace is not None:
                place, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
            entry |= {"error": record.exc_info[0].__name__, "at": place}
        return json.dumps(entry, default=str)


def log_to(stream: IO[str] | None = None) -> logging.Handler:
    """Send the server's log to a stream (default: stderr) and nowhere else; returns the handler."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return handler


def event(name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log one event."""
    logging.getLogger(LOGGER).log(level, name, extra={"fields": fields}, exc_info=error)
