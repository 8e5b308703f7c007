"""What can a person type? `within --help` lists it.

Every command opens what it needs itself, so that help is fast. An error is one line on stderr that says what to do next; the exit code is
0 when everything went well, 1 when it did not, 2 for a command line that makes no sense, 130 after Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from within_pipelines.cli_alerts import alerts_app
from within_pipelines.cli_canary import canary_app
from within_pipelines.cli_context import NothingHereError
from within_pipelines.cli_context import settings_of as _settings
from within_pipelines.cli_context import wall_clock as _now
from within_pipelines.cli_context import workspace_of as _workspace
from within_pipelines.cli_demo import demo_app
from within_pipelines.cli_experiments import experiment_app
from within_pipelines.cli_golden import golden_app
from within_pipelines.cli_keys import keys_app
from within_pipelines.cli_models import models_app
from within_pipelines.cli_registry import decision, registry_app, rollback
from within_pipelines.cli_retrain import retrain
from within_pipelines.cli_runs import runs_app
from within_pipelines.exceptions import ModelNotFoundError, WithinError

if TYPE_CHECKING:
    import polars as pl

ROWS_SHOWN = 10

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")
app.add_typer(alerts_app, name="alerts")
app.add_typer(demo_app, name="demo")
app.add_typer(keys_app, name="keys")
app.add_typer(registry_app, name="registry")
app.add_typer(experiment_app, name="experiment")
app.add_typer(canary_app, name="canary")
app.add_typer(golden_app, name="golden")
app.command()(retrain)


def main() -> None:
    """Run the command line and end the program with its exit code; the entry point `within`."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            # A terminal that cannot show a mark shows "?" instead of ending the program.
            reconfigure(errors="replace")
    if os.environ.get("WITHIN_DEBUG") == "1":
        app(prog_name="within")  # ends the program
    try:
        app(prog_name="within")
    except (WithinError, OSError) as error:
        _complain(str(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - the outermost edge: a person gets a line, WITHIN_DEBUG=1 the traceback
        _complain(f"{type(error).__name__}: {error} (unexpected; set WITHIN_DEBUG=1 for the traceback)")
    raise SystemExit(1)


def _complain(message: str) -> None:
    from within_pipelines.reporting import printable_text

    typer.echo(f"within: {printable_text(' '.join(message.split()))}", err=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"within-pipelines {version('within-pipelines')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Folder of landing files, lake, artifacts and database (WITHIN_HOME; default ./data).")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Ad exports in; ad scores, account health and anomalies out, every number measured.

    \b
    Start with:  within run"""
    context.obj = home


# -- commands --------------------------------------------------------------------------------------------------------------------------


@app.command()
def run(context: typer.Context) -> None:
    """Do the main job: ingest what has landed, train, judge, promote, score, detect.

    Writes a demo agency first when nothing has landed. Ends with 1 when a step failed or a model has no champion.

    \b
    Example:  within run"""
    from within_pipelines.defs.launch import run_main_job
    from within_pipelines.pipeline import Workspace, summarise
    from within_pipelines.reporting import open_console, render_summary, step_log

    settings, console = _settings(context), open_console()
    with step_log(console, clock=time.monotonic) as on_step:
        outcome = run_main_job(settings, now=_now(), on_step=on_step)
    if not outcome.success:
        failed = f" at {', '.join(outcome.failed_steps)}" if outcome.failed_steps else ""
        _complain(f"The run {outcome.run_id} failed{failed}: {outcome.message}")
    with Workspace.open(settings) as ws:
        summary = summarise(ws)
    console.print()
    console.print(render_summary(summary))
    if summary.unserved:
        _complain(f"No champion serves {', '.join(summary.unserved)}; `within models show NAME` shows which gate is missing.")
    if not outcome.success or summary.unserved:
        raise typer.Exit(1)


@app.command()
def simulate(
    context: typer.Context,
    accounts: Annotated[int | None, typer.Option(min=1, help="Advertising accounts.", show_default="24")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days of history.", show_default="200")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Equal seeds give equal files.", show_default="7")] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day with figures.", show_default="yesterday, UTC")
    ] = None,
    next_day: Annotated[bool, typer.Option("--next-day", help="Add one day to the agency that is already there.")] = False,
) -> None:
    """Write the exports of a made-up agency into the landing folder; truth.json beside it says what was planted.

    \b
    Example:  within --home /tmp/demo simulate --accounts 6 --days 120
              within --home /tmp/demo simulate --next-day"""
    from within_pipelines.reporting import counting, open_console
    from within_pipelines.simulation import AgencySpec, write_agency, write_next_day

    settings = _settings(context)
    given = {"--accounts": accounts, "--days": days, "--seed": seed, "--end": end}
    if next_day:
        taken = [name for name, value in given.items() if value is not None]
        if taken:
            raise typer.BadParameter(f"--next-day continues the agency as it is; leave out {', '.join(taken)}.")
        truth = settings.landing.parent / "truth.json"
        if not truth.is_file():
            raise NothingHereError(f"There is no simulated agency at {settings.home}; write one with `within simulate` first.")
        summary = write_next_day(settings.landing, truth)
    else:
        length = settings.demo_days if days is None else days
        spec = AgencySpec(
            accounts=settings.demo_accounts if accounts is None else accounts,
            days=length,
            seed=settings.seed if seed is None else seed,
            end=_now().date() - timedelta(days=1) if end is None else end.date(),
            # A short history is all daily exports; one shorter than the usual restatement restates all of it.
            daily_days=min(60, length),
            restatement_days=min(14, length),
        )
        with counting(open_console(), "accounts written") as progress:
            summary = write_agency(settings.landing, spec, progress=progress)
    typer.echo(
        f"{summary.files:,} files with {summary.rows:,} rows of {summary.accounts} accounts, {summary.first_day} to {summary.last_day}, "
        f"in {settings.landing}\nwhat was planted: {summary.truth_path}"
    )


@app.command()
def ingest(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="An export or a folder of exports.", show_default="HOME/landing")] = None,
) -> None:
    """Read exports into the lake; rows that cannot be read are set aside with a reason. Files seen before are skipped.

    Ends with 1 when not one file could be read.

    \b
    Example:  within ingest ~/Downloads/google-ads-report.csv"""
    import polars as pl

    from within_pipelines.pipeline import Workspace, ingest_path
    from within_pipelines.reporting import counting, open_console, print_ingest

    settings, console = _settings(context), open_console()
    with Workspace.open(settings) as ws:
        before = ws.lake.watermark()
        with counting(console, "files read") as progress:
            report = ingest_path(ws, settings.landing if path is None else path, now=_now(), progress=progress)
        fresh = ws.lake.quarantine().filter(pl.col("commit_seq") > before)
    print_ingest(console, report, fresh)
    if report.files == 0:
        raise NothingHereError(f"No export lies in {settings.landing if path is None else path}; put files there or give another path.")
    if report.ingested == report.skipped_known == 0:
        raise typer.Exit(1)


@app.command()
def score(
    context: typer.Context,
    model: Annotated[
        list[str] | None, typer.Option(help="ad_score, account_health or anomaly; may be repeated.", show_default="all")
    ] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day to score.", show_default="the newest day of the lake")
    ] = None,
) -> None:
    """Score a day with the champions and store the results.

    \b
    Example:  within score --model ad_score --day 2026-11-22"""
    from within_pipelines.pipeline import score_day
    from within_pipelines.registry import REQUIRED_GATES
    from within_pipelines.reporting import open_console, print_frame

    unknown = [name for name in model or () if name not in REQUIRED_GATES]
    if unknown:
        raise ModelNotFoundError(f"There is no model {', '.join(unknown)}; the models are {', '.join(REQUIRED_GATES)}.")
    console = open_console()
    with _workspace(context) as ws:
        report = score_day(ws, day=None if day is None else day.date(), models=model or None)
        where = ws.database.shown
    shown = {
        "ad_score": ("ads", report.ads),
        "account_health": ("accounts and campaigns", report.accounts),
        "anomaly": ("anomalies", report.anomalies),
    }
    for name in model or shown:
        title, frame = shown[name]
        console.print(f"\n{title}: {frame.height:,} rows for {report.day}", style="bold", markup=False)
        if frame.height:
            print_frame(console, _essential(frame).head(ROWS_SHOWN))
    typer.echo(f"\nall rows are in {where}")


@app.command()
def doctor(context: typer.Context) -> None:
    """Check what a run needs: packages, folders, database, champions, Dagster, disk. Ends with 1 when something is broken.

    \b
    Example:  within doctor"""
    from within_pipelines.pipeline.doctor import diagnose
    from within_pipelines.reporting import open_console, print_table

    findings = diagnose(_settings(context))
    rows = [(finding.name, finding.state, finding.detail, finding.next_step) for finding in findings]
    print_table(open_console(), ("what", "state", "detail", "next step"), rows)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


app.command()(rollback)
app.command()(decision)


@app.command("serve")
def serve_command(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to bind.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 for a free one.", show_default="8000")] = None,
    durable: Annotated[bool | None, typer.Option("--durable", help="Answer only what is on disk.", show_default="no")] = None,
    require_key: Annotated[bool | None, typer.Option("--require-key", help="Ask for keys on loopback too.", show_default="no")] = None,
) -> None:
    """Answer over HTTP with the versions that the registry names; everywhere but on loopback a key is needed.

    SIGHUP reads aliases and keys at once, SIGTERM ends when what is running is answered. More settings: docs/serve.md.

    \b
    Example:  within serve --port 8000"""
    from within_pipelines.serving import ServeSettings, serve

    given = {"host": host, "port": port, "durable": durable, "require_key": require_key}
    settings = ServeSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    with _workspace(context) as ws:
        serve(ws, settings, listening=lambda url: typer.echo(f"listening on {url}, documented at {url}/docs", err=True))


# -- helpers ---------------------------------------------------------------------------------------------------------------------------


def _essential(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that fit on a screen: what it is about, then what was found."""
    known = (
        "platform", "account_id", "campaign_id", "ad_id", "headline", "metric_name", "metric", "timestamp", "score", "overall_score",
        "probability", "tier", "state", "out_of_support", "value", "metric_value", "expected", "expected_value", "direction", "severity",
    )  # fmt: skip
    names = [name for name in known if name in frame.columns]
    return frame.select(names or frame.columns[:8])
