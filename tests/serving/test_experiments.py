"""An A/B test of versions: each unit is answered by its arm, the log says so, and reading the log is reading the same rows from a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.serving.conftest import Running, eventually, now, running
from tests.serving.test_holder import CREATIVE, scores, two
from within_pipelines.database import ExperimentRepository, PredictionRepository
from within_pipelines.exceptions import PromotionRefusedError, SampleError
from within_pipelines.pipeline import (
    Workspace,
    analyse_experiment,
    draft_experiment,
    experiment_units,
    retention,
    start_canary,
    start_experiment,
    stop_experiment,
)
from within_pipelines.pipeline.experiments import units_of_log
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES
from within_pipelines.stats import Status, Verdict
from within_pipelines.validation import CanaryMetric, ExperimentSpec, ExperimentStateError, Metric

UNITS = [f"account-{n}" for n in range(80)]


def plan(ws: Workspace) -> ExperimentSpec:
    first, second = two(ws)
    return ExperimentSpec(
        "newer", {"new": 0.5, "old": 0.5}, "old", Metric("observed", denominator="trials"), minimum_effect=0.1, planned_units=60,
        key="own", model="ad_score", versions={"new": second.version, "old": first.version},
    )  # fmt: skip


def pass_gates(ws: Workspace) -> None:
    for version in two(ws):
        ws.registry.record_verdicts(
            Verdict(gate, Status.PASSED, None, 0.0, {"units": 40}, "Looked at.").bind(
                model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION
            )
            for gate in REQUIRED_GATES["ad_score"]
        )


def begin(ws: Workspace) -> ExperimentSpec:
    pass_gates(ws)
    spec = plan(ws)
    draft_experiment(ws, spec, now=now())
    start_experiment(ws, spec.name, now=now())
    return spec


def ask_all(api: Running) -> dict[str, dict[str, object]]:
    found = {}
    for unit in UNITS:
        response = api.post("/v1/ad-score", {"creative": CREATIVE, "unit": unit})
        assert response.status_code == 200, response.text
        found[unit] = response.json()
    return found


def refresh(api: Running) -> None:
    api.server.holder.refresh()


def test_units_are_answered_by_their_arms_until_it_is_stopped_and_the_log_is_read_as_a_file_is(fresh: Workspace, tmp_path: Path) -> None:
    spec = begin(fresh)
    first, second = two(fresh)
    expected, store = scores(fresh, first, second), PredictionRepository(fresh.database)
    champion = fresh.registry.alias("ad_score", "champion")
    assert champion is not None
    with running(fresh) as api:
        bodies = ask_all(api)
        assert {unit: body["model"]["role"] for unit, body in bodies.items()} == {u: f"arm:{spec.arm_of(u)}" for u in UNITS}  # type: ignore[index]
        assert {unit: body["model"]["role"] for unit, body in ask_all(api).items()} == {u: f"arm:{spec.arm_of(u)}" for u in UNITS}  # type: ignore[index]
        for unit, body in bodies.items():
            version = second if spec.arm_of(unit) == "new" else first
            assert body["model"]["version"] == version.version  # type: ignore[index]
            assert body["result"]["score"] == pytest.approx(expected[version.model_sha256], abs=1e-9)  # type: ignore[index]
        clicks = {u: (0.3 if spec.arm_of(u) == "new" else 0.1) + 0.0001 * place for place, u in enumerate(UNITS)}
        told = [
            {"prediction_id": body["result"]["prediction_id"], "value": clicks[unit], "weight": 50.0, "observed_at": now().isoformat()}  # type: ignore[index]
            for unit, body in bodies.items()
        ]
        assert api.post("/v1/outcomes", {"outcomes": told}).status_code == 202
        eventually(lambda: store.outcomes() == len(UNITS) and store.count(model="ad_score") == 2 * len(UNITS))
        stop_experiment(fresh, spec.name, now=now())
        refresh(api)
        after = ask_all(api)
        assert {(body["model"]["role"], body["model"]["version"]) for body in after.values()} == {("champion", champion.version)}  # type: ignore[index]
        eventually(lambda: store.count(model="ad_score") == 3 * len(UNITS))
    log = store.predictions("ad_score")
    assert log.filter(pl.col("role") == "champion")["experiment"].null_count() == len(UNITS)
    assert set(log.filter(pl.col("role") != "champion")["experiment"]) == {"newer"}
    by_hand = pl.DataFrame(
        {"unit": UNITS, "arm": [spec.arm_of(u) for u in UNITS], "observed": [50 * clicks[u] for u in UNITS], "trials": [50.0] * len(UNITS)}
    )
    by_hand.write_csv(tmp_path / "units.csv")
    day = datetime.now(UTC).date()
    from_log = experiment_units(fresh, spec.name, on=day)
    assert set(from_log["answers"]) == {2}
    # The same plan under another name is read from the file, because a decided experiment is read no second time.
    draft_experiment(fresh, twin := replace(spec, name="twin", model=None, versions={}, randomised=False), now=now())
    start_experiment(fresh, "twin", now=now())
    read = analyse_experiment(fresh, spec.name, from_log, now=now())
    written = analyse_experiment(fresh, twin.name, pl.read_csv(tmp_path / "units.csv"), now=now())
    assert read.winner == "new"
    assert read.units == written.units
    assert read.primary[0].p_value == pytest.approx(written.primary[0].p_value, rel=1e-9)
    assert read.primary[0].difference.value == pytest.approx(written.primary[0].difference.value, rel=1e-9)
    assert ExperimentRepository(fresh.database).running("ad_score") is None


def test_a_model_has_a_canary_or_an_experiment(fresh: Workspace) -> None:
    spec = begin(fresh)
    number = max(spec.versions.values())
    opened = {"metrics": [CanaryMetric("won", margin=0.1)], "key": "k", "who": "ada", "now": now()}
    with pytest.raises(ExperimentStateError, match="The experiment 'newer' about ad_score runs"):
        start_canary(fresh, "ad_score", number, **opened)  # type: ignore[arg-type]
    assert fresh.registry.alias("ad_score", "canary") is None
    draft_experiment(fresh, replace(spec, name="second"), now=now())
    with pytest.raises(ExperimentStateError, match="stop newer"):
        start_experiment(fresh, "second", now=now())
    stop_experiment(fresh, "newer", now=now())
    start_canary(fresh, "ad_score", number, **opened)  # type: ignore[arg-type]
    with pytest.raises(ExperimentStateError, match="canary of ad_score is open"):
        start_experiment(fresh, "second", now=now())


def test_an_arm_that_has_not_passed_its_gates_answers_nobody(fresh: Workspace) -> None:
    champion = fresh.registry.alias("ad_score", "champion")
    assert champion is not None
    other = fresh.registry.register(
        replace(champion, version=0, model_sha256="e" * 64, training_fingerprint="e" * 64, artifact="ad_score/none")
    )
    draft_experiment(fresh, replace(plan(fresh), versions={"new": other.version, "old": champion.version}), now=now())
    with pytest.raises(PromotionRefusedError, match="may not answer as arm 'new'"):
        start_experiment(fresh, "newer", now=now())
    assert ExperimentRepository(fresh.database).running("ad_score") is None


def test_the_artifact_of_an_arm_is_not_collected(fresh: Workspace) -> None:
    later, spec = now() + timedelta(days=900), plan(fresh)

    def reasons() -> dict[int, tuple[str, ...]]:
        return {kept.version.version: kept.reasons for kept in retention(fresh, "ad_score", now=later, keep_newest=1)}

    before = reasons()
    draft_experiment(fresh, spec, now=now())
    after = reasons()
    for number in spec.versions.values():
        assert "arm of the experiment newer" in set(after[number]) - set(before[number])


def rows(*given: tuple[str, str, int, float, float | None]) -> pl.DataFrame:
    """Answers as (unit, role, days old, value, outcome)."""
    moments = [datetime(2026, 6, 30, 12, tzinfo=UTC) - timedelta(days=days) for _, _, days, _, _ in given]
    return pl.DataFrame(
        {
            "unit": [g[0] for g in given], "role": [g[1] for g in given], "value": [g[3] for g in given], "latency_ms": [2.0] * len(given),
            "outcome": [g[4] for g in given], "weight": [None if g[4] is None else 2.0 for g in given], "answered_at": moments,
            "observed_at": [None if g[4] is None else m for g, m in zip(given, moments, strict=True)],
        },
        schema_overrides={"outcome": pl.Float64, "weight": pl.Float64, "observed_at": pl.Datetime("us", "UTC")},
    )  # fmt: skip


def test_only_mature_answers_of_arms_count() -> None:
    log = rows(
        ("a", "arm:new", 8, 0.5, 1.0), ("a", "arm:new", 7, 0.5, 0.0), ("a", "arm:new", 6, 0.0, 1.0), ("b", "arm:old", 9, 0.2, None),
        ("c", "champion", 9, 0.2, 1.0),
    )  # fmt: skip
    on = date(2026, 6, 30)
    found = units_of_log(log, on=on, maturity_days=7, probability=False)
    assert found.to_dicts() == [
        {"unit": "a", "arm": "new", "answers": 2, "latency_ms": 2.0, "observed": 2.0, "trials": 4.0},
        {"unit": "b", "arm": "old", "answers": 1, "latency_ms": 2.0, "observed": 0.0, "trials": 0.0},
    ]
    (scored,) = units_of_log(log, on=on, maturity_days=7, probability=True).to_dicts()
    assert (scored["unit"], scored["score"]) == ("a", 0.75)
    assert units_of_log(log, on=on, maturity_days=0, probability=False)["answers"].to_list() == [3, 1]


def test_a_log_without_mature_answers_is_no_evidence(fresh: Workspace) -> None:
    begin(fresh)
    with pytest.raises(SampleError, match="none counts"):
        experiment_units(fresh, "newer", on=date(2026, 6, 30))
    draft_experiment(fresh, replace(plan(fresh), name="headline", model=None, versions={}), now=now())
    with pytest.raises(ExperimentStateError, match="about no model"):
        experiment_units(fresh, "headline", on=date(2026, 6, 30))
