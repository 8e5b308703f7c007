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
from within_pipelines.cli_context import NothingHereError, login_name
from within_pipelines.cli_context import settings_of as _settings
from within_pipelines.cli_context import wall_clock as _now
from within_pipelines.cli_context import workspace_of as _workspace
from within_pipelines.cli_demo import demo_app
from within_pipelines.cli_experiments import add_experiment_commands
from within_pipelines.cli_retrain import retrain
from within_pipelines.exceptions import ModelNotFoundError, WithinError

if TYPE_CHECKING:
    import polars as pl

ROWS_SHOWN = 10

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
models_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
runs_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")
app.add_typer(alerts_app, name="alerts")
app.add_typer(demo_app, name="demo")
app.command()(retrain)
keys_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys of the HTTP API.")
app.add_typer(keys_app, name="keys")
registry_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The registry's own upkeep.")
app.add_typer(registry_app, name="registry")


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


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the trained versions of every model, or show one.

    \b
    Example:  within models
              within models show account_health"""
    if context.invoked_subcommand is not None:
        return
    from within_pipelines.registry import REQUIRED_GATES, missing_gates
    from within_pipelines.reporting import interval_text, open_console, print_table

    rows = []
    with _workspace(context) as ws:
        for name in REQUIRED_GATES:
            champion = ws.registry.alias(name, "champion")
            for version in reversed(ws.registry.versions(name)):
                main = version.metrics.get(version.main_metric)
                shown = f"{version.main_metric} {interval_text(main)}" if main else "not evaluated"
                missing = missing_gates(name, ws.registry.verdicts(version.model_sha256, version.data_version))
                gates = f"{len(missing)} missing" if missing else "passed"
                serves = "champion" if champion is not None and champion.version == version.version else ""
                rows.append((f"{name} v{version.version}", version.kind, shown, gates, f"{version.trained_at:%Y-%m-%d}", serves))
    if not rows:
        typer.echo("No model has been trained yet; `within run` trains them.")
        return
    print_table(open_console(), ("model", "kind", "main metric", "gates", "trained", "serves"), rows)


@models_app.command("show")
def models_show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")],
    version: Annotated[int | None, typer.Option(min=1, help="Version number.", show_default="the champion, else the newest")] = None,
) -> None:
    """Show the model card of a version: data, metrics beside the baseline, verdicts, limits; then the alias's history.

    \b
    Example:  within models show account_health --version 2"""
    from within_pipelines.registry import REQUIRED_GATES
    from within_pipelines.reporting import frame_markdown, model_card, open_console

    if name not in REQUIRED_GATES:
        raise ModelNotFoundError(f"There is no model {name!r}; the models are {', '.join(REQUIRED_GATES)}.")
    with _workspace(context) as ws:
        found = ws.registry.alias(name, "champion") if version is None else ws.registry.get(name, version)
        if found is None:
            found = next(reversed(ws.registry.versions(name)), None)
        if found is None:
            raise ModelNotFoundError(f"No version of {name} has been trained; `within run` trains one.")
        text = model_card(found, ws.registry.verdicts(found.model_sha256, found.data_version))
        moves = ws.registry.alias_history(name)
    if moves.height:
        text += f"\n## Alias moves\n\n{frame_markdown(moves)}\n"
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        open_console().print(Markdown(text))
    else:
        typer.echo(text)


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


@runs_app.callback()
def runs(context: typer.Context) -> None:
    """List training runs, the newest first, or compare two.

    \b
    Example:  within runs
              within runs compare 3 5"""
    if context.invoked_subcommand is not None:
        return
    from within_pipelines.database import TrainingRunRepository
    from within_pipelines.reporting import open_console, print_table

    with _workspace(context) as ws:
        found = TrainingRunRepository(ws.database).runs()
    if not found:
        typer.echo("No training run has been recorded yet; `within run` makes some.")
        return
    rows = []
    for run in reversed(found):
        started, seconds = f"{run.started_at:%Y-%m-%d %H:%M}", f"{run.cpu_seconds:.1f}"
        rows.append((str(run.id), run.model, f"v{run.version}", run.kind, started, seconds, run.data_version[:12]))
    print_table(open_console(), ("run", "model", "version", "kind", "started (UTC)", "CPU s", "data"), rows)


@runs_app.command("compare")
def runs_compare(
    context: typer.Context,
    first: Annotated[int, typer.Argument(help="Number of a run.")],
    second: Annotated[int, typer.Argument(help="Number of another run.")],
) -> None:
    """Show two training runs side by side: what went in, what came out.

    \b
    Example:  within runs compare 3 5"""
    from within_pipelines.database import TrainingRunRepository
    from within_pipelines.reporting import open_console, print_table, run_comparison

    with _workspace(context) as ws:
        repository = TrainingRunRepository(ws.database)
        a, b = repository.get(first), repository.get(second)
        rows = run_comparison((a, ws.registry.get(a.model, a.version)), (b, ws.registry.get(b.model, b.version)))
    print_table(open_console(), ("", f"run {first}", f"run {second}", ""), rows)
    if a.model != b.model:
        typer.echo("\nThe runs trained different models; their metrics cannot be compared.")
    elif a.data_version != b.data_version:
        typer.echo("\nThe runs saw different data, so a difference in metrics is not the models' alone.")


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


@app.command()
def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")],
    to: Annotated[int | None, typer.Option(min=1, help="Version to go back to.", show_default="the one that served before")] = None,
    why: Annotated[str, typer.Option(help="Goes into the audit trail.")] = "by hand",
    who: Annotated[str | None, typer.Option(help="Who decides.", show_default="the user of this machine")] = None,
) -> None:
    """Let an earlier champion serve again, at once. What was rolled back from is not promoted again by itself.

    \b
    Example:  within rollback ad_score --why 'scores of video ads are off'"""
    from within_pipelines.pipeline.rollback import rollback as roll_back

    with _workspace(context) as ws:
        move = roll_back(ws, model, to=to, who=_person() if who is None else who, why=why, now=_now())
    typer.echo(f"{model}: v{move.to_version} serves again instead of v{move.from_version}; a running server takes it up at its next poll.")


@app.command()
def decision(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")],
    version: Annotated[int | None, typer.Option(min=1, help="Version.", show_default="the one that serves")] = None,
) -> None:
    """Show the decision record of a promotion, with what is known by now, and file it as HTML and Markdown.

    \b
    Example:  within decision account_health"""
    from within_pipelines.pipeline import decide, write_decision
    from within_pipelines.reporting import decision_markdown

    with _workspace(context) as ws:
        record = decide(ws, model, version, now=_now())
        page, _ = write_decision(ws, record)
    typer.echo(decision_markdown(record))
    typer.echo(f"for print: {page}", err=True)


@registry_app.command("gc")
def registry_gc(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep_newest: Annotated[int, typer.Option(min=1, help="Of each kind, keep so many.")] = 3,
    keep_days: Annotated[int, typer.Option(min=1, help="Keep what is younger.")] = 30,
) -> None:
    """Remove artifacts that no alias, audit or running canary needs; rows of versions, verdicts and moves stay.

    \b
    Example:  within registry gc --dry-run"""
    from within_pipelines.pipeline import collect_garbage
    from within_pipelines.reporting import open_console, print_table

    with _workspace(context) as ws:
        found = collect_garbage(ws, now=_now(), dry_run=dry_run, keep_newest=keep_newest, keep_days=keep_days)
    rows = [(f"{kept.version.model} v{kept.version.version}", kept.version.kind, "; ".join(kept.reasons) or "goes") for kept in found.kept]
    if rows:
        print_table(open_console(), ("version", "kind", "kept because"), rows)
    verb = "would go" if dry_run else "went"
    typer.echo(f"{len(found.removed)} artifact folders with {found.bytes / 1e6:.1f} MB {verb}.")


@registry_app.command("mirror")
def registry_mirror(
    context: typer.Context, to: Annotated[str, typer.Option(help="Tracking URI of MLflow: http(s)://..., sqlite:///file or a folder.")]
) -> None:
    """Copy training runs, metrics and versions into MLflow; what is there is left alone. Needs the extra `mlflow`.

    \b
    Example:  within registry mirror --to http://127.0.0.1:5000"""
    from within_pipelines.pipeline import mirror_registry, open_tracker

    tracker = open_tracker(to)
    with _workspace(context) as ws:
        found = mirror_registry(ws, tracker)
    typer.echo(f"{found.runs} runs and {found.versions} versions are new; {found.runs_there} and {found.versions_there} were there.")


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


