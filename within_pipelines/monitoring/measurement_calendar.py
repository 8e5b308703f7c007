"""Dated changes of how platforms measure, and planned events: what explains a shift without the world having changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from within_pipelines.exceptions import SchemaError


class EventKind(StrEnum):
    """A definition change holds from its day on; a planned event from its day until its last."""

    DEFINITION_CHANGE = "definition_change"
    PLANNED_EVENT = "planned_event"


class CalendarEvent(BaseModel):
    """One line of the calendar. `features` are names or patterns (`*_conversions*`), `platform` limits it to one platform's rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    until: date | None = None
    kind: EventKind = EventKind.DEFINITION_CHANGE
    what: str = Field(min_length=3)
    platform: str | None = None
    features: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _in_order(self) -> CalendarEvent:
        if self.kind is EventKind.PLANNED_EVENT and self.until is None:
            raise ValueError("a planned event needs `until`, its last day")
        if self.until is not None and self.until < self.day:
            raise ValueError(f"until {self.until} lies before day {self.day}")
        return self

    def between(self, reference_end: date, window_start: date, window_end: date) -> bool:
        """Whether the event lies between the two windows: a definition that changed after the reference and by the end of the window, or a
        planned event that overlaps the window."""
        if self.kind is EventKind.PLANNED_EVENT:
            return self.day <= window_end and (self.until or self.day) >= window_start
        return reference_end < self.day <= window_end and (self.until is None or self.until >= window_start)

    def covers(self, feature: str) -> bool:
        """Whether the event names the feature."""
        return any(fnmatchcase(feature, pattern) for pattern in self.features)

    def concerns(self, model: str) -> bool:
        """Whether the event names the model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True, slots=True)
class MeasurementCalendar:
    """The events of a deployment, oldest first."""

    events: tuple[CalendarEvent, ...] = ()

    @classmethod
    def load(cls, path: Path) -> MeasurementCalendar:
        """The calendar of a YAML file: a list of events. A file that does not exist is an empty calendar.

        Raises `SchemaError` that names the event and what is wrong with it."""
        if not path.is_file():
            return cls()
        import yaml

        try:
            found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise SchemaError(f"{path} is no YAML: {error}.") from error
        if found is None:
            return cls()
        if not isinstance(found, list):
            raise SchemaError(f"{path} holds {type(found).__name__}; give a list of events with day and what.")
        events = []
        for number, entry in enumerate(found, start=1):
            try:
                events.append(CalendarEvent.model_validate(entry))
            except ValidationError as error:
                problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in error.errors())
                raise SchemaError(f"{path}, event {number}: {problems}.") from error
        return cls(tuple(sorted(events, key=lambda event: (event.day, event.what))))

    def explanations(
        self, *, model: str, features: Sequence[str], reference_end: date, window_start: date, window_end: date
    ) -> tuple[CalendarEvent, ...]:
        """The events that together name every one of `features`; empty when one feature is named by none, because then something else moved
        as well. Without features (a loss rose and no input was found to move) only an event counts that is limited to none and so stands
        for everything.

        >>> event = CalendarEvent(day=date(2026, 6, 20), what="view-through conversions joined", features=("*conversions*",))
        >>> calendar = MeasurementCalendar((event,))
        >>> when = {"reference_end": date(2026, 6, 1), "window_start": date(2026, 6, 24), "window_end": date(2026, 6, 30)}
        >>> len(calendar.explanations(model="m", features=["log_conversions_7"], **when))
        1
        >>> len(calendar.explanations(model="m", features=["log_conversions_7", "log_ctr_7"], **when))
        0
        """
        current = [e for e in self.events if e.concerns(model) and e.between(reference_end, window_start, window_end)]
        named = [[event for event in current if event.covers(feature)] for feature in features]
        if features:
            return tuple(dict.fromkeys(event for events in named for event in events)) if all(named) else ()
        return tuple(event for event in current if "*" in event.features)
