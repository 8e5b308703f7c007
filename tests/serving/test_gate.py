"""Nobody passes without a key where one is needed, nothing too large or too much passes, and the log never says what was in it."""

from __future__ import annotations

import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.serving.conftest import Running, now, running
from within_pipelines.database import ApiKeyRepository
from within_pipelines.exceptions import ModelNotFoundError, SettingsError
from within_pipelines.pipeline import Workspace
from within_pipelines.serving import KeyRing, ServeSettings, create_key
from within_pipelines.serving.keys import digest_of
from within_pipelines.serving.limits import TokenBuckets
from within_pipelines.serving.logs import LOGGER, log_to

CREATIVE = {"headline": "zebra-crossing-4711", "description": "quokka-payload-0815"}


@pytest.fixture(scope="module")
def locked(ws: Workspace) -> Iterator[Running]:
    """A server that asks for keys."""
    with running(ws, require_key=True, body_limit=5_000, rate_per_second=1000.0, rate_burst=1000) as found:
        yield found


def made(ws: Workspace, *scopes: str, **more: timedelta) -> str:
    key = create_key("a test", scopes, now=now(), **more)  # type: ignore[arg-type]
    ApiKeyRepository(ws.database).add(key.record)
    return key.text


def ask(api: Running, key: str | None, path: str = "/v1/ad-score", **headers: str) -> int:
    given = headers | ({} if key is None else {"X-API-Key": key})
    return api.client.post(path, json={"creative": CREATIVE}, headers=given).status_code


def test_a_key_opens_what_its_scopes_say_and_nothing_else(locked: Running) -> None:
    score, models = made(locked.ws, "score"), made(locked.ws, "models", "admin")
    assert ask(locked, score) == 401  # the server has not read it yet
    locked.server._refresh()
    assert ask(locked, score) == 200
    assert ask(locked, None) == 401
    assert ask(locked, None, Authorization=f"Bearer {score}") == 200
    assert ask(locked, models) == 403
    assert locked.client.get("/v1/models", headers={"X-API-Key": score}).status_code == 403
    assert locked.client.get("/v1/models", headers={"X-API-Key": models}).status_code == 200
    assert locked.client.post("/v1/admin/refresh", headers={"X-API-Key": models}).status_code == 200
    assert locked.client.post("/v1/admin/refresh", headers={"X-API-Key": score}).status_code == 403
    assert locked.client.get("/metrics").status_code == 401
    assert locked.client.get("/health/ready").status_code == 200


def test_wrong_ended_and_revoked_keys_are_refused(locked: Running) -> None:
    right = made(locked.ws, "score")
    ended = made(locked.ws, "score", valid_for=timedelta(seconds=-1))
    locked.server._refresh()
    assert ask(locked, right) == 200
    for wrong in (ended, right[:-1], right + "x", "wk_0_0", "nonsense", right.replace("wk_", "wk_0")):
        assert ask(locked, wrong) == 401, wrong
    ApiKeyRepository(locked.ws.database).revoke(right.split("_")[1], now=now())
    locked.server._refresh()
    assert ask(locked, right) == 401


def test_a_rotated_key_overlaps_its_successor() -> None:
    start = now()
    old = create_key("old", ["score"], now=start)
    new = create_key("new", ["score"], now=start, replaces=old.record.key_id)
    assert old.text != new.text
    from dataclasses import replace

    ring = KeyRing([replace(old.record, expires_at=start + timedelta(hours=1)), new.record])
    for later, holds in ((timedelta(minutes=59), True), (timedelta(minutes=61), False)):
        assert (ring.find(old.text, now=start + later) is not None) == holds
        assert ring.find(new.text, now=start + later) is not None


def test_the_database_holds_digests_and_rotates_in_one_step(fresh_empty: Workspace) -> None:
    store = ApiKeyRepository(fresh_empty.database)
    old = create_key("dashboard", ["score"], now=now())
    store.add(old.record)
    secret = old.text.split("_", 2)[2]
    content = (fresh_empty.settings.home / "within.db").read_bytes() + (fresh_empty.settings.home / "within.db-wal").read_bytes()
    assert secret.encode() not in content
    assert digest_of(secret, key_id=old.record.key_id).encode() in content
    new = create_key("dashboard", ["score"], now=now(), replaces=old.record.key_id)
    until = now() + timedelta(hours=2)
    store.rotate(new.record, old_until=until)
    assert [(record.key_id, record.expires_at) for record in store.records()] == [(old.record.key_id, until), (new.record.key_id, None)]
    with pytest.raises(ModelNotFoundError, match="no API key"):
        store.rotate(create_key("x", ["score"], now=now(), replaces="0" * 16).record, old_until=until)
    with pytest.raises(SettingsError, match="scopes everything"):
        create_key("x", ["everything"], now=now())


