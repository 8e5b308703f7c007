"""`within keys ...`: keys of the HTTP API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import workspace_of
from within_pipelines.exceptions import ModelNotFoundError

keys_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys of the HTTP API.")


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

    with workspace_of(context) as ws:
        key = create_key(name, scope, now=cli_context.wall_clock(), valid_for=None if days is None else timedelta(days=days))
        ApiKeyRepository(ws.database).add(key.record)
    typer.echo(key.text)


@keys_app.command("list")
def keys_list(context: typer.Context) -> None:
    """List the keys: names, scopes, from when to when they hold; never the keys themselves.

    \b
    Example:  within keys list"""
    from within_pipelines.database import ApiKeyRepository
    from within_pipelines.reporting import open_console, print_table

    with workspace_of(context) as ws:
        found = ApiKeyRepository(ws.database).records()
    if not found:
        typer.echo("There is no key; `within keys create NAME --scope score` makes one.")
        return
    rows = []
    for key in found:
        state = "revoked" if key.revoked_at is not None else "holds" if key.holds(cli_context.wall_clock()) else "ended"
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

    with workspace_of(context) as ws:
        store = ApiKeyRepository(ws.database)
        old = next((key for key in store.records() if key.key_id == key_id), None)
        if old is None or not old.holds(cli_context.wall_clock()):
            raise ModelNotFoundError(f"No key {key_id} holds; `within keys list` shows them.")
        valid_for = None if days is None else timedelta(days=days)
        new = create_key(old.name, old.scopes, now=cli_context.wall_clock(), valid_for=valid_for, replaces=key_id)
        store.rotate(new.record, old_until=cli_context.wall_clock() + timedelta(hours=overlap_hours))
    typer.echo(new.text)


@keys_app.command("revoke")
def keys_revoke(context: typer.Context, key_id: Annotated[str, typer.Argument(help="The key that shall end now.")]) -> None:
    """End a key; a running server knows at its next poll, at once after SIGHUP.

    \b
    Example:  within keys revoke 1f0c3a5b7d9e2468"""
    from within_pipelines.database import ApiKeyRepository

    with workspace_of(context) as ws:
        ApiKeyRepository(ws.database).revoke(key_id, now=cli_context.wall_clock())
    typer.echo(f"{key_id} is revoked.")
