"""`within runs ...`: what was trained, and two runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from within_pipelines.cli_context import workspace_of

runs_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


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

    with workspace_of(context) as ws:
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

    with workspace_of(context) as ws:
        repository = TrainingRunRepository(ws.database)
        a, b = repository.get(first), repository.get(second)
        rows = run_comparison((a, ws.registry.get(a.model, a.version)), (b, ws.registry.get(b.model, b.version)))
    print_table(open_console(), ("", f"run {first}", f"run {second}", ""), rows)
    if a.model != b.model:
        typer.echo("\nThe runs trained different models; their metrics cannot be compared.")
    elif a.data_version != b.data_version:
        typer.echo("\nThe runs saw different data, so a difference in metrics is not the models' alone.")
