"""Experiments, canaries and the golden set from the terminal, on real stores."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from within_pipelines import cli
from within_pipelines.database import CanaryRepository, ExperimentRepository, PredictionRepository
from within_pipelines.pipeline import Workspace, current_golden_set
from within_pipelines.pipeline.release import golden_folder
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.settings import Settings
from within_pipelines.stats import Estimate, Status, Verdict
from within_pipelines.validation import STAGES, Part, load_golden_set
from within_pipelines.validation.canary import MINIMUM_UNITS
from within_pipelines.validation.sample_ratio import MISMATCH_ALPHA

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
COMMANDS = [
    "experiment create", "experiment list", "experiment start", "experiment stop", "experiment analyse", "experiment report",
    "canary start", "canary status", "canary record", "canary step", "canary pause", "canary resume", "canary abort", "canary replay",
    "golden list", "golden add", "golden remove", "golden expect", "golden diff",
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment whose ad score v1 serves and v2 may."""
    monkeypatch.chdir(tmp_path)
    with Workspace.open(Settings(home=tmp_path / "home")) as ws:
        for letter in "ab":
            version = ModelVersion(
                model="ad_score", version=0, kind="stack", model_sha256=letter * 64, artifact=f"ad_score/{letter}", data_version="d" * 64,
                as_of=NOW, commit_seq=1, spec_sha256="s" * 64, training_fingerprint=letter * 64, seed=7, trained_at=NOW,
            )  # fmt: skip
            ws.registry.register(version)
            ws.registry.record_verdicts(
                Verdict(gate, Status.PASSED, Estimate(0.1, 0.05, 0.2, 40), 0.0, {"units": 40}, "Looked at.").bind(
                    model_sha256=letter * 64, data_version="d" * 64, policy_version=POLICY_VERSION
                )
                for gate in REQUIRED_GATES["ad_score"]
            )
        ws.registry.promote("ad_score", 1, who="ada", why="first", now=NOW, expected_current=None)
    return tmp_path / "home"


def within(home: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.app, ["--home", str(home), *words], catch_exceptions=True)


def said(home: Path, *words: str) -> str:
    result = within(home, *words)
    assert result.exit_code == 0, result.exception
    return result.output


def refused(home: Path, *words: str) -> str:
    result = within(home, *words)
    assert result.exit_code == 1
    return str(result.exception)


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    for command in COMMANDS:
        assert f"within {command.split()[0]}" in said(tmp_path / "nowhere", *command.split(), "--help").split("Example:")[1]
    assert not (tmp_path / "nowhere").exists()


def test_an_experiment_from_draft_to_decision(home: Path, tmp_path: Path) -> None:
    create = (
        "experiment", "create", "headline", "--arm", "new=0.5", "--arm", "old=0.5", "--control", "old", "--metric", "clicks",
        "--effect", "0.05", "--units", "3000", "--guardrail", "cost:lower:1", "--segment", "platform",
    )  # fmt: skip
    assert "power of an experiment is told before" in refused(home, *create)
    drafted = said(home, *create, "--sd", "0.46")
    assert "with power 0.8" in drafted
    assert "80 % at a fixed end need" in drafted
    rng = np.random.default_rng(1)
    with Workspace.open(Settings(home=home)) as ws:
        spec = ExperimentRepository(ws.database).get("headline").spec
    units = [f"u{n}" for n in range(3000)]
    arms = np.array([spec.arm_of(unit) for unit in units])
    clicks = (rng.random(3000) < 0.3 + 0.1 * (arms == "new")).astype(int)
    # Every experiment deals its arms anew; a guardrail without a difference would break in some of the runs, as it should.
    cost = rng.normal(9, 1, 3000) - 0.5 * (arms == "new")
    frame = pl.DataFrame({"unit": units, "arm": arms, "clicks": clicks, "cost": cost, "platform": ["meta"] * 3000})
    file, page = tmp_path / "units.csv", tmp_path / "page.html"
    frame.write_csv(file)
    assert "only a running or stopped one" in refused(home, "experiment", "analyse", "headline", str(file))
    assert "Nobody has looked" in refused(home, "experiment", "report", "headline")
    said(home, "experiment", "start", "headline")
    early = tmp_path / "early.csv"
    frame.head(500).write_csv(early)
    assert "too early" in said(home, "experiment", "analyse", "headline", str(early))
    said(home, "experiment", "stop", "headline")
    decided = said(home, "experiment", "analyse", "headline", str(file))
    assert "# Experiment headline: winner" in decided
    assert "platform = meta" in decided
    assert "winner" in said(home, "experiment", "list")
    assert said(home, "experiment", "report", "headline") == decided
    said(home, "experiment", "report", "headline", "--html", str(page))
    assert page.read_text().count("data:image/png") == 3
    assert "decided" in refused(home, "experiment", "analyse", "headline", str(file))


