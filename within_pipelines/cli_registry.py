"""`within rollback`, `within decision` and `within registry ...`: back to an earlier version, why one serves, the registry's upkeep."""

from __future__ import annotations

from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import person, workspace_of

registry_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The registry's own upkeep.")


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

    with workspace_of(context) as ws:
        move = roll_back(ws, model, to=to, who=person() if who is None else who, why=why, now=cli_context.wall_clock())
    typer.echo(f"{model}: v{move.to_version} serves again instead of v{move.from_version}; a running server takes it up at its next poll.")


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

    with workspace_of(context) as ws:
        record = decide(ws, model, version, now=cli_context.wall_clock())
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

    with workspace_of(context) as ws:
        found = collect_garbage(ws, now=cli_context.wall_clock(), dry_run=dry_run, keep_newest=keep_newest, keep_days=keep_days)
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
    with workspace_of(context) as ws:
        found = mirror_registry(ws, tracker)
    typer.echo(f"{found.runs} runs and {found.versions} versions are new; {found.runs_there} and {found.versions_there} were there.")
