"""An earlier champion serves again at once; what was rolled back from does not come back by itself; nothing needed is thrown away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import NOW, Agency
from within_pipelines.database import PredictionRepository
from within_pipelines.exceptions import ArtifactError, ModelNotFoundError, PromotionRefusedError
from within_pipelines.pipeline import Workspace, collect_garbage, decide, retention, rollback, shadow_report, write_decision
from within_pipelines.pipeline.beside import place_beside
from within_pipelines.pipeline.release import card_verdict
from within_pipelines.pipeline.withdrawn import ROLLBACK, rolled_back_from
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES
from within_pipelines.stats import Estimate, Status, Verdict


@pytest.fixture
def ws(agency: Agency, tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(agency.copy(tmp_path / "home")) as opened:
        yield opened


def pass_gates(ws: Workspace, number: int, *, model: str = "ad_score") -> None:
    """Give a version every verdict that it needs."""
    version = ws.registry.get(model, number)
    passed = Verdict("", Status.PASSED, Estimate(0.1, 0.05, 0.2, 40), 0.0, {"units": 40}, "Passed for a test.")
    ws.registry.record_verdicts(
        replace(passed, gate=gate).bind(model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION)
        for gate in REQUIRED_GATES[model]
    )


def serve(ws: Workspace, number: int, *, model: str = "ad_score", later: int = 0) -> None:
    """Give a version every verdict that it needs, and the alias."""
    pass_gates(ws, number, model=model)
    current = ws.registry.alias(model, "champion")
    if current is None or current.version != number:
        expected = None if current is None else current.version
        ws.registry.promote(
            model,
            number,
            who="ada",
            why="better; triggered by schedule weekly",
            now=NOW + timedelta(hours=later),
            expected_current=expected,
        )


def other(ws: Workspace) -> tuple[int, int]:
    """(the version that serves, another)."""
    champion = ws.registry.alias("ad_score", "champion")
    assert champion is not None
    return champion.version, next(v.version for v in ws.registry.versions("ad_score") if v.version != champion.version)


def test_back_to_the_one_before_and_not_forward_again_by_itself(ws: Workspace) -> None:
    first, second = other(ws)
    with pytest.raises(ModelNotFoundError, match="only version that has served"):
        rollback(ws, "ad_score", who="ada", why="off", now=NOW)
    with pytest.raises(PromotionRefusedError, match="was never champion"):
        rollback(ws, "ad_score", to=second, who="ada", why="off", now=NOW)
    serve(ws, second)
    move = rollback(ws, "ad_score", who="ada", why="scores are off", now=NOW + timedelta(hours=1))
    assert (move.from_version, move.to_version, move.why) == (second, first, f"{ROLLBACK}scores are off")
    assert rolled_back_from(ws.registry.alias_history("ad_score")) == {second}
    with pytest.raises(PromotionRefusedError, match="serves already"):
        rollback(ws, "ad_score", to=first, who="ada", why="off", now=NOW)
    serve(ws, second, later=2)  # by hand it may come back, and then it is forgiven
    assert rolled_back_from(ws.registry.alias_history("ad_score")) == set()


def test_a_damaged_artifact_is_no_way_back(ws: Workspace) -> None:
    first, second = other(ws)
    serve(ws, second)
    path = ws.artifacts.folder(ws.registry.get("ad_score", first)) / "model.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="missing or was changed"):
        rollback(ws, "ad_score", who="ada", why="off", now=NOW)
    champion = ws.registry.alias("ad_score", "champion")
    assert champion is not None
    assert champion.version == second


_LOADED = """
import sys
from within_pipelines.cli import main
try:
    main()
finally:
    heavy = {"torch", "xgboost", "sklearn", "dagster", "matplotlib", "alibi_detect", "fastapi", "shap"}
    print("heavy:", sorted(heavy & set(sys.modules)))
