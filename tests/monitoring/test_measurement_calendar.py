"""Dated events explain what they name, when they lie between the windows, and nothing else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring import CalendarEvent, EventKind, MeasurementCalendar

TEXT = """
- day: 2026-06-20
  what: view-through conversions joined the default attribution
  platform: meta_ads
  features: ["*conversions*", "*cpa*"]
- day: 2026-06-10
  until: 2026-06-14
  kind: planned_event
  what: summer sale
  models: [account_health]
"""
WHEN = {"reference_end": date(2026, 6, 1), "window_start": date(2026, 6, 24), "window_end": date(2026, 6, 30)}


def test_a_file_is_read_in_the_order_of_days(tmp_path: Path) -> None:
    path = tmp_path / "calendar.yaml"
    path.write_text(TEXT)
    calendar = MeasurementCalendar.load(path)
    assert [event.what for event in calendar.events] == ["summer sale", "view-through conversions joined the default attribution"]
    assert calendar.events[0].kind is EventKind.PLANNED_EVENT
    assert MeasurementCalendar.load(tmp_path / "none.yaml").events == ()
    path.write_text("")
    assert MeasurementCalendar.load(path).events == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day: 2026-06-20", "give a list of events"),
        ("- [1, 2", "is no YAML"),
        ("- day: 2026-06-20", "event 1: what: Field required"),
        ("- {day: 2026-06-20, what: sale, kind: planned_event}", "needs `until`"),
        ("- {day: 2026-06-20, what: sale, until: 2026-06-01}", "lies before day"),
        ("- {day: 2026-06-20, what: sale, colour: red}", "colour: Extra inputs"),
        ("- {day: soon, what: sale}", "event 1: day"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "calendar.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError, match=message):
        MeasurementCalendar.load(path)


def test_a_definition_change_explains_until_a_model_has_learned_it() -> None:
    event = CalendarEvent(day=date(2026, 6, 20), what="new attribution")
    calendar = MeasurementCalendar((event,))
    assert calendar.explanations(model="m", features=["a", "b"], **WHEN) == (event,)
    assert calendar.explanations(model="m", features=[], **WHEN) == (event,)
    learned = WHEN | {"reference_end": date(2026, 6, 25)}
    assert calendar.explanations(model="m", features=["a"], **learned) == ()
    before = WHEN | {"window_start": date(2026, 6, 12), "window_end": date(2026, 6, 18)}
    assert calendar.explanations(model="m", features=["a"], **before) == ()


def test_a_planned_event_explains_only_its_days_and_models() -> None:
    event = CalendarEvent(day=date(2026, 6, 10), until=date(2026, 6, 25), kind=EventKind.PLANNED_EVENT, what="sale", models=("account_*",))
    calendar = MeasurementCalendar((event,))
    assert calendar.explanations(model="account_health", features=["a"], **WHEN) == (event,)
    assert calendar.explanations(model="ad_score", features=["a"], **WHEN) == ()
    over = WHEN | {"window_start": date(2026, 6, 26)}
    assert calendar.explanations(model="account_health", features=["a"], **over) == ()


def test_one_feature_that_no_event_names_leaves_the_drift_unexplained() -> None:
    first = CalendarEvent(day=date(2026, 6, 20), what="conversions", features=("*conversions*",))
    second = CalendarEvent(day=date(2026, 6, 21), what="clicks", features=("log_ctr_*",))
    calendar = MeasurementCalendar((first, second))
    assert calendar.explanations(model="m", features=["log_conversions_7", "log_ctr_7"], **WHEN) == (first, second)
    assert calendar.explanations(model="m", features=["log_conversions_7", "log_cpm_7"], **WHEN) == ()


def test_an_event_about_some_features_says_nothing_where_none_was_found_to_move() -> None:
    some = CalendarEvent(day=date(2026, 6, 20), what="video views", features=("*video_views*",))
    every = CalendarEvent(day=date(2026, 6, 21), what="new attribution", platform="meta_ads")
    assert MeasurementCalendar((some,)).explanations(model="ad_score", features=[], **WHEN) == ()
    assert MeasurementCalendar((some, every)).explanations(model="ad_score", features=[], **WHEN) == (every,)