def test_versions_as_arms_are_read_from_the_log(home: Path) -> None:
    create = (
        "experiment", "create", "newer", "--arm", "new=0.5", "--arm", "old=0.5", "--control", "old", "--metric", "observed/trials",
        "--effect", "0.05", "--units", "200", "--sd", "0.3", "--model", "ad_score", "--maturity", "1",
    )  # fmt: skip
    assert "ARM=VERSION" in refused(home, *create, "--version", "new=two", "--version", "old=1")
    assert "a version of its own" in refused(home, *create, "--version", "new=2")
    said(home, *create, "--version", "new=2", "--version", "old=1")
    said(home, "experiment", "start", "newer")
    assert "'newer' about ad_score runs" in refused(home, "canary", "start", "ad_score", "2", "--metric", "won:0.1", "--key", "k")
    assert "none counts" in refused(home, "experiment", "analyse", "newer")
    with Workspace.open(Settings(home=home)) as ws:
        spec = ExperimentRepository(ws.database).get("newer").spec
        moment = (datetime.now(UTC) - timedelta(days=3)).isoformat()
        arms = {f"u{n}": spec.arm_of(f"u{n}") for n in range(300)}
        answers = [
            {
                "kind": "prediction", "prediction_id": f"p{unit}", "request_id": "r", "role": f"arm:{arm}", "model": "ad_score",
                "version": spec.versions[arm], "model_sha256": "b" * 64, "unit": unit, "value": 50.0, "answer": {}, "inputs": {},
                "latency_ms": 1.0, "error": None, "experiment": "newer", "answered_at": moment,
            }
            for unit, arm in arms.items()
        ]  # fmt: skip
        outcomes = [
            {
                "kind": "outcome", "prediction_id": f"p{unit}", "weight": 10.0,
                "value": (0.5 if arm == "new" else 0.2) + 0.001 * (place % 7),
                "observed_at": moment, "received_at": moment,
            }
            for place, (unit, arm) in enumerate(arms.items())
        ]  # fmt: skip
        PredictionRepository(ws.database).load([*answers, *outcomes])
    assert "# Experiment newer: winner" in said(home, "experiment", "analyse", "newer")


def test_a_canary_from_start_to_rollback(home: Path, tmp_path: Path) -> None:
    assert "give live, replay, recorded" in refused(
        home, "canary", "start", "ad_score", "2", "--metric", "won:0.1", "--outcomes", "guessed"
    )
    started = said(home, "canary", "start", "ad_score", "2", "--metric", "won:0.1", "--key", "k", "--share", "0.5", "--share", "1")
    assert "v2 answers 50% of the units beside v1" in started
    said(home, "canary", "pause", "ad_score", "--why", "launch day")
    assert "paused" in said(home, "canary", "step", "ad_score")
    said(home, "canary", "resume", "ad_score", "--why", "over")
    rng = np.random.default_rng(2)
    arms = np.repeat(["canary", "control"], 400)
    day = datetime.now(UTC).date()
    frame = pl.DataFrame({"unit": [f"u{n}" for n in range(800)], "arm": arms, "day": [day] * 800, "known_on": [day] * 800})
    frame.with_columns(won=pl.Series((rng.random(800) < np.where(arms == "canary", 0.2, 0.5)).astype(float))).write_csv(tmp_path / "o.csv")
    assert "800 rows are new" in said(home, "canary", "record", "ad_score", str(tmp_path / "o.csv"))
    assert "won lost beyond chance" in said(home, "canary", "step", "ad_score")
    status = said(home, "canary", "status", "ad_score")
    assert "beside v1: rolled back" in status
    assert "launch day" in status
    with Workspace.open(Settings(home=home)) as ws:
        assert CanaryRepository(ws.database).running("ad_score") is None
    assert "no open canary" in refused(home, "canary", "abort", "ad_score", "--why", "again")
    assert "no open canary" in said(home, "canary", "step", "ad_score")


