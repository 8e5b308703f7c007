"""`within alerts ...`: see, take, close and judge alerts, and try the channels."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import NothingHereError, login_name, workspace_of
from within_pipelines.exceptions import SettingsError

alerts_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Number = Annotated[int, typer.Argument(help="Number of the alert; `within alerts list` shows it.")]
Who = Annotated[str | None, typer.Option(help="Who does this.", show_default="the login name")]
Why = Annotated[str, typer.Option(help="Why; kept with the alert.")]
Everything = Annotated[bool, typer.Option("--all", help="Also closed ones.")]


@alerts_app.callback()
def alerts(context: typer.Context, everything: Everything = False) -> None:
    """List open alerts, the newest first: what happened, and when it closes. Commands take, snooze and resolve them.

    \b
    Example:  within alerts --all
              within alerts resolve 12 --as false_alert --why "planned pause"
    """
    if context.invoked_subcommand is None:
        list_alerts(context, everything)


@alerts_app.command("list")
def list_alerts(context: typer.Context, everything: Everything = False) -> None:
    """List open alerts, the newest first.

    \b
    Example:  within alerts list --all"""
    from within_pipelines.database import AlertRepository
    from within_pipelines.pipeline import AlertManager, alert_precision
    from within_pipelines.reporting import open_console, print_frame

    with workspace_of(context) as ws:
        found = AlertRepository(ws.database).alerts(status=None if everything else "open")
        precision = alert_precision(AlertManager(ws))
    if found.is_empty():
        typer.echo("No alerts." if everything else "No open alerts; `within alerts --all` shows the closed ones.")
    else:
        shown = ("id", "severity", "title", "detail", "closes_when", "status", "occurrences", "last_seen_at")
        print_frame(open_console(), found.select(shown))
    if precision.judged:
        typer.echo(f"\naccount alerts that were judged: {precision.judged}, true {precision.estimate}")


@alerts_app.command()
def show(context: typer.Context, number: Number) -> None:
    """Show one alert: what, money at risk, likely cause, where to look, what closes it, and who did what about it.

    \b
    Example:  within alerts show 12"""
    from within_pipelines.monitoring.messages import body
    from within_pipelines.pipeline import AlertManager
    from within_pipelines.reporting import open_console, print_frame, printable_text

    with workspace_of(context) as ws:
        manager = AlertManager(ws)
        record = manager.store.get(number)
        trail = manager.store.trail(number)
        text = body([manager.line(record, "opened")])
    state = record.status if record.resolution is None else f"{record.status}, judged {record.resolution}"
    typer.echo("\n".join(printable_text(line) for line in [*text.splitlines(), f"State: {state}"]))
    print_frame(open_console(), trail)


@alerts_app.command()
def ack(context: typer.Context, number: Number, why: Why = "", who: Who = None) -> None:
    """Say that somebody looks at it, so that it is not escalated.

    \b
    Example:  within alerts ack 12 --why "asking the client" """
    from within_pipelines.pipeline import AlertManager

    with workspace_of(context) as ws:
        AlertManager(ws).acknowledge(number, who=login_name() if who is None else who, why=why, now=cli_context.wall_clock())
    typer.echo(f"Alert {number} is acknowledged.")


@alerts_app.command()
def snooze(
    context: typer.Context,
    number: Number,
    days: Annotated[float, typer.Option(min=0.01, max=365, help="For how many days.")] = 1.0,
    why: Why = "",
    who: Who = None,
) -> None:
    """Send nothing about it for some days, unless it gets worse.

    \b
    Example:  within alerts snooze 12 --days 3 --why "known until Friday" """
    from within_pipelines.pipeline import AlertManager

    with workspace_of(context) as ws:
        who = login_name() if who is None else who
        record = AlertManager(ws).snooze(number, days=days, who=who, why=why, now=cli_context.wall_clock())
    typer.echo(f"Alert {number} is silent until {record.snoozed_until:%Y-%m-%d %H:%M} UTC, unless it gets worse.")


@alerts_app.command()
def resolve(
    context: typer.Context,
    number: Number,
    as_: Annotated[str, typer.Option("--as", help="true_alert, false_alert or no_action.")],
    why: Why = "",
    who: Who = None,
) -> None:
    """Close it and say what it was. True and false ones measure how precise the alerts are.

    \b
    Example:  within alerts resolve 12 --as true_alert --why "the pixel was gone" """
    from within_pipelines.database import Resolution
    from within_pipelines.pipeline import AlertManager

    if as_ not in set(Resolution):
        raise typer.BadParameter(f"{as_!r} is no resolution; give {', '.join(Resolution)}.")
    with workspace_of(context) as ws:
        who = login_name() if who is None else who
        AlertManager(ws).resolve(number, resolution=Resolution(as_), who=who, why=why, now=cli_context.wall_clock())
    typer.echo(f"Alert {number} is closed as {as_}.")


@alerts_app.command()
def digest(context: typer.Context) -> None:
    """Everything that is open in one text, the worst first, as the daily digest has it.

    \b
    Example:  within alerts digest"""
    from within_pipelines.monitoring.messages import body
    from within_pipelines.pipeline import AlertManager
    from within_pipelines.reporting import printable_text

    with workspace_of(context) as ws:
        text = body(AlertManager(ws).digest())
    typer.echo("\n".join(printable_text(line) for line in text.splitlines()))


@alerts_app.command("test-channel")
def test_channel(context: typer.Context, name: Annotated[str, typer.Argument(help="Name of the channel in the alerts file.")]) -> None:
    """Send one made-up message to a channel now. Ends with 1 when it was not taken.

    \b
    Example:  within alerts test-channel team-mail"""
    from within_pipelines.pipeline import AlertManager

    with workspace_of(context) as ws:
        manager = AlertManager(ws)
        if manager.problem:
            raise SettingsError(manager.problem)
        answer = manager.test(name, now=cli_context.wall_clock(), environ=os.environ, log=typer.echo)
    if not answer.ok:
        raise NothingHereError(f"The channel {name} did not take the message: {answer.detail}.")
    typer.echo(f"{name}: {answer.detail}")


@alerts_app.command()
def deliver(
    context: typer.Context,
    revive: Annotated[bool, typer.Option("--revive", help="Also what was given up.")] = False,
) -> None:
    """Hand over every message that is due now; the sensor `deliver_alerts_sensor` does this every minute.

    \b
    Example:  within alerts deliver --revive"""
    from within_pipelines.pipeline import AlertManager

    with workspace_of(context) as ws:
        manager = AlertManager(ws)
        if revive:
            manager.outbox.revive(now=cli_context.wall_clock())
        done = manager.deliver(clock=cli_context.wall_clock, environ=os.environ, log=typer.echo)
    typer.echo(done.shown)
    if done.troubled:
        raise typer.Exit(1)


@alerts_app.command()
def outbox(context: typer.Context) -> None:
    """Messages that wait, were sent or were given up, the newest first.

    \b
    Example:  within alerts outbox"""
    from within_pipelines.pipeline import AlertManager
    from within_pipelines.reporting import open_console, print_frame

    with workspace_of(context) as ws:
        found = AlertManager(ws).outbox.messages()
    if found.is_empty():
        typer.echo("No message has been written yet.")
        return
    print_frame(open_console(), found.head(50).select("id", "channel", "status", "attempts", "not_before", "sent_at", "last_answer"))


@alerts_app.command()
def precision(context: typer.Context) -> None:
    """How many account alerts were true, of those that somebody judged.

    \b
    Example:  within alerts precision"""
    from within_pipelines.pipeline import AlertManager, alert_precision

    with workspace_of(context) as ws:
        found = alert_precision(AlertManager(ws))
    if not found.judged:
        typer.echo(f"No account alert has been judged yet, {found.unjudged} closed by themselves; `within alerts resolve` judges one.")
        return
    typer.echo(
        f"{found.true} of {found.judged} judged account alerts were true: {found.estimate}; {found.unjudged} closed and nobody judged them."
    )
