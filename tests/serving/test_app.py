"""An answer over HTTP is the predictor's answer, and it says who gave it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from tests.serving.conftest import Running, eventually
from within_pipelines.database import PredictionRepository
from within_pipelines.lake import knowledge_time
from within_pipelines.pipeline import Workspace, account_rows, build_account_features, feature_table, load_version
from within_pipelines.serving.examples import REQUESTS

CREATIVE: dict[str, Any] = {"headline": "Save 20 percent on running shoes today", "platform": "meta_ads", "account_ctr": 0.01}


def test_a_creative_gets_the_champions_score(api: Running) -> None:
    champion = api.ws.registry.alias("ad_score", "champion")
    assert champion is not None
    expected: Any = load_version(api.ws, champion).predict(pl.DataFrame([CREATIVE]))[0]  # type: ignore[union-attr]
    response = api.post("/v1/ad-score", {"creative": CREATIVE}, **{"X-Request-ID": "mine-1"})
    assert response.status_code == 200
    body = response.json()
    assert body["model"] == {
        "name": "ad_score",
        "version": champion.version,
        "kind": champion.kind,
        "model_sha256": champion.model_sha256,
        "role": "champion",
    }
    assert body["request_id"] == response.headers["X-Request-ID"] == "mine-1"
    for name in ("score", "log_odds_contrast", "low", "high", "predicted_ctr", "confidence"):
        assert body["result"][name] == pytest.approx(getattr(expected, name), abs=1e-9), name


def test_a_batch_compares_siblings_and_leaves_strangers_alone(api: Running) -> None:
    siblings = [CREATIVE | {"ad_id": "a", "group_id": "g"}, {"headline": "Our shoes", "ad_id": "b", "group_id": "g"}]
    response = api.post("/v1/ad-score/batch", {"creatives": [*siblings, CREATIVE]})
    first, second, alone = response.json()["results"]
    assert set(first["win_probabilities"]) == {"b"}
    assert set(second["win_probabilities"]) == {"a"}
    assert alone["win_probabilities"] == {}
    assert alone["score"] == pytest.approx(api.post("/v1/ad-score", {"creative": CREATIVE}).json()["result"]["score"], abs=1e-9)


@pytest.mark.parametrize("path", [path for path in REQUESTS if path != "/v1/outcomes"])
def test_the_documented_examples_are_answered_as_documented(api: Running, path: str) -> None:
    operation = api.client.get("/openapi.json").json()["paths"][path]["post"]
    example = operation["requestBody"]["content"]["application/json"]["examples"]["typical"]["value"]
    documented = operation["responses"]["200"]["content"]["application/json"]["examples"]["typical"]["value"]

    def without_ids(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_ids(inner) for name, inner in value.items() if name not in ("request_id", "prediction_id")}
        if isinstance(value, list):
            return [without_ids(inner) for inner in value]
        return pytest.approx(value, abs=1e-9) if isinstance(value, float) else value

    assert without_ids(api.post(path, example).json()) == without_ids(documented)


def test_served_features_are_the_offline_features_of_that_origin(api: Running) -> None:
    pin = api.ws.pin()
    build_account_features(api.ws, pin)
    offline = feature_table(api.ws, pin, "account_health").filter(pl.col("campaign_id") == "")
    last: Any = offline["origin"].max()
    checked = 0
    for origin in (last, last - timedelta(days=30)):
        daily = account_rows(api.ws, pin, origin, knowledge_time(origin)).filter(pl.col("campaign_id") == "")
        for row in daily.head(3).iter_rows(named=True):
            served, _, _ = api.server._accounts.features(row["platform"], row["account_id"], origin)
            (stored,) = offline.filter(
                (pl.col("platform") == row["platform"]) & (pl.col("account_id") == row["account_id"]) & (pl.col("origin") == origin)
            ).to_dicts()
            for name, value in stored.items():
                if isinstance(value, float):
                    assert served[name] == pytest.approx(value, abs=1e-9), name
                    assert row[name] == pytest.approx(value, abs=1e-9), name
                    checked += 1
                elif value is None:
                    assert served[name] is None, name
    assert checked > 100


def test_an_account_of_the_lake_is_answered_by_its_id(api: Running) -> None:
    platform, account = api.ws.lake.accounts()[0]
    body = api.post("/v1/account-health", {"platform": platform, "account_id": account}).json()
    pin = api.ws.pin()
    day = api.ws.lake.last_event_date(pin.commit_seq)
    assert day is not None
    rows = account_rows(api.ws, pin, day, knowledge_time(day), accounts=[(platform, account)], campaigns=False)
    champion = api.ws.registry.alias("account_health", "champion")
    assert champion is not None
    expected: Any = load_version(api.ws, champion).predict(rows)[0]  # type: ignore[union-attr]
    assert body["result"]["origin"] == day.isoformat()
    assert body["result"]["state"] == expected.state
    assert body["result"]["probability"] == (None if expected.probability is None else pytest.approx(expected.probability, abs=1e-9))
    anomalies = api.post("/v1/anomalies", {"platform": platform, "account_id": account}).json()
    assert anomalies["result"]["points"] > 100
    unknown = api.post("/v1/account-health", {"platform": platform, "account_id": "nobody"})
    assert unknown.status_code == 404
    assert "ingest its exports" in unknown.json()["detail"]


def test_daily_rows_are_answered_without_the_lake(api: Running) -> None:
    body = api.post("/v1/account-health", REQUESTS["/v1/account-health"]).json()
    assert body["result"]["state"] == "scored"
    assert 0 <= body["result"]["probability"] <= 1
    found = api.post("/v1/anomalies", REQUESTS["/v1/anomalies"]).json()["result"]["findings"]
    assert [(finding["metric"], finding["timestamp"], finding["direction"]) for finding in found] == [("spend", "2026-06-29", "down")]


def test_parts_add_up_to_what_is_explained(api: Running) -> None:
    row = api.post("/v1/explain", {"model": "ad_score", "creative": CREATIVE}).json()["rows"][0]
    total = row.pop("log_odds_contrast")
    assert sum(row.values()) == pytest.approx(total, abs=1e-9)
    health = api.post("/v1/explain", {"model": "account_health", "account": REQUESTS["/v1/account-health"]}).json()["rows"][0]
    numbers = {name: value for name, value in health.items() if isinstance(value, float)}
    assert sum(value for name, value in numbers.items() if name != "log_odds") == pytest.approx(numbers["log_odds"], abs=1e-9)
    assert api.post("/v1/explain", {}).status_code == 422


def test_a_refusal_names_each_field_and_repeats_no_value(api: Running) -> None:
    response = api.post("/v1/ad-score", {"creative": {"headline": 3, "surprise": "s3cret", "account_ctr": 12}})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert [error["field"] for error in problem["errors"]] == ["creative.headline", "creative.account_ctr", "creative.surprise"]
    assert problem["status"] == 422
    assert "s3cret" not in response.text
    impossible = {"headline": "x", "account_clicks_before": 5, "account_impressions_before": 1}
    refused = api.post("/v1/ad-score", {"creative": impossible})
    assert (refused.status_code, "must not exceed" in refused.text) == (409, True)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 20_000, "application/json", 400),
        (b'{"creative": {"headline": "\\ud800"}}', "application/json", 422),
        (b'{"creative": {"headline": "x", "account_ctr": NaN}}', "application/json", 422),
        (b"headline=x", "application/x-www-form-urlencoded", 422),
        (b"", "application/json", 422),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_document(api: Running, content: bytes, kind: str, status: int) -> None:
    response = api.client.post("/v1/ad-score", content=content, headers={"content-type": kind})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_what_no_route_knows_is_a_document_too(api: Running) -> None:
    assert (api.client.get("/nowhere").status_code, api.client.get("/v1/ad-score").status_code) == (404, 405)
    assert api.client.get("/v1/ad-score").json()["title"] == "This method is not offered here"


def test_a_semantic_refusal_of_the_predictor_reaches_the_caller(api: Running) -> None:
    day = {"date": "2026-06-01", "impressions": 10, "clicks": 1}
    response = api.post("/v1/account-health", {"account_id": "a", "daily": [day, day]})
    assert response.status_code == 409
    assert "repeat" in response.json()["detail"]


def test_predictions_and_outcomes_meet_in_the_database(api: Running) -> None:
    store = PredictionRepository(api.ws.database)
    answered = api.post("/v1/ad-score", {"creative": CREATIVE, "unit": "account-7"}).json()
    identity = answered["result"]["prediction_id"]
    outcome = {"prediction_id": identity, "value": 0.02, "weight": 500, "observed_at": "2026-07-02T00:00:00Z"}
    for _ in range(2):
        assert api.post("/v1/outcomes", {"outcomes": [outcome]}).json()["accepted"] == 1
    api.post("/v1/outcomes", {"outcomes": [outcome | {"value": 0.03, "observed_at": "2026-07-03T02:00:00+02:00"}]})

    def met() -> bool:
        own = store.predictions("ad_score").filter(pl.col("prediction_id") == identity)
        return own.height == 1 and own["outcome"].to_list() == [0.03]

    eventually(met)
    (row,) = store.predictions("ad_score").filter(pl.col("prediction_id") == identity).to_dicts()
    assert (row["unit"], row["role"], row["weight"]) == ("account-7", "champion", 500)
    assert row["value"] == answered["result"]["score"]


def test_the_models_page_says_who_serves_and_what_was_measured(api: Running) -> None:
    entries = {entry["name"]: entry for entry in api.client.get("/v1/models").json()["models"]}
    for model in ("ad_score", "account_health", "anomaly"):
        champion = api.ws.registry.alias(model, "champion")
        assert champion is not None
        assert entries[model]["champion"]["model_sha256"] == champion.model_sha256
        assert set(entries[model]["metrics"]) == set(champion.metrics)


def test_health_and_numbers(api: Running) -> None:
    assert api.client.get("/health/live").json() == {"status": "live"}
    state = api.client.get("/health/ready").json()
    assert state["status"] == "ready"
    assert state["registry"] == "reachable"
    api.post("/v1/ad-score", {"creative": CREATIVE})
    text = api.client.get("/metrics").text
    assert 'within_requests_total{method="POST",route="/v1/ad-score",status="200"}' in text
    assert 'within_serving_version{model="ad_score"} 1.0' in text


def test_without_a_champion_the_answer_says_what_to_do(fresh_empty: Workspace) -> None:
    from tests.serving.conftest import running

    with running(fresh_empty) as api:
        response = api.post("/v1/ad-score", {"creative": CREATIVE})
        assert response.status_code == 503
        assert "within run" in response.json()["detail"]
        assert api.client.get("/health/ready").status_code == 503
        assert api.client.get("/health/live").status_code == 200
        document = api.client.get("/openapi.json").json()
        assert "examples" not in json.dumps(document["paths"]["/v1/ad-score"]["post"]["responses"]["200"])