@keys_app.command("create")
def keys_create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[list[str], typer.Option(help="What may be asked with it; may be repeated.")],
    days: Annotated[float | None, typer.Option(min=0, help="Days until it ends.", show_default="never")] = None,
) -> None:
    """Make a key and show it once; only its digest is kept.

    \b
    Example:  within keys create dashboard --scope score --scope outcomes --days 90"""
    from within_pipelines.database import ApiKeyRepository
    from within_pipelines.serving import create_key

    with _workspace(context) as ws:
        key = create_key(name, scope, now=_now(), valid_for=None if days is None else timedelta(days=days))
        ApiKeyRepository(ws.database).add(key.record)
    typer.echo(key.text)


@keys_app.command("list")
def keys_list(context: typer.Context) -> None:
    """List the keys: names, scopes, from when to when they hold; never the keys themselves.

    \b
    Example:  within keys list"""
    from within_pipelines.database import ApiKeyRepository
    from within_pipelines.reporting import open_console, print_table

    with _workspace(context) as ws:
        found = ApiKeyRepository(ws.database).records()
    if not found:
        typer.echo("There is no key; `within keys create NAME --scope score` makes one.")
        return
    rows = []
    for key in found:
        state = "revoked" if key.revoked_at is not None else "holds" if key.holds(_now()) else "ended"
        until = "" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
        rows.append((key.key_id, key.name, ", ".join(key.scopes), f"{key.issued_at:%Y-%m-%d %H:%M}", until, state))
    print_table(open_console(), ("key", "name", "scopes", "issued (UTC)", "until (UTC)", "state"), rows)