"""


def test_the_command_goes_there_and_back_and_loads_nothing_heavy(ws: Workspace) -> None:
    first, second = other(ws)
    serve(ws, second)
    for target, left in ((first, second), (second, first)):
        done = subprocess.run(
            [sys.executable, "-c", _LOADED, "--home", str(ws.settings.home), "rollback", "ad_score", "--to", str(target)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"v{target} serves again instead of v{left}" in done.stdout
        assert "heavy: []" in done.stdout


def test_the_challenger_waits_in_the_shadow_and_a_promoted_one_leaves_it_to_the_one_before(ws: Workspace) -> None:
    first, second = (ws.registry.get("ad_score", number) for number in other(ws))
    pass_gates(ws, first.version)
    serve(ws, second.version)
    place_beside(ws, second, first, first, now=NOW, who="ada")
    assert {alias: ws.registry.alias("ad_score", alias).version for alias in ("challenger", "shadow")} == {  # type: ignore[union-attr]
        "challenger": first.version,
        "shadow": first.version,
    }
    place_beside(ws, first, second, first, now=NOW, who="ada")
    shadow = ws.registry.alias("ad_score", "shadow")
    assert shadow is not None
    assert shadow.version == second.version


def predictions(ws: Workspace, champion: int, shadow: int, *, since: int, model: str = "account_health") -> None:
    """Forty accounts answered by both, with outcomes that the champion foresees better."""
    records = []
    for role, number in (("champion", champion), ("shadow", shadow)):
        version = ws.registry.get(model, number)
        for i in range(40):
            truth = float(i % 2)
            records.append(
                {
                    "kind": "prediction", "prediction_id": f"{since}-{i}", "request_id": "r", "role": role, "model": model,
                    "version": number,
                    "model_sha256": version.model_sha256, "unit": f"account-{i}",
                    "value": 0.8 * truth + 0.1 if role == "champion" else 0.5 + 0.01 * (i % 3), "answer": {}, "inputs": {},
                    "latency_ms": 4.0, "error": None, "answered_at": (NOW + timedelta(hours=since, minutes=i)).isoformat(),
                }
            )  # fmt: skip
            records.append(
                {
                    "kind": "outcome", "prediction_id": f"{since}-{i}", "value": truth, "weight": 1.0,
                    "observed_at": (NOW + timedelta(days=8)).isoformat(), "received_at": (NOW + timedelta(days=8)).isoformat(),
                }
            )  # fmt: skip
    PredictionRepository(ws.database).load(records)


def test_the_decision_record_says_what_was_recorded_and_what_came_of_it(ws: Workspace) -> None:
    model = "account_health"
    champion = ws.registry.alias(model, "champion")
    assert champion is not None
    second = next(v for v in ws.registry.versions(model) if v.version != champion.version)
    predictions(ws, champion.version, second.version, since=1)
    serve(ws, second.version, model=model, later=24)
    predictions(ws, second.version, champion.version, since=25)
    decision = decide(ws, model, now=NOW + timedelta(days=9))
    assert decision.shadow is not None
    assert decision.realised is not None
    assert decision.realised.brier_gain is not None
    # 0.1^2 beside 0.5^2 and a little: the promoted version has about 0.24 less squared error.
    assert -decision.realised.brier_gain.value == pytest.approx(0.24, abs=0.02)
    page, text = write_decision(ws, decision)
    written, printed = text.read_text(), page.read_text()
    for part in (f"v{second.version}", "ada", "schedule weekly", second.model_sha256, second.data_version, "answered by both"):
        assert part.replace("_", "\\_") in written, part
        assert part in printed, part
    assert "less squared error than the version before, over 40 units" in printed
    assert "<script" not in printed
    assert "http" not in printed.replace("https://", "")
    assert "No canary of this version ran." in written
    with pytest.raises(ModelNotFoundError, match="has become champion"):
        decide(ws, model, 99, now=NOW)
    cold = decide(ws, "anomaly", now=NOW)
    assert cold.before is None


def test_a_name_in_the_record_cannot_become_html(ws: Workspace) -> None:
    _, second = other(ws)
    serve(ws, second)
    rollback(ws, "ad_score", who="<b>eve</b>|x", why="<script>alert(1)</script>", now=NOW + timedelta(hours=3))
    page, text = write_decision(ws, decide(ws, "ad_score", now=NOW))
    assert "<script" not in page.read_text()
    assert "<b>eve" not in page.read_text()
    assert "<script" not in text.read_text().replace("\\<", "")


def test_the_shadow_report_follows_the_alias(ws: Workspace) -> None:
    model = "account_health"
    assert shadow_report(ws, now=NOW + timedelta(days=2)) == {}
    champion = ws.registry.alias(model, "champion")
    assert champion is not None
    second = next(v for v in ws.registry.versions(model) if v.version != champion.version)
    pass_gates(ws, second.version, model=model)
    current = ws.registry.alias(model, "shadow")
    if current is None or current.version != second.version:
        ws.registry.promote(
            model,
            second.version,
            alias="shadow",
            who="ada",
            why="look",
            now=NOW,
            expected_current=None if current is None else current.version,
        )
    predictions(ws, champion.version, second.version, since=1)
    found = shadow_report(ws, now=NOW + timedelta(days=2))
    assert set(found) == {model}
    assert found[model].pairs == 40
    assert found[model].brier_gain is not None
    assert found[model].brier_gain.high < 0
    assert shadow_report(ws, now=NOW + timedelta(days=60)) == {}


def test_nothing_that_is_needed_goes(ws: Workspace) -> None:
    late = NOW + timedelta(days=365)
    needed = {v.version for v in ws.registry.versions("ad_score")}
    orphan, young = (ws.artifacts.root / "ad_score" / (letter * 64) for letter in "ab")
    for folder in (orphan, young):
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * 1000)
    old = (late - timedelta(days=90)).timestamp()
    os.utime(orphan, (old, old))
    fresh = (late - timedelta(days=2)).timestamp()
    os.utime(young, (fresh, fresh))
    dry = collect_garbage(ws, now=late, dry_run=True, keep_newest=1, keep_days=30)
    assert orphan in dry.removed
    assert young not in dry.removed
    assert orphan.is_dir()
    done = collect_garbage(ws, now=late, dry_run=False, keep_newest=1, keep_days=30)
    assert set(done.removed) == set(dry.removed)
    assert done.bytes == dry.bytes >= 1000
    assert not orphan.exists()
    assert young.is_dir()
    for model in REQUIRED_GATES:
        champion = ws.registry.alias(model, "champion")
        assert champion is not None
        assert ws.artifacts.verify(champion), "a champion's artifact went"
    assert {v.version for v in ws.registry.versions("ad_score")} == needed  # rows stay


def test_every_reason_to_keep_keeps(ws: Workspace) -> None:
    """Without an alias, a past, a rival, youth or being among the newest, a version may go; with any of them it may not."""
    first, second = other(ws)
    late = NOW + timedelta(days=365)

    def reasons(number: int, **options: int) -> str:
        return "; ".join(next(kept.reasons for kept in retention(ws, "ad_score", now=late, **options) if kept.version.version == number))

    assert "alias champion" in reasons(first)
    assert "it has served" in reasons(first)
    assert "judged against it" in reasons(second)
    assert "among the newest" in reasons(second)
    assert "younger than" in reasons(second, keep_days=1000)
    serve(ws, second)
    assert "it has served" in reasons(first)
    assert "alias champion" not in reasons(first)


def test_what_the_server_wrote_down_reaches_the_canary(ws: Workspace) -> None:
    from within_pipelines.database import CanaryRepository
    from within_pipelines.pipeline import feed_canary, start_canary
    from within_pipelines.validation import CanaryMetric

    model = "account_health"
    champion = ws.registry.alias(model, "champion")
    assert champion is not None
    second = next(v for v in ws.registry.versions(model) if v.version != champion.version)
    pass_gates(ws, second.version, model=model)
    assert feed_canary(ws, model) is None
    start_canary(ws, model, second.version, metrics=[CanaryMetric("score", margin=0.05)], key="k", who="ada", now=NOW)
    assert feed_canary(ws, model) == 0
    predictions(ws, champion.version, second.version, since=1)  # a shadow's answers are no canary's
    records = [
        {
            "kind": "prediction", "prediction_id": f"c-{i}", "request_id": "r", "role": "canary", "model": model, "version": second.version,
            "model_sha256": second.model_sha256, "unit": f"other-{i}", "value": 0.9, "answer": {}, "inputs": {}, "latency_ms": 1.0,
            "error": None, "answered_at": (NOW + timedelta(hours=2)).isoformat(),
        }
        for i in range(5)
    ]  # fmt: skip
    PredictionRepository(ws.database).load(records)
    assert feed_canary(ws, model) == 45
    assert feed_canary(ws, model) == 0
    canary = CanaryRepository(ws.database).open(model)
    assert canary is not None
    kept = CanaryRepository(ws.database).outcomes(canary)
    assert dict(kept.group_by("arm").len().iter_rows()) == {"control": 40, "canary": 5}
    assert CanaryRepository(ws.database).known_outcomes(canary) == 40


def test_a_card_that_lacks_something_fails_its_gate(ws: Workspace) -> None:
    champion = ws.registry.alias("ad_score", "champion")
    assert champion is not None
    assert card_verdict(champion).passed
    for lacking, name in (
        (replace(champion, metrics={}), "main metric"),
        (replace(champion, code_version=""), "code version"),
        (replace(champion, data_version=""), "data version"),
        (replace(champion, evaluation={}), "days of the evaluation"),
        (replace(champion, model="other"), "intended use"),
        (replace(champion, baseline_metrics={}), "baseline"),
    ):
        verdict = card_verdict(lacking)
        assert verdict.status is Status.FAILED
        assert name in verdict.reason


def test_predictions_keep_their_order(ws: Workspace) -> None:
    champion, shadow = (v.version for v in ws.registry.versions("account_health")[:2])
    predictions(ws, champion, shadow, since=1)
    found = PredictionRepository(ws.database).predictions("account_health", most=10)
    assert found.height == 10
    assert found["answered_at"].is_sorted()