def test_a_log_is_replayed(home: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    days = [date(2026, 5, 1) + timedelta(days=n) for n in range(8)]
    rows = [(f"{day}-{n}", day, day) for day in days for n in range(300)]
    log = pl.DataFrame(rows, schema=["unit", "day", "known_on"], orient="row").with_columns(
        canary_won=pl.Series(rng.random(2400) < 0.2).cast(pl.Int64), control_won=pl.Series(rng.random(2400) < 0.5).cast(pl.Int64)
    )
    log.write_csv(tmp_path / "log.csv")
    shown = said(home, "canary", "replay", str(tmp_path / "log.csv"), "--metric", "won:0.1", "--share", "0.5", "--share", "1")
    assert "days: rolled back" in shown
    assert "NAME:MARGIN" in refused(home, "canary", "replay", str(tmp_path / "log.csv"), "--metric", "won")


def test_the_golden_set_is_shown_changed_and_compared(home: Path) -> None:
    assert "ad-order-1" in said(home, "golden", "list")
    assert "changes with a reason" in refused(home, "golden", "remove", "ad-order-1", "--reason", " ")
    assert "holds 41 cases" in said(home, "golden", "remove", "ad-order-1", "--reason", "to see")
    difference = said(home, "golden", "diff")
    assert "removed: ad-order-1" in difference
    assert "why: to see" in difference
    assert "no version 9" in refused(home, "golden", "diff", "9")
    assert "needs --account" in refused(home, "golden", "add", "anomaly", "--reason", "tracking broke")


def test_what_is_expected_of_a_slice_is_listed_set_with_a_reason_and_compared(home: Path) -> None:
    words = ("golden", "expect", "account_health", "hard", "thin data", "--least-share", "0.5", "--high", "0.9")
    assert "changes with a reason" in refused(home, *words, "--reason", " ")
    assert "Missing option '--reason'" in within(home, *words).output
    shown = said(home, *words, "--reason", "few days")
    wanted = "at least 50 % of cases met, none lost to the champion, mean answer in [-inf, 0.9]"
    assert shown.startswith("Of account_health, hard: thin data is wanted from version 3-")
    assert shown.endswith(f" on: {wanted}.\n")
    assert f"slices: account_health, hard: thin data: every case met -> {wanted}" in said(home, "golden", "diff")
    listed = " ".join(said(home, "golden", "list").split())
    assert "few days" in listed
    with Workspace.open(Settings(home=home)) as ws:
        version = current_golden_set(ws)
    assert version.parent == load_golden_set(golden_folder()).version
    assert (version.reason, version.expected("account_health", Part.HARD, "thin data").wanted) == ("few days", wanted)
    assert "nothing else is expected" in refused(home, *words, "--reason", "again")
    assert "every case met" in said(home, "golden", "expect", "account_health", "hard", "thin data", "--reason", "strict again")
    assert "has no cases" in refused(home, "golden", "expect", "ad_score", "incident", "nowhere", "--reason", "to see")
    assert "give hard or incident" in refused(home, "golden", "expect", "ad_score", "soft", "odd text", "--reason", "to see")
    assert "which any model meets" in refused(
        home, "golden", "expect", "ad_score", "hard", "odd text", "--least-share", "0", "--reason", "x"
    )


def test_files_that_cannot_be_read_are_named(home: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(home, "canary", "replay", str(tmp_path / "no.csv"), "--metric", "won:0.1")
    (tmp_path / "bad.csv").write_text("unit,day,known_on,canary_won,control_won\nu,tomorrow,x,1,1\n")
    assert "write them as 2026-05-31" in refused(home, "canary", "replay", str(tmp_path / "bad.csv"), "--metric", "won:0.1")
    assert "is no number" in refused(home, "canary", "replay", str(tmp_path / "bad.csv"), "--metric", "won:much")


def test_the_page_names_commands_and_rules_that_exist() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "experiments-and-canaries.md").read_text()
    named = {" ".join(pair) for pair in re.findall(r"within (experiment|canary|golden) (\w+)", page)}
    assert named <= set(COMMANDS)
    assert len(named) >= 10
    assert "answers 1, 5, 25, then 50 % of the units" in page
    assert STAGES == (0.01, 0.05, 0.25, 0.5, 1.0)
    assert f"fewer than {MINIMUM_UNITS} matured units" in page
    assert f"p < {MISMATCH_ALPHA:g}".replace("0.", ".") in page
