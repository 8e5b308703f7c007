"""`within golden ...`: look at the golden set, or add a confirmed incident."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import person, workspace_of
from within_pipelines.exceptions import SettingsError

Reason = Annotated[str, typer.Option(help="Why the set changes; kept with the new version.")]


golden_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the golden set, or add a confirmed incident.")


@golden_app.command("list")
def listing(context: typer.Context) -> None:
    """List the cases that hold now, and the versions of the set.

    \b
    Example:  within golden list"""
    from within_pipelines.pipeline import golden_set_versions
    from within_pipelines.reporting import open_console, print_table

    with workspace_of(context) as ws:
        versions = golden_set_versions(ws)
    console = open_console()
    cases = [(case.model, case.part.value, case.slice, case.id, case.wanted, case.note) for case in versions[-1].cases]
    print_table(console, ("model", "part", "slice", "case", "wanted", "note"), cases)
    print_table(
        console, ("version", "cases", "who", "when", "why"),
        [(each.version, str(len(each.cases)), each.who, each.at[:16], each.reason) for each in versions],
    )  # fmt: skip


@golden_app.command()
def add(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")],
    reason: Reason,
    account: Annotated[str | None, typer.Option(help="PLATFORM/ACCOUNT of an incident.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that misbehaved (anomaly).")] = None,
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of the incident.")] = None,
    better: Annotated[str | None, typer.Option(help="Ad that should have scored higher (ad_score).")] = None,
    worse: Annotated[str | None, typer.Option(help="Ad that should have scored lower (ad_score).")] = None,
) -> None:
    """Add the rows of a confirmed incident as a case that every later version must get right. Training leaves its group out.

    \b
    Example:  within golden add anomaly --account google_ads/123 --metric spend --day 2026-06-01 --reason "tracking broke"
              within golden add account_health --account meta_ads/9 --day 2026-06-01 --reason "fell, was not seen"
              within golden add ad_score --better 11 --worse 12 --reason "the A/B test said so" """
    from within_pipelines.pipeline import account_incident, ads_incident, change_golden_set, series_incident

    platform, _, account_id = (account or "").partition("/")
    with workspace_of(context) as ws:
        if model == "anomaly" and account and metric and day:
            case = series_incident(ws, platform=platform, account_id=account_id, metric=metric, day=day.date(), note=reason)
        elif model == "account_health" and account and day:
            case = account_incident(ws, platform=platform, account_id=account_id, day=day.date(), note=reason)
        elif model == "ad_score" and better and worse:
            case = ads_incident(ws, better=better, worse=worse, note=reason)
        else:
            raise SettingsError(
                "An incident of anomaly needs --account, --metric and --day, of account_health --account and --day, of ad_score "
                f"--better and --worse; {model} was given with something else."
            )
        after = change_golden_set(ws, add=[case], reason=reason, who=person(), now=cli_context.wall_clock())
    typer.echo(f"{case.id} is wanted {case.wanted} from version {after.version} on.")


@golden_app.command()
def remove(context: typer.Context, case: Annotated[list[str], typer.Argument(help="Ids of cases.")], reason: Reason) -> None:
    """Take cases out of the set; earlier versions keep them.

    \b
    Example:  within golden remove incident-11-12 --reason "the ad group was mislabelled" """
    from within_pipelines.pipeline import change_golden_set

    with workspace_of(context) as ws:
        after = change_golden_set(ws, remove=case, reason=reason, who=person(), now=cli_context.wall_clock())
    typer.echo(f"version {after.version} holds {len(after.cases)} cases.")


@golden_app.command()
def diff(
    context: typer.Context,
    before: Annotated[str | None, typer.Argument(help="Version.", show_default="the one before the last")] = None,
    after: Annotated[str | None, typer.Argument(help="Version.", show_default="the last")] = None,
) -> None:
    """Say which cases came, went or changed between two versions, and why.

    \b
    Example:  within golden diff 1-0123456789ab"""
    from within_pipelines.exceptions import ModelNotFoundError
    from within_pipelines.pipeline import golden_set_versions
    from within_pipelines.validation import set_difference

    with workspace_of(context) as ws:
        versions = golden_set_versions(ws)
    named = {each.version: each for each in versions}
    wanted = [before or versions[-2 if len(versions) > 1 else -1].version, after or versions[-1].version]
    if unknown := [name for name in wanted if name not in named]:
        raise ModelNotFoundError(f"There is no version {', '.join(unknown)}; the versions are {', '.join(named)}.")
    old, new = (named[name] for name in wanted)
    for what, ids in set_difference(old, new).items():
        typer.echo(f"{what}: {', '.join(ids) or 'none'}")
    typer.echo(f"why: {new.reason}")
