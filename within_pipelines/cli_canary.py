"""`within canary ...`: let a version serve a growing share, or take it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import person, workspace_of
from within_pipelines.cli_files import read_table

if TYPE_CHECKING:
    from within_pipelines.validation.canary import Outcomes

Metrics = Annotated[list[str], typer.Option(help="NAME:MARGIN[:higher|lower], success metric first; may be repeated.")]
Why = Annotated[str, typer.Option(help="The reason, kept with the move.")]
Model = Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")]


canary_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Let a version serve a growing share, or take it back.")


@canary_app.command()
def start(
    context: typer.Context,
    model: Model,
    version: Annotated[int, typer.Argument(min=1, help="The version to try.")],
    metric: Metrics,
    share: Annotated[
        list[float] | None, typer.Option(help="Share of a stage; may be repeated.", show_default="1, 5, 25, 50, 100 %")
    ] = None,
    key: Annotated[str, typer.Option(help="The key by which the HTTP API splits traffic.", envvar="WITHIN_SERVE_TRAFFIC_KEY")] = "within",
    alpha: Annotated[float, typer.Option(help="Chance that an equal version is rolled back.")] = 0.05,
    days: Annotated[int, typer.Option(min=1, help="Least days in a stage.")] = 1,
    maturity: Annotated[int, typer.Option(min=0, help="Days after which an outcome counts.")] = 0,
    exclude_missing: Annotated[
        bool, typer.Option("--exclude-missing", help="Leave units out whose outcome never came, instead of counting 0.")
    ] = False,
    outcomes: Annotated[str, typer.Option(help="live (from the HTTP API's log), replay (from the lake's days) or recorded.")] = "live",
) -> None:
    """Open a canary beside the champion.

    \b
    Example:  within canary start ad_score 4 --metric observed:0.002 --metric latency_ms:20:lower --maturity 7
              within canary start account_health 3 --metric score:0.02 --exclude-missing --outcomes replay"""
    from within_pipelines.pipeline import start_canary
    from within_pipelines.validation import CanaryMetric

    with workspace_of(context) as ws:
        canary = start_canary(
            ws, model, version, metrics=[CanaryMetric.of(text) for text in metric], key=key, who=person(), now=cli_context.wall_clock(),
            shares=tuple(share) if share else None, alpha=alpha, days_per_stage=days, maturity_days=maturity,
            missing="exclude" if exclude_missing else "zero", outcomes=cast("Outcomes", outcomes),
        )  # fmt: skip
    does = "is replayed on" if canary.spec.outcomes == "replay" else "answers"
    typer.echo(f"{model} v{version} {does} {canary.share:.0%} of the units beside v{canary.spec.control_version}.")


@canary_app.command()
def status(context: typer.Context, model: Model) -> None:
    """Show the newest canary of a model with every look.

    \b
    Example:  within canary status ad_score"""
    from within_pipelines.database import CanaryRepository
    from within_pipelines.reporting import canary_report

    with workspace_of(context) as ws:
        repository = CanaryRepository(ws.database)
        canary = repository.latest(model)
        typer.echo(canary_report(canary, repository.moves(canary)))


@canary_app.command()
def record(
    context: typer.Context,
    model: Model,
    file: Annotated[Path, typer.Argument(help="unit, arm (canary or control), day, known_on and the metrics (CSV or Parquet).")],
) -> None:
    """Keep what units of the open canary showed.

    \b
    Example:  within canary record ad_score outcomes.csv"""
    from within_pipelines.pipeline import record_canary_outcomes

    with workspace_of(context) as ws:
        changed = record_canary_outcomes(ws, model, read_table(file))
    typer.echo(f"{changed:,} rows are new or have their outcome now.")


@canary_app.command()
def step(context: typer.Context, model: Model) -> None:
    """Hand over the outcomes that are known and take the step that is due; the canary sensor does the same.

    \b
    Example:  within canary step ad_score"""
    from within_pipelines.pipeline import feed_canary, step_canary

    moment = cli_context.wall_clock()
    with workspace_of(context) as ws:
        feed_canary(ws, model, on=moment.date())
        canary = step_canary(ws, model, on=moment.date(), now=moment, who=person())
    if canary is None:
        typer.echo(f"{model} has no open canary.")
    else:
        typer.echo(f"{canary.state.value.replace('_', ' ')} at {canary.share:.0%}: {canary.reason}")


@canary_app.command()
def pause(context: typer.Context, model: Model, why: Why) -> None:
    """Give the canary's units back to the champion for a while.

    \b
    Example:  within canary pause ad_score --why "launch day" """
    from within_pipelines.pipeline import pause_canary

    with workspace_of(context) as ws:
        pause_canary(ws, model, who=person(), why=why, now=cli_context.wall_clock())
    typer.echo("paused")


@canary_app.command()
def resume(context: typer.Context, model: Model, why: Why) -> None:
    """Go on where the canary was paused.

    \b
    Example:  within canary resume ad_score --why "launch is over" """
    from within_pipelines.pipeline import resume_canary

    with workspace_of(context) as ws:
        canary = resume_canary(ws, model, who=person(), why=why, now=cli_context.wall_clock())
    typer.echo(f"running at {canary.share:.0%}")


@canary_app.command()
def abort(context: typer.Context, model: Model, why: Why) -> None:
    """Take the canary back for good.

    \b
    Example:  within canary abort ad_score --why "complaints" """
    from within_pipelines.pipeline import abort_canary

    with workspace_of(context) as ws:
        abort_canary(ws, model, who=person(), why=why, now=cli_context.wall_clock())
    typer.echo("rolled back")


@canary_app.command("replay")
def replay_(
    file: Annotated[Path, typer.Argument(help="unit, day, known_on, and canary_NAME, control_NAME for each metric (CSV or Parquet).")],
    metric: Metrics,
    share: Annotated[
        list[float] | None, typer.Option(help="Share of a stage; may be repeated.", show_default="1, 5, 25, 50, 100 %")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Chance that an equal version is rolled back.")] = 0.05,
    days: Annotated[int, typer.Option(min=1, help="Least days in a stage.")] = 1,
    maturity: Annotated[int, typer.Option(min=0, help="Days after which an outcome counts.")] = 0,
    exclude_missing: Annotated[
        bool, typer.Option("--exclude-missing", help="Leave units out whose outcome never came, instead of counting 0.")
    ] = False,
    key: Annotated[str, typer.Option(help="The key by which units are split.")] = "replay",
) -> None:
    """Say what a canary would have done over logged days in which both versions answered; nothing is kept.

    \b
    Example:  within canary replay shadow_log.parquet --metric score:0.02 --maturity 7"""
    from within_pipelines.reporting import interval_text, open_console, print_table
    from within_pipelines.validation import STAGES, CanaryMetric, CanarySpec, logged, replay

    wanted = tuple(CanaryMetric.of(text) for text in metric)
    log = read_table(file)
    spec = CanarySpec(
        "replay", "replay", 2, 1, wanted, key=key, shares=tuple(share or STAGES), alpha=alpha,
        days_per_stage=days, maturity_days=maturity, missing="exclude" if exclude_missing else "zero",
    )  # fmt: skip
    log_of = logged(spec, log)
    ended = replay(spec, log_of, sorted(log["day"].unique().to_list()))
    rows = [
        (
            str(found.on), f"{found.share:.0%}", found.step.value,
            "; ".join(f"{m.metric} {interval_text(m.gain.to_dict())}" for m in found.metrics), found.reason,
        )
        for found in ended.looks
    ]  # fmt: skip
    print_table(open_console(), ("day", "share", "step", "gain", "why"), rows)
    typer.echo(f"\nafter {len(ended.looks)} days: {ended.state.value.replace('_', ' ')}")
