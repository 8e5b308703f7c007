"""The command line, against real stores where they are cheap and against fakes where a model would have to be trained."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from within_pipelines import cli, pipeline
from within_pipelines.database import AlertRecord, AlertRepository, TrainingRun, TrainingRunRepository
from within_pipelines.pipeline import ScoreReport, Workspace
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.reporting import ModelLine, RunSummary
from within_pipelines.settings import Settings
from within_pipelines.stats import Estimate, Status, Verdict

NOW = datetime(2026, 11, 23, 6, 15, tzinfo=UTC)
GOOD_CSV = (
    "Day,Customer ID,Currency code,Campaign ID,Ad group ID,Ad ID,Impressions,Clicks,Cost\n"
    "2026-06-01,123-456-7890,EUR,1,2,3,100,4,2.50\n"
    "2026-06-31,123-456-7890,EUR,1,2,3,100,4,2.50\n"
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env`, no settings of the machine."""
    monkeypatch.chdir(tmp_path)
    for name in ("WITHIN_HOME", "WITHIN_DATABASE_URL", "WITHIN_LAKE_URL", "WITHIN_DEBUG", "WITHIN_SEED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def within(home: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.app, ["--home", str(home), *words], catch_exceptions=True)


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """What the installed program does with these words; the exit code."""
    monkeypatch.setattr(sys, "argv", ["within", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def version_of(model: str = "account_health", *, sha: str = "ab", kind: str = "persistence", data: str = "cd") -> ModelVersion:
    return ModelVersion(
        model=model,
        version=0,
        kind=kind,
        model_sha256=sha * 32,
        artifact=f"{model}/{sha * 32}",
        data_version=data * 32,
        as_of=NOW,
        commit_seq=1,
        spec_sha256="ef" * 32,
        training_fingerprint=sha * 32,
        seed=7,
        trained_at=NOW,
        metrics={"auroc": Estimate(0.7, 0.6, 0.8, n=20).to_dict(), "brier_skill": Estimate(0.08, 0.05, 0.11, n=20).to_dict()},
        baseline_metrics={"brier_skill": Estimate(0.03, 0.01, 0.05, n=20).to_dict()},
        main_metric="brier_skill",
    )


def run_of(version: ModelVersion) -> TrainingRun:
    return TrainingRun(
        version.model, version.version, version.kind, {"seed": 7, "rows": 900}, {}, {}, version.data_version, "feed", 1.25, NOW
    )  # fmt: skip


@pytest.fixture
def trained(home: Path) -> Path:
    """A deployment with two versions of one model, the first one serving, two training runs, one open and one closed alert."""
    with Workspace.open(Settings(home=home)) as ws:
        first = ws.registry.register(version_of())
        second = ws.registry.register(version_of(sha="ba", kind="logistic_xgboost", data="dc"))
        ws.registry.record_verdicts(
            Verdict(gate, Status.PASSED, Estimate(0.1, 0.05, 0.2, n=20), 0.0, {"units": 20}, f"{gate} is fine").bind(
                model_sha256=first.model_sha256, data_version=first.data_version, policy_version=POLICY_VERSION
            )
            for gate in REQUIRED_GATES["account_health"]
        )
        ws.registry.promote("account_health", first.version, who="test", why="first", now=NOW, expected_current=None)
        runs = TrainingRunRepository(ws.database)
        runs.record(run_of(first))
        runs.record(run_of(second))
        alerts = AlertRepository(ws.database)
        alerts.raise_alert(AlertRecord("a", "critical", "Spend of \x1b[31mred[/] fell", "by half", "spend is back"), now=NOW)
        alerts.raise_alert(AlertRecord("b", "warning", "An old story", "over"), now=NOW - timedelta(days=2))
        alerts.close("b", now=NOW)
    return home


# -- help and the front door -----------------------------------------------------------------------------------------------------------


ALERT_COMMANDS = ("list", "show", "ack", "snooze", "resolve", "digest", "test-channel", "deliver", "outbox", "precision")


def test_every_command_has_help_with_an_example(home: Path) -> None:
    commands = ["run", "simulate", "ingest", "models", "models show", "score", "alerts", "runs", "runs compare", "doctor", "retrain",
                "demo drift", *(f"alerts {name}" for name in ALERT_COMMANDS)]  # fmt: skip
    top = within(home, "--help").output
    for command in commands:
        result = within(home, *command.split(), "--help")
        assert result.exit_code == 0
        assert f"within {'--home' if command == 'simulate' else command.split()[0]}" in result.output.split("Example:")[1]
        assert command.split()[0] in top
    assert not home.exists(), "help creates nothing"


def test_help_is_light() -> None:
    code = (
        "import sys, time; from within_pipelines import cli; sys.argv = ['within', '--help']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "heavy = {'polars', 'numpy', 'dagster', 'sqlalchemy', 'deltalake', 'pandas', 'xgboost'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert time.process_time() < 1, time.process_time()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version_is_that_of_the_package(home: Path) -> None:
    assert re.fullmatch(r"within-pipelines \d+\.\d+\.\d+\n", within(home, "--version").output)


def test_a_command_line_that_makes_no_sense_ends_with_2(home: Path) -> None:
    assert within(home, "frobnicate").exit_code == 2
    assert within(home, "score", "--day", "yesterday").exit_code == 2
    result = within(home, "simulate", "--next-day", "--days", "3")
    assert result.exit_code == 2
    assert "leave out --days" in result.output


def test_an_error_is_one_line_with_the_next_step(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(monkeypatch, "--home", str(home), "alerts") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"within: Nothing has run in {home} yet; start with `within run`, or name another folder with --home.\n"
    assert not home.exists(), "a question creates nothing"


def test_an_unexpected_error_is_one_line_unless_debugging(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\n\x1b[31mzero")

    monkeypatch.setattr("within_pipelines.pipeline.doctor.diagnose", broken)
    assert typed(monkeypatch, "--home", str(home), "doctor") == 1
    assert capsys.readouterr().err == ("within: ZeroDivisionError: by \\x1b[31mzero (unexpected; set WITHIN_DEBUG=1 for the traceback)\n")
    monkeypatch.setenv("WITHIN_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["within", "--home", str(home), "doctor"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (PermissionError(13, "Permission denied", "/x"), 1)])
def test_interruptions_and_system_errors_have_their_exit_codes(
    error: BaseException, code: int, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("within_pipelines.pipeline.doctor.diagnose", broken)
    assert typed(monkeypatch, "--home", str(home), "doctor") == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_bad_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WITHIN_SEED", "s3cret")
    assert typed(monkeypatch, "doctor") == 1
    err = capsys.readouterr().err
    assert err.startswith("within: WITHIN_SEED: ")
    assert "s3cret" not in err


def test_home_comes_from_the_option_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHIN_HOME", str(tmp_path / "from-environment"))
    assert "from-environment" in CliRunner().invoke(cli.app, ["doctor"]).output
    assert "from-option" in within(tmp_path / "from-option", "doctor").output


# -- run -------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FakeOutcome:
    success: bool
    run_id: str = "run-1"
    failed_steps: tuple[str, ...] = ()
    message: str = ""


class FakeLaunch(ModuleType):
    """Stands in for the room that drives Dagster."""

    def __init__(self, outcome: FakeOutcome) -> None:
        super().__init__("within_pipelines.defs.launch")
        self.outcome = outcome
        self.asked: list[tuple[Path, datetime]] = []

    def run_main_job(self, settings: Settings, *, now: datetime, on_step: Callable[[str, str], None]) -> FakeOutcome:
        self.asked.append((settings.home, now))
        for name in ("demo_agency", "ad_performance"):
            on_step(name, "started")
            on_step(name, "succeeded")
        on_step("[odd]", "skipped")
        return self.outcome


LINE = ModelLine("ad_score", "1", "stack", "pairwise_accuracy", Estimate(0.6, 0.55, 0.65, 50), "longer_headline",
                 Estimate(0.52, 0.5, 0.54, 50), (("performance", Status.PASSED),), "champion", "")  # fmt: skip
SUMMARY = RunSummary(3, 10, 8, 1, 1, {"bad_date": 1}, (LINE,), date(2026, 11, 22), 5, 2, 1, ("make dev",))


def launched(monkeypatch: pytest.MonkeyPatch, outcome: FakeOutcome, summary: RunSummary) -> FakeLaunch:
    launch = FakeLaunch(outcome)
    monkeypatch.setitem(sys.modules, "within_pipelines.defs.launch", launch)
    monkeypatch.setattr(pipeline, "summarise", lambda ws: summary)
    monkeypatch.setattr(cli, "_now", lambda: NOW)
    return launch


def test_run_prints_a_line_per_step_and_the_summary(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = launched(monkeypatch, FakeOutcome(True), SUMMARY)
    result = within(home, "run")
    assert result.exit_code == 0, result.output
    assert launch.asked == [(home, NOW)]
    lines = result.output.splitlines()
    assert re.fullmatch(r"demo_agency +succeeded +0\.\d s", lines[0])
    assert re.fullmatch(r"\[odd\] +skipped +0\.0 s", lines[2])
    assert "0.600 [0.550, 0.650]" in result.output
    assert "make dev" in result.output


def test_run_fails_when_a_step_fails_and_still_shows_where_things_stand(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, FakeOutcome(False, failed_steps=("ad_score_model",), message="SampleError: too few ads"), SUMMARY)
    result = within(home, "run")
    assert result.exit_code == 1
    assert "within: The run run-1 failed at ad_score_model: SampleError: too few ads" in result.stderr
    assert "stack" in result.output


def test_run_fails_when_a_model_has_no_champion(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, FakeOutcome(True), replace(SUMMARY, models=(replace(LINE, alias=None),)))
    result = within(home, "run")
    assert result.exit_code == 1
    assert "No champion serves ad_score" in result.stderr


# -- simulate and ingest ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_small_agency_is_written_ingested_and_continued(home: Path) -> None:
    made = within(home, "simulate", "--accounts", "2", "--days", "60", "--seed", "3", "--end", "2026-06-30")
    assert made.exit_code == 0, made.output
    files = int(made.output.split(" files")[0].replace(",", ""))
    assert "2026-05-02 to 2026-06-30" in made.output

    read = within(home, "ingest")
    assert read.exit_code == 0, read.output
    counts = [int(found.replace(",", "")) for found in read.output.splitlines()[1].split()]
    assert counts[0] == files
    assert counts[1] + counts[2] + counts[3] == files
    assert counts[4] == counts[5] + counts[6] + counts[7]
    assert "set aside" in read.output

    again = within(home, "ingest")
    assert again.exit_code == 0
    assert [int(found) for found in again.output.splitlines()[1].split()] == [files, 0, 0, files, 0, 0, 0, 0]

    assert within(home, "simulate").exit_code == 1, "an agency is not written over another"
    assert "2026-07-01" in within(home, "simulate", "--next-day").output
    more = within(home, "ingest")
    assert int(more.output.splitlines()[1].split()[1]) >= 2
    assert within(home, "doctor").exit_code == 0


def test_a_short_history_can_be_simulated(home: Path) -> None:
    assert within(home, "simulate", "--accounts", "1", "--days", "5", "--end", "2026-06-30").exit_code == 0
    assert (home / "truth.json").is_file()


def test_the_next_day_of_nothing_is_refused(home: Path) -> None:
    assert "There is no simulated agency" in str(within(home, "simulate", "--next-day").exception)


def test_ingest_names_what_it_set_aside(home: Path, tmp_path: Path) -> None:
    export = tmp_path / "report.csv"
    export.write_text(GOOD_CSV)
    result = within(home, "ingest", str(export))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1].split() == ["1", "1", "0", "0", "2", "1", "0", "1"]
    assert "bad_date" in result.output
    assert "'2026-06-31'" in result.output


def test_ingest_fails_when_nothing_could_be_read(home: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    empty = within(home, "ingest", str(tmp_path / "in"))
    assert "No export lies in" in str(empty.exception)
    for number in range(12):
        (tmp_path / "in" / f"{number:02d}.csv").write_text(f"this is,no export {number}\n1,2\n")
    refused = within(home, "ingest", str(tmp_path / "in"))
    assert refused.exit_code == 1
    assert "files that were not read" in refused.output
    assert "and 2 more" in refused.output


# -- models, runs, alerts, score -------------------------------------------------------------------------------------------------------


def test_models_lists_versions_and_who_serves(trained: Path) -> None:
    result = within(trained, "models")
    assert result.exit_code == 0
    newest, oldest = result.output.splitlines()[1:]
    assert newest.split()[:3] == ["account_health", "v2", "logistic_xgboost"]
    assert f"{len(REQUIRED_GATES['account_health'])} missing" in newest
    assert "brier_skill 0.080 [0.050, 0.110]" in oldest
    assert "passed" in oldest
    assert oldest.rstrip().endswith("champion")


def test_models_show_prints_the_card_of_the_champion_or_of_a_version(trained: Path) -> None:
    card = within(trained, "models", "show", "account_health").output
    assert card.startswith("# account\\_health v1\n")
    assert "performance is fine" in card
    assert "## Alias moves" in card
    assert within(trained, "models", "show", "account_health", "--version", "2").output.startswith("# account\\_health v2\n")


def test_models_show_without_a_champion_shows_the_newest(home: Path) -> None:
    with Workspace.open(Settings(home=home)) as ws:
        ws.registry.register(version_of("ad_score"))
    assert within(home, "models", "show", "ad_score").output.startswith("# ad\\_score v1\n")
    assert "No version of anomaly has been trained" in str(within(home, "models", "show", "anomaly").exception)
    assert "the models are ad_score, account_health, anomaly" in str(within(home, "models", "show", "nonsense").exception)


def test_an_empty_deployment_says_what_to_do(home: Path) -> None:
    with Workspace.open(Settings(home=home)):
        pass
    assert "`within run` trains them" in within(home, "models").output
    assert "`within run` makes some" in within(home, "runs").output
    assert "No open alerts" in within(home, "alerts").output
    assert within(home, "alerts", "--all").output == "No alerts.\n"


def test_runs_are_listed_and_compared(trained: Path) -> None:
    listed = within(trained, "runs").output.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["2", "1"]
    compared = within(trained, "runs", "compare", "1", "2")
    assert compared.exit_code == 0
    rows = {line.split("  ")[0]: line for line in compared.output.splitlines()[1:]}
    assert rows["kind"].rstrip().endswith("differs")
    assert not rows["seed"].rstrip().endswith("differs")
    assert list(rows).index("brier_skill") < list(rows).index("auroc"), "the main metric comes first"
    assert "saw different data" in compared.output
    assert "There is no training run 9" in str(within(trained, "runs", "compare", "1", "9").exception)


def test_runs_of_different_models_are_not_compared_by_metric(trained: Path) -> None:
    with Workspace.open(Settings(home=trained)) as ws:
        other = ws.registry.register(version_of("ad_score"))
        TrainingRunRepository(ws.database).record(run_of(other))
    assert "different models" in within(trained, "runs", "compare", "1", "3").output


def test_alerts_are_text_whatever_they_contain(trained: Path) -> None:
    shown = within(trained, "alerts").output
    assert "\x1b" not in shown
    assert "[31mred[/]" in shown
    assert "An old story" not in shown
    assert "An old story" in within(trained, "alerts", "--all").output


def test_an_alert_is_taken_snoozed_judged_and_counted(trained: Path) -> None:
    assert "Likely cause" not in within(trained, "alerts", "show", "1").output
    assert within(trained, "alerts", "ack", "1", "--who", "kim", "--why", "asking").output == "Alert 1 is acknowledged.\n"
    assert "silent until" in within(trained, "alerts", "snooze", "1", "--days", "2", "--who", "kim").output
    assert within(trained, "alerts", "resolve", "1", "--as", "nonsense").exit_code == 2
    assert "closed as true_alert" in within(trained, "alerts", "resolve", "1", "--as", "true_alert", "--who", "kim").output
    shown = within(trained, "alerts", "show", "1").output
    assert "judged true_alert" in shown
    assert all(word in shown for word in ("acknowledged", "snoozed", "resolved", "kim", "asking"))
    assert "There is no alert 99" in str(within(trained, "alerts", "show", "99").exception)
    assert "No account alert has been judged" in within(trained, "alerts", "precision").output


def test_channels_are_tried_and_messages_delivered(trained: Path) -> None:
    with Workspace.open(Settings(home=trained)) as ws:
        from within_pipelines.monitoring import Alert, Severity
        from within_pipelines.pipeline import AlertManager

        AlertManager(ws).tell(
            Alert("account/x/1", Severity.WARNING, "spend fell", "by half", "it is back", money_at_risk={"EUR": 5.0}), now=NOW
        )
    tried = within(trained, "alerts", "test-channel", "log").output
    assert "This is a test of the channel" in tried
    assert "There is no channel 'chat'" in str(within(trained, "alerts", "test-channel", "chat").exception)
    delivered = within(trained, "alerts", "deliver").output
    assert "At risk: 5 EUR" in delivered
    assert "log took" in delivered
    assert "sent" in within(trained, "alerts", "outbox").output
    assert "spend fell" in within(trained, "alerts", "digest").output


def test_a_retraining_is_asked_for_by_hand(trained: Path) -> None:
    assert "Nothing has been decided yet" in within(trained, "retrain").output
    assert "Request 1 for ad_score is noted" in within(trained, "retrain", "ad_score", "--why", "guidelines", "--who", "kim").output
    assert "There is no model 'adscore'" in str(within(trained, "retrain", "adscore", "--why", "x").exception)
    assert "and why" in str(within(trained, "retrain", "ad_score").exception)


def test_the_demo_keeps_away_from_real_work(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/nowhere")
    (home / "demo-drift").mkdir(parents=True)
    assert "is there already" in str(within(home, "demo", "drift").exception)
    (home / "demo-drift").rmdir()
    monkeypatch.setenv("WITHIN_DATABASE_URL", "postgresql://u@h/real")
    assert "unset both for the demo" in str(within(home, "demo", "drift").exception)
    assert not (home / "demo-drift").exists()


class FakeScoring:
    """Answers with one ad and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[date | None, list[str] | None]] = []

    def __call__(self, ws: Workspace, *, day: date | None, models: list[str] | None) -> ScoreReport:
        self.asked.append((day, models))
        ads = pl.DataFrame({"platform": ["meta_ads"], "ad_id": ["7"], "headline": ["Warm socks"], "score": [71.25], "confidence": [0.5]})
        return ScoreReport(date(2026, 11, 22), ads, pl.DataFrame({f"c{i}": [i] for i in range(12)}), pl.DataFrame())


def test_score_shows_the_first_rows_and_where_the_rest_is(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scoring = FakeScoring()
    monkeypatch.setattr(pipeline, "score_day", scoring)
    result = within(trained, "score", "--model", "ad_score", "--day", "2026-11-22")
    assert result.exit_code == 0, result.output
    assert scoring.asked == [(date(2026, 11, 22), ["ad_score"])]
    for part in ("ads: 1 rows for 2026-11-22", "Warm socks", "71.25", "within.db"):
        assert part in result.output, part
    assert "anomalies" not in result.output, "only what was asked"
    assert "anomalies: 0 rows" in within(trained, "score").output
    assert scoring.asked[1] == (None, None)
    assert "There is no model prophecy" in str(within(trained, "score", "--model", "prophecy").exception)


def test_on_a_terminal_the_card_is_rendered(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        cli.app(["--home", str(trained), "models", "show", "account_health"])
    assert not ended.value.code
    assert "Intended use" in shown.getvalue()
    assert "## Intended use" not in shown.getvalue()
