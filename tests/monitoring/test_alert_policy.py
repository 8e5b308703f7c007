"""Laws of who hears of what and when."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from within_pipelines.exceptions import SettingsError
from within_pipelines.monitoring import Occasion, Severity, read_alert_settings
from within_pipelines.monitoring.alert_policy import DIGEST, OVERFLOW, Route, Traffic, next_wall_clock, retry_delay, route
from within_pipelines.monitoring.channel_settings import LogChannel, QuietTime
from within_pipelines.monitoring.messages import AlertLine, body, subject

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def routed(severity: Severity = Severity.WARNING, occasion: Occasion = Occasion.OPENED, now: datetime = NOW, **more: Any) -> Route | None:
    traffic = Traffic(more.pop("group_last", None), more.pop("last_hour", 0))
    rules = LogChannel(kind="log", name="log", **more)
    return route(rules, severity=severity, group="g", occasion=occasion, traffic=traffic, now=now)


def test_what_a_channel_does_not_want_is_not_sent() -> None:
    assert routed(minimum=Severity.CRITICAL) is None
    assert routed(occasion=Occasion.CLOSED, recoveries=False) is None
    assert routed(occasion=Occasion.ESCALATED, escalations=False) is None
    assert routed() == Route("g", NOW)


def test_small_things_wait_for_the_digest() -> None:
    assert routed(Severity.INFO) == Route(DIGEST, datetime(2026, 7, 2, 8, tzinfo=UTC))
    berlin = routed(Severity.INFO, digest_at=time(18), timezone="Europe/Berlin")
    assert berlin == Route(DIGEST, datetime(2026, 7, 1, 16, tzinfo=UTC))


def test_a_group_that_has_just_spoken_waits_and_a_flood_is_bundled() -> None:
    spoke = NOW - timedelta(minutes=10)
    assert routed(group_last=spoke, group_minutes=30) == Route("g", spoke + timedelta(minutes=30))
    assert routed(group_last=spoke, occasion=Occasion.ESCALATED) == Route("g", NOW)
    assert routed(last_hour=20) == Route(OVERFLOW, NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("hour", "end"), [(21, None), (22, 7), (3, 7), (7, None), (12, None)], ids=["before", "begin", "night", "end", "day"]
)
def test_quiet_hours_run_over_midnight_and_let_the_worst_through(hour: int, end: int | None) -> None:
    quiet = QuietTime(start=time(22), end=time(7))
    now = datetime(2026, 7, 1, hour, 30 if hour == 3 else 0, tzinfo=UTC)
    found = routed(now=now, quiet=quiet)
    assert found is not None
    assert (found.not_before == now) == (end is None)
    if end is not None:
        assert (found.not_before.hour, found.not_before - now < timedelta(hours=9, minutes=1)) == (end, True)
    critical = routed(Severity.CRITICAL, now=now, quiet=quiet)
    assert critical is not None
    assert critical.not_before == now


def test_wall_clocks_follow_summer_time() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert next_wall_clock(before, time(8), "Europe/Berlin") == datetime(2026, 3, 29, 6, tzinfo=UTC)
    assert next_wall_clock(before - timedelta(days=1), time(8), "Europe/Berlin") == datetime(2026, 3, 28, 7, tzinfo=UTC)


def test_retries_slow_down_and_do_not_come_at_once() -> None:
    assert [retry_delay(n) for n in range(1, 12)] == sorted(retry_delay(n) for n in range(1, 12))
    assert retry_delay(99) == timedelta(hours=1)
    spread = {retry_delay(3, seed=str(n)) for n in range(20)}
    assert len(spread) > 10
    assert all(0.8 * retry_delay(3) <= delay <= retry_delay(3) for delay in spread)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channels: [", "not readable as YAML"),
        ("- a", "holds no mapping"),
        ("channels: [{kind: pigeon, name: x}]", "channels"),
        ("channels: [{kind: log, name: x}, {kind: log, name: x}]", "two channels have one name"),
        ("channels: [{kind: slack, name: x}]", "either url or url_env"),
        ("channels: [{kind: webhook, name: x, url: 'ftp://hunter2'}]", "no http"),
        ("channels: [{kind: log, name: x, timezone: Mars}]", "no time zone"),
        ("channels: [{kind: email, name: x, host: h, sender: 'a b', to: [a@b]}]", "sender"),
        ("channels: [{kind: log, name: x, quiet: {start: 7:00, end: 7:00}}]", "same time"),
        ("false_alerts_per_week: 0", "greater than 0"),
        ("unknown: 1", "unknown"),
        ("!!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_a_mistake_in_the_alerts_file_is_named_without_its_values(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "alerts.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        read_alert_settings(tmp_path / "alerts.yaml")
    assert "hunter2" not in str(caught.value)


def test_times_are_read_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text("channels: [{kind: log, name: x, digest_at: 8:30, quiet: {start: 22:00, end: 07:00}}]")
    channel = read_alert_settings(tmp_path / "alerts.yaml").channel("x")
    assert channel.digest_at == time(8, 30)
    assert channel.quiet is not None
    assert (channel.quiet.start, channel.quiet.end) == (time(22), time(7))
    assert [c.kind for c in read_alert_settings(tmp_path / "none.yaml").channels] == ["log"]


def test_a_message_about_many_names_the_worst_first_and_says_how_many_more() -> None:
    lines = [AlertLine(n, "opened", "critical" if n == 7 else "warning", f"alert {n}", "", "x") for n in range(14)]
    assert subject(lines) == "[critical] alert 7 and 13 more"
    assert body(lines).startswith("[critical] alert 7")
    assert "and 4 more" in body(lines)
    assert body([]) == "Nothing is open."
