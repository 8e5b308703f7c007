"""Alerts, outbox, decisions and heartbeats on both engines."""

from __future__ import annotations

from datetime import timedelta

from tests.conftest import NOW
from within_pipelines.database import (
    AlertRecord,
    AlertStore,
    Database,
    HeartbeatRepository,
    Outbox,
    Resolution,
    RetrainingRepository,
    StoredDecision,
)
from within_pipelines.monitoring import AlertSettings


def record(key: str, severity: str = "warning") -> AlertRecord:
    return AlertRecord(key, severity, f"{key} failed", "detail", "closes", money_at_risk={"EUR": 2.0}, accounts=("a",), group_key="g")


def test_an_alert_its_trail_and_its_message_are_written_together(database: Database) -> None:
    store, outbox = AlertStore(database, AlertSettings()), Outbox(database)
    told = store.raise_alert(record("a_b%c"), now=NOW)
    assert told.id is not None
    assert (told.money_at_risk, list(told.accounts), told.group_key) == ({"EUR": 2.0}, ["a"], "g")
    store.raise_alert(record("a_b%c", "critical"), now=NOW + timedelta(minutes=1))
    assert store.trail(told.id)["what"].to_list() == ["opened", "worsened"]
    # Both changes are one message, because nobody has tried to send the first.
    assert outbox.messages().height == 1
    assert [r.dedup_key for r in store.open_under("a_b%")] == ["a_b%c"]
    assert store.open_under("aXb") == []
    store.acknowledge(told.id, who="kim", why="", now=NOW)
    assert store.escalate(now=NOW + timedelta(days=1)) == []
    store.resolve(told.id, resolution=Resolution.TRUE_ALERT, who="kim", why="", now=NOW)
    assert store.resolutions("a_b%") == {"true_alert": 1}
    assert store.resolved_since("a_b", NOW - timedelta(days=1)) == {"a_b%c"}


def test_two_deliverers_never_hold_the_same_message(database: Database) -> None:
    store, outbox = AlertStore(database, AlertSettings()), Outbox(database)
    for key in ("a", "b"):
        store.raise_alert(AlertRecord(key, "warning", key, ""), now=NOW)
    first, second = (outbox.claim(owner=o, now=NOW) for o in ("x", "y"))
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert outbox.claim(owner="z", now=NOW) is None
    assert not outbox.confirm(first.__class__(**{n: getattr(first, n) for n in first.__slots__} | {"owner": "z"}), "stolen", now=NOW)
    assert outbox.confirm(first, "ok", now=NOW)
    assert outbox.give_back(second, "down", now=NOW)
    assert outbox.claim(owner="x", now=NOW) is None
    again = outbox.claim(owner="x", now=NOW + timedelta(minutes=1))
    assert again is not None
    assert (again.idempotency_key, again.attempts) == (second.idempotency_key, 2)
    # After a week it is given up and kept.
    assert outbox.give_back(again, "down", now=NOW + timedelta(days=8))
    assert sorted(outbox.messages()["status"].to_list()) == ["dead", "sent"]


def test_decisions_are_kept_once_and_after_what_the_decider_knew(database: Database) -> None:
    repository = RetrainingRepository(database)
    asked = repository.request("ad_score", who="kim", why="x", now=NOW)
    decision = StoredDecision("ad_score", "retrain", "by_hand", "c", "r", NOW, "k", {"a": 1}, "key")
    assert repository.record(decision, answered=(asked.id,))
    assert not repository.record(decision)
    assert repository.requests("ad_score") == []
    (kept,) = repository.decisions("ad_score")
    assert kept == decision
    other = StoredDecision("ad_score", "retrain", "age", "c2", "r", NOW + timedelta(hours=1), "k2", {}, "key2")
    assert not repository.record(other, after=None), "another one was recorded since"
    assert repository.record(other, after=NOW)


def test_a_heartbeat_is_one_row_that_moves_on(database: Database) -> None:
    repository = HeartbeatRepository(database)
    for minute in range(3):
        repository.beat("s", interval_seconds=60, seconds=0.1, outcome="fine", now=NOW + timedelta(minutes=minute))
    (beat,) = repository.all()
    assert (beat.ticks, beat.last_tick_at) == (3, NOW + timedelta(minutes=2))
