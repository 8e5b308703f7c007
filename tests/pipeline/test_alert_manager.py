"""From an alert to a message that arrives: a channel that is down loses nothing, and only a crash at one point makes a copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.conftest import NOW, REPOSITORY
from tests.monitoring.servers import OK, answer, free_port, http_receiver, mail_receiver
from within_pipelines.database import Resolution
from within_pipelines.exceptions import AlertStateError
from within_pipelines.monitoring import Alert, Severity, signature_holds
from within_pipelines.pipeline import AlertManager, Workspace
from within_pipelines.settings import Settings

SECRET = {"HOOK_KEY": "s3cret-key"}
FULL: dict[str, object] = {
    "context": {"run_id": "ab", "asset": "anomalies"},
    "likely_cause": "clicks fell",
    "accounts": ("act_1",),
    "money_at_risk": {"EUR": 12.0},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def ws(home: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=home)) as opened:
        yield opened


def alert(key: str = "run/ingest", severity: Severity = Severity.WARNING, **more: object) -> Alert:
    return Alert(key, severity, f"{key} failed", "The disk is full.", "a later run succeeds", **more)  # type: ignore[arg-type]


def manager(ws: Workspace, *channels: dict[str, object], **settings: object) -> AlertManager:
    ws.settings.alerts.write_text(yaml.safe_dump({"channels": list(channels), **settings}))
    made = AlertManager(ws)
    assert made.problem == ""
    return made


def webhook(url: str, name: str = "hook", **more: object) -> dict[str, object]:
    return {"kind": "webhook", "name": name, "url": url, "secret_env": "HOOK_KEY", "timeout_seconds": 0.5, "group_minutes": 0, **more}


def deliver(made: AlertManager, now: datetime = NOW, **hooks: object) -> object:
    return made.deliver(clock=lambda: now, environ=SECRET, log=lambda _: None, **hooks)  # type: ignore[arg-type]


def messages(made: AlertManager) -> pl.DataFrame:
    return made.outbox.messages()


def test_a_webhook_gets_one_signed_message_with_everything_a_person_needs(ws: Workspace) -> None:
    with http_receiver() as receiver:
        made = manager(ws, webhook(receiver.url))
        made.tell(
            alert(
                context={"run_id": "ab", "asset": "anomalies"}, likely_cause="clicks fell", accounts=("act_1",), money_at_risk={"EUR": 12.0}
            ),
            now=NOW,
        )
        made.tell(alert(), now=NOW + timedelta(minutes=1))  # a repeat is no message
        deliver(made)
        deliver(made, NOW + timedelta(hours=1))
    (request,) = receiver.requests
    assert signature_holds(request.headers["x-within-signature"], SECRET["HOOK_KEY"], request.body, now=NOW)
    assert not signature_holds(request.headers["x-within-signature"], "other", request.body, now=NOW)
    assert not signature_holds(request.headers["x-within-signature"], SECRET["HOOK_KEY"], request.body, now=NOW + timedelta(hours=1))
    sent = json.loads(request.body)
    assert sent["id"] == request.headers["idempotency-key"]
    (told,) = sent["alerts"]
    assert told["closes_when"] == "a later run succeeds"
    assert messages(made)["status"].to_list() == ["sent"]


def test_what_closes_links_money_cause_and_accounts_are_in_the_message(ws: Workspace) -> None:
    with http_receiver() as receiver:
        made = manager(ws, webhook(receiver.url))
        made.tell(
            alert(
                context={"run_id": "ab", "asset": "anomalies"}, likely_cause="clicks fell", accounts=("act_1",), money_at_risk={"EUR": 12.0}
            ),
            now=NOW,
        )
        deliver(made)
    text = json.loads(receiver.requests[0].body)["text"]
    for part in ("At risk: 12 EUR", "Likely cause: clicks fell", "Accounts: act_1", "Closes when:", "/assets/anomalies", "/runs/ab"):
        assert part in text


def test_a_channel_that_is_down_loses_nothing_and_holds_up_no_other(ws: Workspace) -> None:
    with http_receiver() as receiver:
        made = manager(ws, webhook(f"http://127.0.0.1:{free_port()}/", "down"), webhook(receiver.url, "up"))
        for number in range(3):
            made.tell(alert(f"run/{number}"), now=NOW)
        round_one = deliver(made)
        assert round_one.sent == {"up": 3}  # type: ignore[attr-defined]
        assert "did not take it" in round_one.troubled["down"]  # type: ignore[attr-defined]
        # One attempt, not three: the channel is left alone until later.
        assert messages(made).filter(channel="down")["attempts"].to_list() == [0, 0, 1]
        # It comes back.
        made = manager(ws, webhook(receiver.url, "down"), webhook(receiver.url, "up"))
        deliver(made, NOW + timedelta(hours=1))
    assert messages(made)["status"].unique().to_list() == ["sent"]
    keys = [r.headers["idempotency-key"] for r in receiver.requests]
    assert len(keys) == len(set(keys)) == 6


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\x00\xff\x00garbage\r\n\r\n",
        answer("302 Found", b"", "Location: http://127.0.0.1:1/"),
        answer("500 Oops", b"no"),
        answer("200 OK", b"<html>log in</html>"),
        answer("429 Slow", b"", "Retry-After: 99999999999999999999"),
        b"HTTP/1.1 abc def\r\n\r\n",
        b"HTTP/9.9\r\n\r\n",
    ],
)
def test_a_channel_that_answers_nonsense_has_not_taken_the_message(ws: Workspace, nonsense: bytes) -> None:
    with http_receiver(nonsense, OK) as receiver:
        made = manager(ws, webhook(receiver.url))
        made.tell(alert(), now=NOW)
        assert deliver(made).sent == {}  # type: ignore[attr-defined]
        assert messages(made)["status"].to_list() == ["pending"]
        assert deliver(made, NOW + timedelta(minutes=1)).sent == {"hook": 1}  # type: ignore[attr-defined]
    first, second = receiver.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_an_answer_that_never_ends_is_given_up(ws: Workspace) -> None:
    with http_receiver(drip=True) as receiver:
        made = manager(ws, webhook(receiver.url))
        made.tell(alert(), now=NOW)
        assert deliver(made).sent == {}  # type: ignore[attr-defined]
    assert len(receiver.requests) == 1


def test_a_receiver_that_asks_for_time_gets_it(ws: Workspace) -> None:
    with http_receiver(answer("429 Too Many", b"", "Retry-After: 600"), OK) as receiver:
        made = manager(ws, webhook(receiver.url))
        made.tell(alert(), now=NOW)
        deliver(made)
        assert deliver(made, NOW + timedelta(minutes=5)).sent == {}  # type: ignore[attr-defined]
        assert deliver(made, NOW + timedelta(minutes=11)).sent == {"hook": 1}  # type: ignore[attr-defined]


def test_slack_takes_only_its_own_ok_and_names_cannot_shout(ws: Workspace) -> None:
    with http_receiver(answer("200 OK", b"welcome"), OK) as receiver:
        made = manager(ws, {"kind": "slack", "name": "chat", "url": receiver.url, "timeout_seconds": 0.5})
        made.tell(alert("run/<!channel>"), now=NOW)
        assert deliver(made).sent == {}  # type: ignore[attr-defined]
        assert deliver(made, NOW + timedelta(minutes=1)).sent == {"chat": 1}  # type: ignore[attr-defined]
    assert "&lt;!channel&gt;" in json.loads(receiver.requests[1].body)["text"]
    assert b"<!channel>" not in receiver.requests[1].body


def mail(port: int) -> dict[str, object]:
    return {
        "kind": "email", "name": "mail", "host": "127.0.0.1", "port": port, "security": "none", "sender": "within@example.org",
        "to": ["team@example.org"], "timeout_seconds": 0.5,
    }  # fmt: skip


def test_mail_arrives_with_a_message_id_that_a_retry_keeps(ws: Workspace) -> None:
    with mail_receiver(farewell=b"999 nonsense\r\n") as receiver:
        made = manager(ws, mail(receiver.port))
        made.tell(alert("run/a\nBcc: all@example.org"), now=NOW)
        assert deliver(made).sent == {"mail": 1}  # type: ignore[attr-defined]
        assert deliver(made, NOW + timedelta(hours=9)).sent == {}  # type: ignore[attr-defined]
    (message,) = receiver.messages
    key = messages(made)["idempotency_key"][0]
    assert f"Message-ID: <{key}@example.org>".encode() in message
    assert b"\nBcc:" not in message


@pytest.mark.parametrize("options", [{"refuse": b"550 no\r\n"}, {"greeting": b"hello?\r\n"}])
def test_a_mail_server_that_refuses_has_not_taken_it(ws: Workspace, options: dict[str, bytes]) -> None:
    with mail_receiver(**options) as receiver:
        made = manager(ws, mail(receiver.port))
        made.tell(alert(), now=NOW)
        assert deliver(made).sent == {}  # type: ignore[attr-defined]
    assert messages(made)["status"].to_list() == ["pending"]


_ROUND = """
import os, sys
from datetime import datetime
from pathlib import Path
from within_pipelines.pipeline import AlertManager, Workspace
from within_pipelines.settings import Settings

