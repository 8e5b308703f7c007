"""The shadow answers what the champion is asked, and nothing that it does is seen in an answer."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.serving.conftest import Running, eventually, running
from tests.serving.test_holder import CREATIVE, Declared, scores, two
from tests.serving.test_spool import total
from within_pipelines.database import PredictionRepository
from within_pipelines.pipeline import Workspace
from within_pipelines.serving import TrafficPlan
from within_pipelines.serving.metrics import Metrics
from within_pipelines.serving.shadow import Shadow, ShadowAsk
from within_pipelines.serving.shadow_worker import ShadowAnswers

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def message(ws: Workspace, asks: int = 3, **more: object) -> dict[str, object]:
    _, second = two(ws)
    item = {"request_id": "r", "unit": "u"}
    return {
        "version": {"model": "ad_score", "version": second.version, "model_sha256": second.model_sha256},
        "folder": str(ws.artifacts.folder(second)),
        "asks": [{"job": [CREATIVE], "items": [item | {"prediction_id": f"{i}-0"}]} for i in range(asks)],
        **more,
    }


def test_the_shadow_says_what_its_version_says(ws: Workspace) -> None:
    _, second = two(ws)
    found = ShadowAnswers().records(message(ws))
    assert [(r["prediction_id"], r["role"], r["error"]) for r in found] == [(f"{i}-0", "shadow", None) for i in range(3)]
    for record in found:
        assert record["value"] == pytest.approx(scores(ws, second)[second.model_sha256], abs=1e-9)
        assert record["latency_ms"] > 0


def test_a_shadow_that_fails_is_a_finding(ws: Workspace, tmp_path: Path) -> None:
    nowhere = ShadowAnswers().records(message(ws, folder=str(tmp_path)))
    assert [r["error"] for r in nowhere] == ["ArtifactError"] * 3
    mixed = message(ws)
    mixed["asks"][1]["job"] = [CREATIVE | {"account_ctr": 5.0}]  # type: ignore[index]
    found = ShadowAnswers().records(mixed)
    assert [r["error"] is None for r in found] == [True, False, True]
    assert found[1]["value"] is None


def ask(ws: Workspace, number: int) -> ShadowAsk:
    _, second = two(ws)
    item = {"prediction_id": f"{number}-0", "request_id": "r", "unit": "u"}
    return ShadowAsk(second, ws.artifacts.folder(second), [CREATIVE | {"description": "x" * 5_000}], [item])


def test_a_shadow_that_hangs_costs_dropped_requests_that_are_counted(ws: Workspace, tmp_path: Path) -> None:
    metrics = Metrics()
    shadow = Shadow(tmp_path, metrics, most=5, rotate_seconds=1.0, command=SLEEPER)
    shadow.start()
    asks = [ask(ws, number) for number in range(200)] * 10
    # Processor time of this thread: handing over may not wait for the shadow, however busy the machine is.
    started = time.thread_time()
    taken = [shadow.put(one) for one in asks]
    assert time.thread_time() - started < 1.0
    assert not all(taken)
    assert total(metrics.shadow.labels("dropped")) == taken.count(False)
    shadow.stop(within=0.5)


@pytest.mark.slow
def test_answers_do_not_wait_for_the_shadow_and_are_joined_with_its_own(fresh: Workspace) -> None:
    first, second = two(fresh)
    expected = scores(fresh, first, second)
    store = PredictionRepository(fresh.database)
    with running(fresh, traffic=Declared({"ad_score": TrafficPlan(first, shadow=second)}), shadow=True) as api:
        answered = [api.post("/v1/ad-score", {"creative": CREATIVE}).json() for _ in range(5)]
        assert {body["model"]["version"] for body in answered} == {first.version}
        eventually(lambda: store.count(role="shadow") == 5, within=60)
        _killed(api)
        api.post("/v1/ad-score", {"creative": CREATIVE})
        api.post("/v1/ad-score", {"creative": CREATIVE})
        eventually(lambda: store.count(role="shadow") >= 6, within=60)
    found = store.predictions("ad_score")
    for role, version in (("champion", first), ("shadow", second)):
        own = found.filter(pl.col("role") == role)
        assert set(own["model_sha256"]) == {version.model_sha256}
        for value in own["value"]:
            assert value == pytest.approx(expected[version.model_sha256], abs=1e-9)
    for body in answered:
        pair = found.filter(pl.col("prediction_id") == body["result"]["prediction_id"])
        assert sorted(pair["role"]) == ["champion", "shadow"]


def _killed(api: Running) -> None:
    process = api.server.shadow._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_with_a_hanging_shadow_answers_come_as_ever_and_the_server_ends(ws: Workspace) -> None:
    first, second = two(ws)
    with running(ws, traffic=Declared({"ad_score": TrafficPlan(first, shadow=second)}), shadow=True, shadow_queue=1) as api:
        api.server.shadow._command = SLEEPER
        api.server.shadow.stop = lambda: Shadow.stop(api.server.shadow, within=0.5)
        large = CREATIVE | {"description": "x" * 1000}
        for _ in range(60):
            assert api.post("/v1/ad-score/batch", {"creatives": [large] * 4}).status_code == 200
        text = api.client.get("/metrics").text
    asked = [line for line in text.splitlines() if line.startswith("within_shadow_total")]
    assert any('event="dropped"' in line for line in asked), asked


def until(shadow: Shadow, sha256: str, state: str, *, within: float = 180.0) -> None:
    eventually(lambda: shadow.state(sha256) == state, within=within)


def test_a_shadow_is_starting_until_it_says_that_it_answers(ws: Workspace, tmp_path: Path) -> None:
    metrics, (first, second) = Metrics(), two(ws)
    shadow = Shadow(tmp_path, metrics, most=5, rotate_seconds=1.0)
    shadow.start()
    try:
        assert shadow.state(second.model_sha256) == "starting"
        shadow.prepare(second, ws.artifacts.folder(second))
        shadow.prepare(first, tmp_path / "nowhere")
        until(shadow, second.model_sha256, "answering")
        until(shadow, first.model_sha256, "failed")
        assert total(metrics.shadow.labels("asked")) == 0
        process = shadow._process
        assert process is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 10
        os.kill(process.pid, signal.SIGKILL)
        until(shadow, second.model_sha256, "failed")
        shadow.prepare(second, ws.artifacts.folder(second))
        until(shadow, second.model_sha256, "answering")
    finally:
        shadow.stop()
    assert total(metrics.shadow.labels("restarted")) == 1


def test_what_is_dropped_while_the_shadow_starts_is_counted_apart(ws: Workspace, tmp_path: Path) -> None:
    metrics = Metrics()
    says = (
        "import json, sys, time; one = json.loads(sys.stdin.readline())['version']; "
        "print('noise'); print(json.dumps({**one, 'state': 'answering', 'why': ''}), flush=True); time.sleep(600)"
    )
    for command, apart in ((SLEEPER, True), ([sys.executable, "-c", says], False)):
        shadow = Shadow(tmp_path, metrics, most=5, rotate_seconds=1.0, command=command)
        shadow.start()
        one = ask(ws, 0)
        shadow.put(one)
        if not apart:
            until(shadow, one.version.model_sha256, "answering")
        before = {name: total(metrics.shadow.labels(name)) for name in ("dropped", "dropped_starting")}
        refused = [shadow.put(one) for _ in range(500)].count(False)
        after = {name: total(metrics.shadow.labels(name)) for name in ("dropped", "dropped_starting")}
        shadow.stop(within=0.5)
        assert refused > 0
        assert after["dropped"] - before["dropped"] == refused
        assert after["dropped_starting"] - before["dropped_starting"] == (refused if apart else 0)


def test_models_and_readiness_say_how_the_shadow_stands(ws: Workspace) -> None:
    first, second = two(ws)
    traffic = Declared({"ad_score": TrafficPlan(first, shadow=second)})

    def told(api: Running) -> dict[str, object]:
        return {entry["name"]: entry["shadow_state"] for entry in api.client.get("/v1/models").json()["models"]}

    with running(ws, traffic=traffic, shadow=True) as api:
        # Nobody has asked anything: the alias alone makes the process load its version.
        eventually(lambda: told(api)["ad_score"] == "answering", within=180)
        assert told(api)["anomaly"] is None
        assert api.client.get("/health/ready").json()["shadows"] == {"ad_score": "answering"}
    with running(ws, traffic=traffic) as api:
        assert told(api)["ad_score"] is None
        assert api.client.get("/health/ready").json()["shadows"] == {}