def test_keys_hold_while_the_database_is_away(locked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from within_pipelines.exceptions import DatabaseError

    key = made(locked.ws, "score")
    locked.server._refresh()

    def away() -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(locked.server._key_store, "records", away)
    locked.server._refresh()
    assert ask(locked, key) == 200


def test_binding_elsewhere_needs_keys_and_loopback_needs_a_loopback_name(ws: Workspace, api: Running) -> None:
    assert ServeSettings(host="0.0.0.0").needs_key
    assert ServeSettings(host="example.org").needs_key
    assert not ServeSettings(host="::1").needs_key
    assert ask(api, None) == 200
    assert ask(api, None, Host="evil.example") == 403
    assert ask(api, "wk_unknown_key") == 401


def test_a_body_beyond_the_limit_is_refused_whatever_it_claims(locked: Running) -> None:
    key = made(locked.ws, "score")
    locked.server._refresh()
    large = {"creative": CREATIVE | {"headline": "x" * 6_000}}
    assert locked.client.post("/v1/ad-score", json=large, headers={"X-API-Key": key}).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 1_000

    assert locked.client.post("/v1/ad-score", content=chunks(), headers={"X-API-Key": key}).status_code == 413


def test_more_than_the_rate_is_refused_until_tokens_are_back(ws: Workspace) -> None:
    with running(ws, rate_per_second=5.0, rate_burst=3) as api:
        statuses = [ask(api, None) for _ in range(6)]
        assert statuses[:3] == [200] * 3
        assert 429 in statuses
        time.sleep(0.5)
        assert ask(api, None) == 200
        assert api.client.get("/health/live").status_code == 200


def test_callers_do_not_share_their_tokens() -> None:
    buckets = TokenBuckets(rate=1.0, burst=1)
    assert [buckets.take(caller, now=0.0) for caller in ("a", "b", "a")] == [0.0, 0.0, 1.0]
    assert buckets.take("a", now=10.0) == 0.0
    assert buckets.take("a", now=10.0) == 1.0  # what is not used does not pile up beyond the burst


def test_a_request_that_never_ends_is_ended(ws: Workspace) -> None:
    with running(ws, timeout_seconds=0.5) as api:
        host, port = api.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/ad-score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{")
            slow.settimeout(10)
            assert b" 504 " in slow.recv(4096).split(b"\r\n")[0]


def test_the_log_tells_of_every_request_and_of_nothing_that_was_in_it(ws: Workspace, api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    log_to(stream)
    key = made(api.ws, "score")
    try:
        assert ask(api, None) == 200
        assert ask(api, key) == 401
        api.post("/v1/ad-score", {"creative": CREATIVE | {"format": 1}})
        api.client.post("/v1/quokka-payload-0815", json={})
        api.client.get("/v1/models?who=quokka-payload-0815")

        def failing(*_: object, **__: object) -> None:
            raise RuntimeError("failed on quokka-payload-0815")

        monkeypatch.setattr(api.server._answerers["ad_score"].__class__, "answer", failing)
        failed = api.post("/v1/ad-score", {"creative": CREATIVE})
        assert failed.status_code == 500
        assert "quokka" not in failed.text
    finally:
        logging.getLogger(LOGGER).handlers = []
    written = stream.getvalue()
    for payload in ("zebra-crossing-4711", "quokka-payload-0815", key, key.split("_", 2)[2]):
        assert payload not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["route"], line["status"]) for line in lines if line["event"] == "request"] == [
        ("/v1/ad-score", 200), ("unmatched", 401), ("/v1/ad-score", 422), ("unmatched", 404), ("/v1/models", 200), ("/v1/ad-score", 500),
    ]  # fmt: skip
    assert lines[-1]["error"] == "RuntimeError"
    assert "test_gate.py" in lines[-1]["at"]
    assert all(len(line["request_id"]) == 32 for line in lines)