@keys_app.command("rotate")
def keys_rotate(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The key that shall end.")],
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old key holds beside the new one.")] = 24.0,
    days: Annotated[float | None, typer.Option(min=0, help="Days until the new one ends.", show_default="never")] = None,
) -> None:
    """Make a key with the same name and scopes, and let the old one end after an overlap.

    \b
    Example:  within keys rotate 1f0c3a5b7d9e2468 --overlap-hours 48"""
    from within_pipelines.database import ApiKeyRepository
    from within_pipelines.serving import create_key

    with _workspace(context) as ws:
        store = ApiKeyRepository(ws.database)
        old = next((key for key in store.records() if key.key_id == key_id), None)
        if old is None or not old.holds(_now()):
            raise ModelNotFoundError(f"No key {key_id} holds; `within keys list` shows them.")
        valid_for = None if days is None else timedelta(days=days)
        new = create_key(old.name, old.scopes, now=_now(), valid_for=valid_for, replaces=key_id)
        store.rotate(new.record, old_until=_now() + timedelta(hours=overlap_hours))
    typer.echo(new.text)


@keys_app.command("revoke")
def keys_revoke(context: typer.Context, key_id: Annotated[str, typer.Argument(help="The key that shall end now.")]) -> None:
    """End a key; a running server knows at its next poll, at once after SIGHUP.

    \b
    Example:  within keys revoke 1f0c3a5b7d9e2468"""
    from within_pipelines.database import ApiKeyRepository

    with _workspace(context) as ws:
        ApiKeyRepository(ws.database).revoke(key_id, now=_now())
    typer.echo(f"{key_id} is revoked.")


# -- helpers ---------------------------------------------------------------------------------------------------------------------------


def _person() -> str:
    return login_name() or "unknown"


def _essential(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that fit on a screen: what it is about, then what was found."""
    known = (
        "platform", "account_id", "campaign_id", "ad_id", "headline", "metric_name", "metric", "timestamp", "score", "overall_score",
        "probability", "tier", "state", "value", "metric_value", "expected", "expected_value", "direction", "severity",
    )  # fmt: skip
    names = [name for name in known if name in frame.columns]
    return frame.select(names or frame.columns[:8])


add_experiment_commands(app, workspace=_workspace, now=_now)
