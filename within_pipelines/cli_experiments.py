"""`within experiment ...`: plan, run and read A/B tests."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from within_pipelines import cli_context
from within_pipelines.cli_context import workspace_of
from within_pipelines.cli_files import number_of, read_table
from within_pipelines.exceptions import SampleError, SettingsError

if TYPE_CHECKING:
    from within_pipelines.validation import Metric


def _metric(text: str, *, guardrail: bool = False) -> Metric:
    """`clicks`, `clicks/impressions`, `cost:lower`; a guardrail `cost:lower:0.1` with the loss it accepts."""
    from within_pipelines.validation import Metric

    name, *rest = text.split(":")
    numerator, _, denominator = name.partition("/")
    direction = rest[0] if rest else "higher"
    if direction not in ("higher", "lower") or len(rest) > (2 if guardrail else 1):
        form = "NAME:higher|lower:MARGIN" if guardrail else "NAME[/DENOMINATOR][:higher|lower]"
        raise SettingsError(f"{text!r} is not of the form {form}.")
    margin = number_of(rest[1], text) if len(rest) == 2 else 0.0
    return Metric(numerator, higher_is_better=direction == "higher", denominator=denominator or None, margin=margin)


experiment_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Plan, run and read A/B tests.")


@experiment_app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the experiment; units get their arms by it.")],
    arm: Annotated[list[str], typer.Option(help="NAME=SHARE, once for each arm.")],
    control: Annotated[str, typer.Option(help="The arm that the others are compared with.")],
    metric: Annotated[str, typer.Option(help="Column, or NUMERATOR/DENOMINATOR; add :lower when less is better.")],
    effect: Annotated[float, typer.Option(help="The change of the metric that should be found.")],
    units: Annotated[int, typer.Option(help="Units of all arms together.")],
    sd: Annotated[float | None, typer.Option(help="Standard deviation of one unit; or give --earlier.")] = None,
    earlier: Annotated[Path | None, typer.Option(help="Earlier units (CSV or Parquet) to take it from.")] = None,
    guardrail: Annotated[list[str] | None, typer.Option(help="NAME:higher|lower:MARGIN; may be repeated.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="Column to look at by its values; may be repeated.")] = None,
    covariate: Annotated[str | None, typer.Option(help="The metric from before the experiment, to reduce its variance.")] = None,
    sequential: Annotated[bool, typer.Option("--sequential", help="Read it at any time instead of once.")] = False,
    looks: Annotated[int, typer.Option(min=1, help="How often a sequential one will be read.")] = 28,
    optimised: Annotated[bool, typer.Option("--optimised", help="A platform's optimiser splits, not chance.")] = False,
    model: Annotated[str | None, typer.Option(help="The model whose versions are the arms.")] = None,
    version: Annotated[list[str] | None, typer.Option(help="ARM=VERSION, once for each arm, with --model.")] = None,
    maturity: Annotated[int, typer.Option(min=0, help="Days until an answer's outcome counts, with --model.")] = 0,
) -> None:
    """Keep the plan of an experiment and say what it can find.

    \b
    Example:  within experiment create headline --arm new=0.5 --arm old=0.5 --control old --metric clicks/impressions
              --effect 0.002 --units 8000 --earlier last_month.csv
              within experiment create newer --arm new=0.5 --arm old=0.5 --control old --metric score --effect 0.02 --units 800 --sd 0.1
              --model account_health --version new=4 --version old=3 --maturity 7"""
    from within_pipelines.pipeline import draft_experiment
    from within_pipelines.reporting import power_lines
    from within_pipelines.validation import ExperimentSpec, spread

    primary = _metric(metric)
    shares = {}
    for given in arm:
        label, _, share = given.partition("=")
        shares[label] = number_of(share, f"--arm {given}")
    versions = {}
    for given in version or ():
        label, _, number = given.partition("=")
        if not number.isdecimal():
            raise SettingsError(f"--version {given!r} is not of the form ARM=VERSION, such as new=4.")
        versions[label] = int(number)
    spec = ExperimentSpec(
        name, shares, control, primary, effect, units, key=secrets.token_hex(16), covariate=covariate, looks=looks,
        guardrails=tuple(_metric(text, guardrail=True) for text in guardrail or ()), segments=tuple(segment or ()),
        analysis="sequential" if sequential else "fixed", randomised=not optimised,
        model=model, versions=versions, maturity_days=maturity,
    )  # fmt: skip
    if (sd is None) == (earlier is None):
        raise SettingsError("Give either --sd or --earlier: the power of an experiment is told before it starts.")
    known = sd if sd is not None else spread(primary, read_table(earlier)) if earlier is not None else 0.0
    lines = power_lines(spec, known)
    with workspace_of(context) as ws:
        draft_experiment(ws, spec, now=cli_context.wall_clock())
    typer.echo("\n".join([f"{name} is drafted.", *lines]))


@experiment_app.command("list")
def listing(context: typer.Context) -> None:
    """List experiments with their state and outcome.

    \b
    Example:  within experiment list"""
    from within_pipelines.database import ExperimentRepository
    from within_pipelines.reporting import open_console, print_table

    with workspace_of(context) as ws:
        found = ExperimentRepository(ws.database).experiments()
    if not found:
        typer.echo("No experiment has been drafted; `within experiment create --help` says how.")
        return
    rows = [
        (each.spec.name, each.state.value, each.spec.metric.name, each.spec.analysis, str(each.decision.get("outcome", "")))
        for each in found
    ]
    print_table(open_console(), ("experiment", "state", "metric", "read", "outcome"), rows)


@experiment_app.command()
def start(context: typer.Context, name: Annotated[str, typer.Argument(help="Name of a draft.")]) -> None:
    """Let units in.

    \b
    Example:  within experiment start headline"""
    from within_pipelines.pipeline import start_experiment

    with workspace_of(context) as ws:
        start_experiment(ws, name, now=cli_context.wall_clock())
    typer.echo(f"{name} is running.")


@experiment_app.command()
def stop(context: typer.Context, name: Annotated[str, typer.Argument(help="Name of a running experiment.")]) -> None:
    """Let no more units in; the next analysis decides.

    \b
    Example:  within experiment stop headline"""
    from within_pipelines.pipeline import stop_experiment

    with workspace_of(context) as ws:
        stop_experiment(ws, name, now=cli_context.wall_clock())
    typer.echo(f"{name} is stopped; `within experiment analyse {name} FILE` decides it.")


@experiment_app.command("analyse")
def analyse_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a running or stopped experiment.")],
    file: Annotated[
        Path | None, typer.Argument(help="One row per unit: unit, arm, and the metrics (CSV or Parquet); of a model's: the log.")
    ] = None,
) -> None:
    """Look at an experiment and keep the look; one that is stopped is decided by it.

    \b
    Example:  within experiment analyse headline units.csv"""
    from within_pipelines.database import ExperimentRepository
    from within_pipelines.pipeline import analyse_experiment, experiment_units
    from within_pipelines.reporting import experiment_report

    with workspace_of(context) as ws:
        units = experiment_units(ws, name, on=cli_context.wall_clock().date()) if file is None else read_table(file)
        result = analyse_experiment(ws, name, units, now=cli_context.wall_clock())
        repository = ExperimentRepository(ws.database)
        spec, looks = repository.get(name).spec, len(repository.looks(name))
    typer.echo(experiment_report(spec, result, looks=looks))


@experiment_app.command()
def report(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of an experiment that was looked at.")],
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.")] = None,
) -> None:
    """Show the last look, or write it as a page with plots.

    \b
    Example:  within experiment report headline --html headline.html"""
    from within_pipelines.database import ExperimentRepository
    from within_pipelines.files import write_text
    from within_pipelines.pipeline import read_result
    from within_pipelines.reporting import experiment_html, experiment_report

    with workspace_of(context) as ws:
        repository = ExperimentRepository(ws.database)
        spec, looks = repository.get(name).spec, repository.looks(name)
    if not looks:
        raise SampleError(f"Nobody has looked at {name} yet; `within experiment analyse {name} FILE` does.")
    result = read_result(looks[-1][1])
    if html is None:
        typer.echo(experiment_report(spec, result, looks=len(looks)))
    else:
        write_text(html, experiment_html(spec, result, looks=len(looks)))
        typer.echo(f"wrote {html}")
