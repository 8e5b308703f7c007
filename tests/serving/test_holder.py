"""A moved alias is taken up without a dropped or a wrong answer; what cannot serve does not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import polars as pl
import pytest

from tests.serving.conftest import Running, running
from within_pipelines.exceptions import DatabaseError
from within_pipelines.pipeline import Workspace, load_version
from within_pipelines.registry import ModelVersion
from within_pipelines.serving import Canary, Experiment, TrafficPlan
from within_pipelines.serving.holder import ModelHolder
from within_pipelines.serving.metrics import Metrics

CREATIVE = {"headline": "Twenty running shoes that mothers love", "description": "Free returns"}


@dataclass
class Declared:
    """Traffic as a test declares it; models that it does not name have no champion."""

    plans: dict[str, TrafficPlan] = field(default_factory=dict)
    away: bool = False

    def plan(self, model: str) -> TrafficPlan:
        if self.away:
            raise DatabaseError("The database is away.")
        return self.plans.get(model, TrafficPlan(None))


def two(ws: Workspace) -> tuple[ModelVersion, ModelVersion]:
    first, second = ws.registry.versions("ad_score")[:2]
    return first, second


def scores(ws: Workspace, *versions: ModelVersion) -> dict[str, float]:
    """What each version says of the creative, by its artifact."""
    return {v.model_sha256: load_version(ws, v).predict(pl.DataFrame([CREATIVE]))[0].score for v in versions}  # type: ignore[union-attr,index]


def ask(api: Running) -> dict[str, Any]:
    response = api.post("/v1/ad-score", {"creative": CREATIVE})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_aliases_move_under_load_and_every_answer_is_that_of_the_version_it_names(ws: Workspace) -> None:
    first, second = two(ws)
    expected, declared = scores(ws, first, second), Declared({"ad_score": TrafficPlan(first)})
    with running(ws, traffic=declared) as api:
        bodies: list[dict[str, Any]] = []
        failures: list[BaseException] = []
        stop = threading.Event()

        def hammer() -> None:
            try:
                while not stop.is_set():
                    bodies.append(ask(api))
            except (AssertionError, httpx.HTTPError) as error:
                failures.append(error)

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(6):
            before = len(bodies)
            declared.plans["ad_score"] = TrafficPlan((first, second)[turn % 2])
            api.server._refresh()
            while len(bodies) < before + 6 and not failures:
                stop.wait(0.01)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert {body["model"]["version"] for body in bodies} == {first.version, second.version}
    for body in bodies:
        assert body["result"]["score"] == pytest.approx(expected[body["model"]["model_sha256"]], abs=1e-9)


def damaged(ws: Workspace, version: ModelVersion) -> Callable[[], None]:
    path = ws.artifacts.folder(version) / "model.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0", b"1", 1))
    return lambda: path.write_bytes(content) and None  # type: ignore[func-returns-value]


def exchanged(ws: Workspace, version: ModelVersion) -> Callable[[], None]:
    """Another sound artifact lies where this one was registered."""
    folder, kept = ws.artifacts.folder(version), ws.settings.home / "kept"
    folder.rename(kept)
    shutil.copytree(ws.artifacts.folder(two(ws)[0]), folder)

    def repair() -> None:
        shutil.rmtree(folder)
        kept.rename(folder)

    return repair


@pytest.mark.parametrize("break_it", [damaged, exchanged])
def test_a_broken_artifact_is_not_taken_up_and_the_old_version_goes_on(
    fresh: Workspace, break_it: Callable[[Workspace, ModelVersion], Callable[[], None]]
) -> None:
    first, second = two(fresh)
    declared = Declared({"ad_score": TrafficPlan(first)})
    with running(fresh, traffic=declared) as api:
        repair = break_it(fresh, second)
        declared.plans["ad_score"] = TrafficPlan(second)
        api.server._refresh()
        assert ask(api)["model"]["version"] == first.version
        ready = api.client.get("/health/ready")
        assert ready.status_code == 200
        assert set(ready.json()["swap_problems"]) == {"ad_score"}
        problem = next(entry for entry in api.client.get("/v1/models").json()["models"] if entry["name"] == "ad_score")["swap_problem"]
        assert f"v{second.version} is not taken up" in problem
        assert 'within_swaps_total{model="ad_score",result="refused"} 1.0' in api.client.get("/metrics").text
        repair()
        api.server._refresh()
        assert ask(api)["model"]["version"] == second.version
        assert api.client.get("/health/ready").json()["swap_problems"] == {}


def test_while_the_registry_is_away_what_serves_goes_on(ws: Workspace) -> None:
    first, second = two(ws)
    declared = Declared({"ad_score": TrafficPlan(first)})
    with running(ws, traffic=declared) as api:
        declared.away = True
        declared.plans["ad_score"] = TrafficPlan(second)
        api.server._refresh()
        assert ask(api)["model"]["version"] == first.version
        assert api.client.get("/health/ready").json()["registry"] == "unreachable"
        declared.away = False
        api.client.post("/v1/admin/refresh")
        assert ask(api)["model"]["version"] == second.version


def test_a_signal_or_the_next_poll_takes_up_a_move(ws: Workspace) -> None:
    first, second = two(ws)
    declared = Declared({"ad_score": TrafficPlan(first)})
    with running(ws, traffic=declared, poll_seconds=0.1) as api:
        declared.plans["ad_score"] = TrafficPlan(second)
        threading.Event().wait(1.0)
        assert ask(api)["model"]["version"] == second.version


def test_a_version_that_fails_its_trial_is_not_taken_up(ws: Workspace) -> None:
    first, second = two(ws)
    declared = Declared({"ad_score": TrafficPlan(first)})

    def load(version: ModelVersion) -> str:
        if version.version == second.version:
            raise ZeroDivisionError("it cannot even answer this")
        return f"v{version.version}"

    holder = ModelHolder(("ad_score",), declared, load, Metrics())
    holder.refresh()
    begun = holder.lanes["ad_score"]
    declared.plans["ad_score"] = TrafficPlan(second, canary=Canary(second, 0.5))
    holder.refresh()
    lane = holder.lanes["ad_score"]
    assert lane.plan.champion == first
    assert lane.plan.canary is None
    assert "failed its trial" in holder.problems["ad_score"]
    # A request that began on the old snapshot still has all it needs.
    assert begun.served[first.model_sha256].predictor == "v1"


def test_canary_units_and_arms_are_answered_by_their_version_and_keep_it(ws: Workspace) -> None:
    first, second = two(ws)
    declared = Declared({"ad_score": TrafficPlan(first, canary=Canary(second, 0.3))})
    with running(ws, traffic=declared) as api:

        def roles() -> dict[str, tuple[str, int]]:
            found = {}
            for unit in range(30):
                model = api.post("/v1/ad-score", {"creative": CREATIVE, "unit": f"account-{unit}"}).json()["model"]
                found[f"account-{unit}"] = (model["role"], model["version"])
            return found

        small = roles()
        assert set(small.values()) == {("champion", first.version), ("canary", second.version)}
        assert roles() == small
        declared.plans["ad_score"] = TrafficPlan(first, canary=Canary(second, 0.8))
        api.server._refresh()
        large = roles()
        canary = {unit for unit, (role, _) in small.items() if role == "canary"}
        assert canary < {unit for unit, (role, _) in large.items() if role == "canary"}
        arms = {"a": (first, 0.5), "b": (second, 0.5)}
        declared.plans["ad_score"] = TrafficPlan(first, experiment=Experiment("words", arms))
        api.server._refresh()
        assert set(roles().values()) == {("arm:a", first.version), ("arm:b", second.version)}
