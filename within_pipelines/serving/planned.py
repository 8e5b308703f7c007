"""What was planned: the deployment's calendar, read again when its file changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from within_pipelines.exceptions import SchemaError
from within_pipelines.pipeline.feeds import planned_changes
from within_pipelines.serving.logs import event

if TYPE_CHECKING:
    from within_pipelines.pipeline import Workspace

CalendarState = Literal["none", "applied", "unreadable"]


class PlannedChanges:
    """The entries of HOME/calendar.yaml as plain values, because jobs go to the shadow's process.

    A file that cannot be read leaves the last entries in force: an alarm about what was planned is a smaller harm than no answer. The
    state says so, and the log says why."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._seen: tuple[int, int] | None = None
        self._entries: list[dict[str, Any]] = []
        self._state: CalendarState = "none"

    def read(self) -> tuple[list[dict[str, Any]], CalendarState]:
        """The entries (first, last, reason, where) and whether the file that is there now is the one they come from."""
        try:
            found = self._ws.settings.calendar.stat()
        except OSError:
            self._seen, self._entries, self._state = None, [], "none"
            return self._entries, self._state
        if self._seen != (found.st_mtime_ns, found.st_size):
            self._seen = (found.st_mtime_ns, found.st_size)
            try:
                planned = planned_changes(self._ws).planned
            except (SchemaError, OSError) as error:
                self._state = "unreadable"
                event("calendar_unreadable", level=logging.ERROR, problem=str(error))
            else:
                self._entries = [
                    {"first": one.first.isoformat(), "last": one.last.isoformat(), "reason": one.reason, "where": dict(one.where)}
                    for one in planned
                ]
                self._state = "applied"
        return self._entries, self._state