def die():
    os._exit(9)

with Workspace.open(Settings(home=Path(sys.argv[1]))) as ws:
    hooks = {sys.argv[3]: die} if sys.argv[3] else {}
    AlertManager(ws).deliver(
        clock=lambda: datetime.fromisoformat(sys.argv[2]), environ=os.environ, log=lambda _: None, **hooks
    )
"""


def round_in_another_process(home: Path, now: datetime, *, dies: str = "") -> int:
    environ = {**os.environ, **SECRET, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", _ROUND, str(home), now.isoformat(), dies], check=False, env=environ, cwd=REPOSITORY)
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize(("point", "copies"), [("after_claim", 1), ("after_send", 2)])
def test_a_crash_loses_nothing_and_a_copy_carries_the_same_key(ws: Workspace, home: Path, point: str, copies: int) -> None:
    """Before the receiver has it, a crash costs nothing; after it has answered, a copy follows that it can tell by its key."""
    with http_receiver() as receiver:
        made = manager(ws, webhook(receiver.url))
        made.tell(alert(), now=NOW)
        assert round_in_another_process(home, NOW, dies=point) == 9
        # The lease of the dead process still runs: nobody else sends.
        assert deliver(made, NOW + timedelta(seconds=30)).sent == {}  # type: ignore[attr-defined]
        assert deliver(made, NOW + timedelta(minutes=5)).sent == {"hook": 1}  # type: ignore[attr-defined]
        assert deliver(made, NOW + timedelta(hours=5)).sent == {}  # type: ignore[attr-defined]
    assert len(receiver.requests) == copies
    assert len({r.headers["idempotency-key"] for r in receiver.requests}) == 1
    assert len({r.body for r in receiver.requests}) == 1


def test_a_process_that_lost_its_lease_confirms_nothing(ws: Workspace) -> None:
    made = manager(ws, {"kind": "log", "name": "log"})
    made.tell(alert(), now=NOW)
    slow = made.outbox.claim(owner="slow", now=NOW)
    assert slow is not None
    assert made.outbox.claim(owner="other", now=NOW) is None
    fast = made.outbox.claim(owner="fast", now=NOW + timedelta(minutes=5))
    assert fast is not None
    assert not made.outbox.confirm(slow, "late", now=NOW + timedelta(minutes=5))
    assert made.outbox.confirm(fast, "ok", now=NOW + timedelta(minutes=5))


def test_one_cause_is_one_message(ws: Workspace) -> None:
    heard: list[str] = []
    made = manager(ws, {"kind": "log", "name": "log", "group_minutes": 30})
    for number in range(4):
        made.tell(alert(f"check/{number}", group="run/r1"), now=NOW)
    made.deliver(clock=lambda: NOW, environ={}, log=heard.append)
    assert len(heard) == 1
    assert "and 3 more" in heard[0]
    # What follows within half an hour waits and comes as one.
    for number in (5, 6):
        made.tell(alert(f"check/{number}", group="run/r1"), now=NOW + timedelta(minutes=10))
    made.deliver(clock=lambda: NOW + timedelta(minutes=20), environ={}, log=heard.append)
    assert len(heard) == 1
    made.deliver(clock=lambda: NOW + timedelta(minutes=31), environ={}, log=heard.append)
    assert len(heard) == 2


def test_a_flood_becomes_a_few_messages(ws: Workspace) -> None:
    heard: list[str] = []
    made = manager(ws, {"kind": "log", "name": "log", "most_per_hour": 5})
    for number in range(50):
        made.tell(alert(f"check/{number}"), now=NOW)
    made.deliver(clock=lambda: NOW, environ={}, log=heard.append)
    assert len(heard) == 5
    made.deliver(clock=lambda: NOW + timedelta(hours=2), environ={}, log=heard.append)
    assert len(heard) == 6
    assert "and 44 more" in heard[5]


def test_an_acknowledged_alert_is_not_escalated_and_another_is_once(ws: Workspace) -> None:
    heard: list[str] = []
    made = manager(ws, {"kind": "log", "name": "log"}, escalate_after_minutes=60)
    taken = made.tell(alert("a", Severity.CRITICAL), now=NOW)
    made.tell(alert("b", Severity.CRITICAL), now=NOW)
    made.tell(alert("c", Severity.WARNING), now=NOW)
    assert taken.id is not None
    made.acknowledge(taken.id, who="kim", why="looking", now=NOW)
    made.deliver(clock=lambda: NOW, environ={}, log=heard.append)
    for hours in (2, 3, 4):
        made.deliver(clock=lambda hours=hours: NOW + timedelta(hours=hours), environ={}, log=heard.append)  # type: ignore[misc]
    assert [line.splitlines()[0] for line in heard[3:]] == ["[critical, nobody has taken it] b failed"]
    assert made.store.trail(taken.id)["what"].to_list() == ["opened", "acknowledged"]
    assert made.store.trail(taken.id)["who"].to_list() == ["within", "kim"]


def test_a_snoozed_alert_is_silent_until_it_wakes_or_gets_worse(ws: Workspace) -> None:
    made = manager(ws, {"kind": "log", "name": "log", "group_minutes": 0})
    heard: list[str] = []
    for key in ("sleeps", "worsens"):
        told = made.tell(alert(key), now=NOW)
        assert told.id is not None
        made.snooze(told.id, days=2, who="kim", why="known until Friday", now=NOW)
    made.deliver(clock=lambda: NOW, environ={}, log=heard.append)
    heard.clear()
    made.tell(alert("sleeps"), now=NOW + timedelta(days=1))
    made.tell(alert("worsens", Severity.CRITICAL), now=NOW + timedelta(days=1))
    made.deliver(clock=lambda: NOW + timedelta(days=1), environ={}, log=heard.append)
    assert [line.splitlines()[0] for line in heard] == ["[critical] worsens failed"]
    made.tell(alert("sleeps"), now=NOW + timedelta(days=3))
    made.deliver(clock=lambda: NOW + timedelta(days=3), environ={}, log=heard.append)
    last = {line.splitlines()[0] for line in heard[1:]}
    assert last == {"[critical, nobody has taken it] worsens failed", "[warning] sleeps failed"}
    with pytest.raises(AlertStateError, match="later time"):
        made.snooze(1, days=0, who="kim", why="", now=NOW + timedelta(days=3))


def test_resolutions_say_who_and_why_and_are_counted(ws: Workspace) -> None:
    made = manager(ws, {"kind": "log", "name": "log"})
    ids = [made.tell(alert(f"account/{n}"), now=NOW).id for n in range(4)]
    judged = [Resolution.TRUE_ALERT, Resolution.TRUE_ALERT, Resolution.FALSE_ALERT]
    for identity, resolution in zip(ids, judged, strict=False):
        assert identity is not None
        made.resolve(identity, resolution=resolution, who="kim", why="looked", now=NOW)
    made.close("account/3", now=NOW)
    assert made.store.resolutions("account/") == {"true_alert": 2, "false_alert": 1, "unjudged": 1}
    assert made.store.resolutions("run/") == {}
    # What closed by itself can be judged later; only what is open can be acknowledged.
    assert ids[3] is not None
    made.resolve(ids[3], resolution=Resolution.FALSE_ALERT, who="kim", why="noise", now=NOW)
    assert made.store.resolutions()["false_alert"] == 2
    with pytest.raises(AlertStateError, match="is closed since"):
        made.acknowledge(ids[3], who="kim", why="", now=NOW)
    with pytest.raises(AlertStateError, match="no alert 99"):
        made.resolve(99, resolution=Resolution.NO_ACTION, who="kim", why="", now=NOW)
    with pytest.raises(AlertStateError, match="who does this"):
        made.resolve(1, resolution=Resolution.NO_ACTION, who=" ", why="", now=NOW)


def test_a_clock_that_goes_backwards_neither_stops_delivery_nor_turns_times_round(ws: Workspace) -> None:
    heard: list[str] = []
    made = manager(ws, {"kind": "log", "name": "log", "group_minutes": 60})
    made.tell(alert("a", group="g"), now=NOW)
    made.deliver(clock=lambda: NOW, environ={}, log=heard.append)
    back = NOW - timedelta(days=400)
    again = made.tell(alert("a", group="g"), now=back)
    assert again.last_seen_at == again.opened_at == NOW
    made.close("a", now=back)
    assert made.tell(alert("a", group="g"), now=back).opened_at > NOW  # type: ignore[operator]
    made.tell(alert("b"), now=back)
    heard.clear()
    made.deliver(clock=lambda: back + timedelta(hours=2), environ={}, log=heard.append)
    assert len(heard) == 2


def test_an_alerts_file_with_a_mistake_loses_no_alert(ws: Workspace) -> None:
    ws.settings.alerts.write_text("channels: [{kind: webhook, name: x, url: hunter2}]")
    made = AlertManager(ws)
    assert "channels.0.webhook" in made.problem
    assert "hunter2" not in made.problem
    made.tell(alert(), now=NOW)
    done = made.deliver(clock=lambda: NOW, environ={}, log=lambda _: None)
    assert done.sent == {"log": 1}
    assert "alerts file" in done.troubled


def test_messages_of_a_channel_that_was_removed_are_kept_as_dead(ws: Workspace) -> None:
    made = manager(ws, webhook("http://127.0.0.1:1/", "old"))
    made.tell(alert(), now=NOW)
    made = manager(ws, {"kind": "log", "name": "log"})
    deliver(made)
    assert messages(made)["status"].to_list() == ["dead"]
    made = manager(ws, {"kind": "log", "name": "old"})
    assert made.outbox.revive(now=NOW) == 1
    assert deliver(made).sent == {"old": 1}  # type: ignore[attr-defined]


def test_no_secret_reaches_the_answer(ws: Workspace) -> None:
    made = manager(ws, {"kind": "webhook", "name": "hook", "url_env": "HOOK_URL", "secret_env": "HOOK_KEY", "timeout_seconds": 0.3})
    made.tell(alert(), now=NOW)
    said = made.deliver(clock=lambda: NOW, environ={}, log=lambda _: None).troubled["hook"]
    assert "HOOK_KEY" in said or "HOOK_URL" in said
    hidden = {"HOOK_KEY": "k3y", "HOOK_URL": f"http://127.0.0.1:{free_port()}/T0P/s3cret"}
    later = NOW + timedelta(minutes=2)
    assert "s3cret" not in made.deliver(clock=lambda: later, environ=hidden, log=lambda _: None).troubled["hook"]
    assert "s3cret" not in str(messages(made).to_dicts())
