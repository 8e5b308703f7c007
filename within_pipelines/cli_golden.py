"""`within golden ...`: look at the golden set, add a confirmed incident, or say what is expected of a slice."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import person, workspace_of
from within_pipelines.exceptions import SettingsError

Reason = Annotated[str, typer.Option(help="Why the set changes; kept with the new version.")]


golden_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the golden set, or change it.")


@golden_app.command("list")
def listing(context: typer.Context) -> None:
    """List the cases that hold now, what is expected of each slice of them, and the versions of the set.

    \b
    Example:  within golden list"""
    from within_pipelines.pipeline import golden_set_versions
    from within_pipelines.reporting import open_console, print_table

    with workspace_of(context) as ws:
        versions = golden_set_versions(ws)
    console = open_console()
    cases = [(case.model, case.part.value, case.slice, case.id, case.wanted, case.note) for case in versions[-1].cases]
    print_table(console, ("model", "part", "slice", "case", "wanted", "note"), cases)
    slices = [(each.model, each.part.value, each.slice, str(count), each.wanted, each.note) for each, count in versions[-1].expectations()]
    print_table(console, ("model", "part", "slice", "cases", "wanted", "note"), slices)
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
    """Add the rows of a confirmed incident as a case that later versions must get right. Training leaves its group out.

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
    wanted = after.expected(case.model, case.part, case.slice).wanted
    typer.echo(f"{case.id} is wanted {case.wanted} from version {after.version} on; of its slice, {case.slice}: {wanted}.")


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
def expect(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")],
    part: Annotated[str, typer.Argument(help="hard or incident.")],
    slice_name: Annotated[str, typer.Argument(help="Name of the slice, as `within golden list` shows it.")],
    reason: Reason,
    least_share: Annotated[float, typer.Option(help="Least share of its cases met, above 0 and at most 1.")] = 1.0,
    most_lost: Annotated[int, typer.Option(help="Most cases that the champion meets and a challenger may miss.")] = 0,
    low: Annotated[float | None, typer.Option(help="Least mean answer.", show_default="none")] = None,
    high: Annotated[float | None, typer.Option(help="Largest mean answer.", show_default="none")] = None,
) -> None:
    """Say what is expected of a slice of cases together. What is left out is as strict as it was made: every case met, none lost.

    \b
    Example:  within golden expect anomaly incident spend --least-share 0.9 --reason "two replays are of noisy accounts"
              within golden expect account_health hard "thin data" --high 0.9 --reason "few data must not mean danger" """
    from within_pipelines.pipeline import change_golden_set
    from within_pipelines.validation import Part, SliceExpectation

    if part not in set(Part):
        raise SettingsError(f"{part!r} is no part of the golden set; give hard or incident.")
    wanted = SliceExpectation(
        model, Part(part), slice_name, least_share=least_share, most_lost=most_lost, low=-math.inf if low is None else low,
        high=math.inf if high is None else high, note=reason,
    )  # fmt: skip
    with workspace_of(context) as ws:
        after = change_golden_set(ws, expect=[wanted], reason=reason, who=person(), now=cli_context.wall_clock())
    typer.echo(f"Of {wanted.name} is wanted from version {after.version} on: {wanted.wanted}.")


@golden_app.command()
def diff(
    context: typer.Context,
    before: Annotated[str | None, typer.Argument(help="Version.", show_default="the one before the last")] = None,
    after: Annotated[str | None, typer.Argument(help="Version.", show_default="the last")] = None,
) -> None:
    """Say which cases came, went or changed between two versions, of which slices something else is wanted, and why.

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
        typer.echo(f"{what}: {('; ' if what == 'slices' else ', ').join(ids) or 'none'}")
    typer.echo(f"why: {new.reason}")
