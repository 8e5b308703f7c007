"""`within models ...`: which versions there are, and the card of one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from within_pipelines.cli_context import workspace_of
from within_pipelines.exceptions import ModelNotFoundError

models_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


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
    with workspace_of(context) as ws:
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
    with workspace_of(context) as ws:
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
