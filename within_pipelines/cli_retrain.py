"""`within retrain`: ask for a model to be trained again, and see what was decided and why."""

from __future__ import annotations

from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import login_name, workspace_of


def retrain(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="ad_score, account_health or anomaly.", show_default="list decisions")] = None,
    why: Annotated[str, typer.Option(help="Why; kept with the decision.")] = "",
    who: Annotated[str | None, typer.Option(help="Who asks.", show_default="the login name")] = None,
) -> None:
    """Ask for a model to be trained again, or list what was decided about retraining, the newest first.

    The running daemon follows a request within a minute; the gates decide whether the new version serves.

    \b
    Example:  within retrain ad_score --why "new creative guidelines"
              within retrain"""
    from within_pipelines.database import RetrainingRepository
    from within_pipelines.pipeline import request_retraining
    from within_pipelines.reporting import open_console, print_table

    with workspace_of(context) as ws:
        if model is not None:
            asked = request_retraining(ws, model, who=login_name() if who is None else who, why=why, now=cli_context.wall_clock())
            typer.echo(f"Request {asked.id} for {model} is noted; drift_sensor starts the run (`make dev` must be running).")
            return
        found = RetrainingRepository(ws.database).decisions()
    if not found:
        typer.echo("Nothing has been decided yet; monitoring runs daily, and `within retrain MODEL --why REASON` asks by hand.")
        return
    rows = [(f"{d.decided_at:%Y-%m-%d %H:%M}", d.model, d.action, d.trigger, d.reason) for d in reversed(found)]
    print_table(open_console(), ("decided (UTC)", "model", "action", "trigger", "reason"), rows[:50])
