"""Laws of alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import (
    MONITORS,
    Alert,
    DriftState,
    MonitorFinding,
    Severity,
    alert_for_check,
    alert_for_drift,
    alert_for_finding,
    alert_for_run,
    alert_for_verdict,
    feature_drift,
)
from within_pipelines.stats import Status, Verdict


def verdict(status: Status) -> Verdict:
    return Verdict("calibration", status, None, 1.0, {}, "The slope is .4.", model_sha256="ab")


def test_only_what_did_not_pass_is_told() -> None:
    assert alert_for_verdict(verdict(Status.PASSED), model="ad_score") is None
    failed, unsure = (alert_for_verdict(verdict(s), model="ad_score") for s in (Status.FAILED, Status.INSUFFICIENT))
    assert failed is not None
    assert unsure is not None
    assert (failed.severity, unsure.severity) == (Severity.WARNING, Severity.INFO)
    assert failed.dedup_key == unsure.dedup_key
    assert failed.context["model_sha256"] == "ab"
    assert "passes the gate calibration" in failed.closes_when
    assert alert_for_check(asset="ad_performance", check="freshness", passed=True, blocking=True, detail="") is None


def test_a_finding_links_to_the_asset_that_shows_it() -> None:
    for monitor in MONITORS:
        told = alert_for_finding(MonitorFinding(monitor, "ad_score", date(2026, 6, 30), DriftState.DRIFTED))
        assert told is not None
        assert told.context["monitor"] == monitor
        assert told.context["asset"] in {"data_drift", "prediction_drift", "concept_drift", "feature_correlation", "estimated_performance"}
        assert alert_for_finding(MonitorFinding(monitor, "ad_score", date(2026, 6, 30), DriftState.STABLE)) is None


def test_a_finding_names_its_run_its_accounts_and_how_what_it_names_moved() -> None:
    shift = {"feature": "cpc", "state": "drifted", "cause": "values", "effect": 0.31, "missing_reference": 0.0, "missing_current": 0.0}
    gone = {**shift, "feature": "headline", "cause": "missing", "effect": 0.0, "missing_current": 0.5}
    renamed = {**shift, "feature": "ctr", "cause": "renamed to rate", "effect": None}
    accounts = [{"account": "meta_ads/1", "share": 0.6}, {"account": "google_ads/2", "share": 0.2}]
    evidence = {"run_id": "r1", "accounts": accounts, "table": [shift, gone, renamed, {**shift, "state": "stable"}]}
    found = MonitorFinding("data_drift", "ad_score", date(2026, 6, 30), DriftState.DRIFTED, features=("cpc",), evidence=evidence)
    told = alert_for_finding(found)
    assert told is not None
    assert told.accounts == ("meta_ads/1", "google_ads/2")
    assert told.links("http://d")["run"] == "http://d/runs/r1"
    assert told.likely_cause == (
        "cpc: values (distance 0.31); headline: missing (missing 0%, now 50%); ctr: renamed to rate; "
        "most of it in meta_ads/1 (60%), google_ads/2 (20%)"
    )
    event = {"what": "a longer attribution window", "day": "2026-06-01", "until": None, "kind": "attribution", "platform": None}
    explained = replace(found, evidence={**evidence, "events": [event]}).explained_by("Explained.")
    told = alert_for_finding(explained)
    assert told is not None
    assert told.likely_cause == "a longer attribution window (2026-06-01)"
    # Nothing is known but the names, which the title has.
    told = alert_for_finding(replace(found, evidence={}))
    assert told is not None
    assert (told.likely_cause, told.accounts, dict(told.links("http://d"))) == ("", (), {"asset": "http://d/assets/data_drift"})


def test_a_blocking_check_is_critical() -> None:
    made = [
        alert_for_check(asset="ad_performance", check="freshness", passed=False, blocking=b, detail="2 days old", context={"run_id": "r"})
        for b in (True, False)
    ]
    assert [alert.severity for alert in made if alert] == [Severity.CRITICAL, Severity.WARNING]
    assert made[0] is not None
    assert made[0].context == {"run_id": "r", "asset": "ad_performance", "check": "freshness"}


def test_the_same_cause_has_the_same_key_whatever_the_run() -> None:
    first, again = (alert_for_run(job="retrain", run_id=r, step="fit", error="boom") for r in ("1", "2"))
    assert first.dedup_key == again.dedup_key == "run/retrain/fit"
    assert alert_for_run(job="retrain", run_id="1", error="x").dedup_key != first.dedup_key


def test_drift_is_told_with_its_features_and_calm_is_not() -> None:
    rng = np.random.default_rng(1)
    before = pl.DataFrame({f"f{i}": rng.normal(size=500) for i in range(7)})
    assert alert_for_drift(feature_drift(before, before, rng=rng), table="account_features") is None
    alert = alert_for_drift(feature_drift(before, before + 9, rng=rng), table="account_features")
    assert alert is not None
    assert alert.dedup_key == "drift/account_features"
    assert "and 2 more" in alert.detail
    assert "distance 1.00" in alert.detail


def test_an_alert_cannot_be_changed_and_must_say_what_would_close_it() -> None:
    alert = alert_for_run(job="j", run_id="r", error="e")
    with pytest.raises(TypeError):
        alert.context["job"] = "other"  # type: ignore[index]
    with pytest.raises(SampleError, match="would close it"):
        Alert("k", Severity.INFO, "title", "detail", "")
