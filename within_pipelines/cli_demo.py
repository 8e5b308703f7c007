"""`within demo ...`: stories to follow on made-up data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import settings_of
from within_pipelines.exceptions import SettingsError

demo_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Stories to follow on made-up data.")


@demo_app.command()
def drift(
    context: typer.Context,
    accounts: Annotated[int, typer.Option(min=2, help="Advertising accounts; more find a drift sooner and take longer.")] = 32,
    every: Annotated[int, typer.Option(min=1, help="Days between looks.")] = 35,
    days: Annotated[int, typer.Option(min=1, help="Days to play at most.")] = 105,
) -> None:
    """Play an agency day by day until a planted drift is found, told, explained, and a new model is trained, judged and promoted.

    Everything goes to HOME/demo-drift, a deployment of its own, with its own Dagster instance. Takes some minutes. A retraining
    that the gates refuse is told, and the story goes on; it ends with 1 when no version that drift has caused was promoted in time.

    \b
    Example:  within demo drift"""
    import os

    from within_pipelines.defs.demo import play_drift
    from within_pipelines.reporting import printable_text

    settings = settings_of(context)
    home: Path = settings.home / "demo-drift"
    if home.exists():
        raise SettingsError(f"{home} is there already; move it away to play the story again.")
    # A database, lake or instance that is configured for real work is not the story's.
    if settings.database_url is not None or settings.lake_url is not None:
        raise SettingsError("WITHIN_DATABASE_URL or WITHIN_LAKE_URL is set; unset both for the demo, which must not write there.")
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    own = settings.model_copy(update={"home": home})
    own = type(settings)(**own.model_dump(include={"home", "seed", "encoder", "threads", "dagster_url"}))
    say = lambda line: typer.echo(printable_text(line))
    outcome = play_drift(own, now=cli_context.wall_clock(), say=say, accounts=accounts, every=every, at_most=days)
    typer.echo(f"\nTo look around: DAGSTER_HOME={home / 'dagster'} WITHIN_HOME={home} dagster dev -m within_pipelines.definitions")
    if not outcome.promoted:
        typer.echo(f"within: {outcome.message}", err=True)
        raise typer.Exit(1)
