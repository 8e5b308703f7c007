"""Commands about experiments, canaries and the golden set; `cli` adds them to the program and lends them its workspace and clock."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from within_pipelines.cli_context import login_name
from within_pipelines.exceptions import SampleError, SchemaError, SettingsError

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.pipeline import Workspace
    from within_pipelines.validation import Metric


def add_experiment_commands(
    app: typer.Typer, *, workspace: Callable[[typer.Context], AbstractContextManager[Workspace]], now: Callable[[], datetime]
) -> None:
    """Add `experiment`, `canary` and `golden` with their commands."""
    _experiment(app, workspace, now)
    _canary(app, workspace, now)
    _golden(app, workspace, now)


Open = Callable[[typer.Context], "AbstractContextManager[Workspace]"]
Clock = Callable[[], datetime]
Reason = Annotated[str, typer.Option(help="Why the set changes; kept with the new version.")]
Metrics = Annotated[list[str], typer.Option(help="NAME:MARGIN[:higher|lower], success metric first; may be repeated.")]
Why = Annotated[str, typer.Option(help="The reason, kept with the move.")]
Model = Annotated[str, typer.Argument(help="ad_score, account_health or anomaly.")]


def _who() -> str:
    return login_name() or "unknown"


def _table(path: Path) -> pl.DataFrame:
    """A CSV or Parquet file; day columns as days."""
    import polars as pl

    if not path.is_file():
        raise SchemaError(f"{path} does not exist; give a CSV or Parquet file.")
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, try_parse_dates=True)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path} cannot be read as a table: {error}") from error
    days = [name for name in ("day", "known_on") if name in frame.columns]
    texts = [name for name in ("unit", "arm") if name in frame.columns]
    try:
        return frame.with_columns(pl.col(days).cast(pl.Date), pl.col(texts).cast(pl.String))
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{path} has days that cannot be read ({str(error).splitlines()[0]}); write them as 2026-05-31.") from error


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{what}: {text!r} is no number.") from None


def _metric(text: str, *, guardrail: bool = False) -> Metric:
    """`clicks`, `clicks/impressions`, `cost:lower`; a guardrail `cost:lower:0.1` with the loss it accepts."""
    from within_pipelines.validation import Metric

    name, *rest = text.split(":")
    numerator, _, denominator = name.partition("/")
    direction = rest[0] if rest else "higher"
    if direction not in ("higher", "lower") or len(rest) > (2 if guardrail else 1):
        form = "NAME:higher|lower:MARGIN" if guardrail else "NAME[/DENOMINATOR][:higher|lower]"
        raise SettingsError(f"{text!r} is not of the form {form}.")
    margin = _number(rest[1], text) if len(rest) == 2 else 0.0
    return Metric(numerator, higher_is_better=direction == "higher", denominator=denominator or None, margin=margin)


def _experiment(app: typer.Typer, workspace: Open, now: Clock) -> None:
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Plan, run and read A/B tests.")
    app.add_typer(commands, name="experiment")

    @commands.command()
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
            shares[label] = _number(share, f"--arm {given}")
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
        known = sd if sd is not None else spread(primary, _table(earlier)) if earlier is not None else 0.0
        lines = power_lines(spec, known)
        with workspace(context) as ws:
            draft_experiment(ws, spec, now=now())
        typer.echo("\n".join([f"{name} is drafted.", *lines]))

    @commands.command("list")
    def listing(context: typer.Context) -> None:
        """List experiments with their state and outcome.

        \b
        Example:  within experiment list"""
        from within_pipelines.database import ExperimentRepository
        from within_pipelines.reporting import open_console, print_table

        with workspace(context) as ws:
            found = ExperimentRepository(ws.database).experiments()
        if not found:
            typer.echo("No experiment has been drafted; `within experiment create --help` says how.")
            return
        rows = [
            (each.spec.name, each.state.value, each.spec.metric.name, each.spec.analysis, str(each.decision.get("outcome", "")))
            for each in found
        ]
        print_table(open_console(), ("experiment", "state", "metric", "read", "outcome"), rows)

    @commands.command()
    def start(context: typer.Context, name: Annotated[str, typer.Argument(help="Name of a draft.")]) -> None:
        """Let units in.

        \b
        Example:  within experiment start headline"""
        from within_pipelines.pipeline import start_experiment

        with workspace(context) as ws:
            start_experiment(ws, name, now=now())
        typer.echo(f"{name} is running.")

    @commands.command()
    def stop(context: typer.Context, name: Annotated[str, typer.Argument(help="Name of a running experiment.")]) -> None:
        """Let no more units in; the next analysis decides.

        \b
        Example:  within experiment stop headline"""
        from within_pipelines.pipeline import stop_experiment

        with workspace(context) as ws:
            stop_experiment(ws, name, now=now())
        typer.echo(f"{name} is stopped; `within experiment analyse {name} FILE` decides it.")

    @commands.command("analyse")
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

        with workspace(context) as ws:
            units = experiment_units(ws, name, on=now().date()) if file is None else _table(file)
            result = analyse_experiment(ws, name, units, now=now())
            repository = ExperimentRepository(ws.database)
            spec, looks = repository.get(name).spec, len(repository.looks(name))
        typer.echo(experiment_report(spec, result, looks=looks))

    @commands.command()
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

        with workspace(context) as ws:
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


def _canary(app: typer.Typer, workspace: Open, now: Clock) -> None:
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Let a version serve a growing share, or take it back.")
    app.add_typer(commands, name="canary")

    @commands.command()
    def start(
        context: typer.Context,
        model: Model,
        version: Annotated[int, typer.Argument(min=1, help="The version to try.")],
        metric: Metrics,
        share: Annotated[
            list[float] | None, typer.Option(help="Share of a stage; may be repeated.", show_default="1, 5, 25, 50, 100 %")
        ] = None,
        key: Annotated[
            str, typer.Option(help="The key by which the HTTP API splits traffic.", envvar="WITHIN_SERVE_TRAFFIC_KEY")
        ] = "within",
        alpha: Annotated[float, typer.Option(help="Chance that an equal version is rolled back.")] = 0.05,
        days: Annotated[int, typer.Option(min=1, help="Least days in a stage.")] = 1,
        maturity: Annotated[int, typer.Option(min=0, help="Days after which an outcome counts.")] = 0,
        exclude_missing: Annotated[
            bool, typer.Option("--exclude-missing", help="Leave units out whose outcome never came, instead of counting 0.")
        ] = False,
    ) -> None:
        """Open a canary beside the champion.

        \b
        Example:  within canary start ad_score 4 --metric score:0.02 --metric latency_ms:20:lower --maturity 7"""
        from within_pipelines.pipeline import start_canary
        from within_pipelines.validation import CanaryMetric

        with workspace(context) as ws:
            canary = start_canary(
                ws, model, version, metrics=[CanaryMetric.of(text) for text in metric], key=key, who=_who(), now=now(),
                shares=tuple(share) if share else None, alpha=alpha, days_per_stage=days, maturity_days=maturity,
                missing="exclude" if exclude_missing else "zero",
            )  # fmt: skip
        typer.echo(f"{model} v{version} answers {canary.share:.0%} of the units beside v{canary.spec.control_version}.")

    @commands.command()
    def status(context: typer.Context, model: Model) -> None:
        """Show the newest canary of a model with every look.

        \b
        Example:  within canary status ad_score"""
        from within_pipelines.database import CanaryRepository
        from within_pipelines.reporting import canary_report

        with workspace(context) as ws:
            repository = CanaryRepository(ws.database)
            canary = repository.latest(model)
            typer.echo(canary_report(canary, repository.moves(canary)))

    @commands.command()
    def record(
        context: typer.Context,
        model: Model,
        file: Annotated[Path, typer.Argument(help="unit, arm (canary or control), day, known_on and the metrics (CSV or Parquet).")],
    ) -> None:
        """Keep what units of the open canary showed.

        \b
        Example:  within canary record ad_score outcomes.csv"""
        from within_pipelines.pipeline import record_canary_outcomes

        with workspace(context) as ws:
            changed = record_canary_outcomes(ws, model, _table(file))
        typer.echo(f"{changed:,} rows are new or have their outcome now.")

    @commands.command()
    def step(context: typer.Context, model: Model) -> None:
        """Take the step that is due; the canary sensor does the same.

        \b
        Example:  within canary step ad_score"""
        from within_pipelines.pipeline import step_canary

        moment = now()
        with workspace(context) as ws:
            canary = step_canary(ws, model, on=moment.date(), now=moment, who=_who())
        if canary is None:
            typer.echo(f"{model} has no open canary.")
        else:
            typer.echo(f"{canary.state.value.replace('_', ' ')} at {canary.share:.0%}: {canary.reason}")

    @commands.command()
    def pause(context: typer.Context, model: Model, why: Why) -> None:
        """Give the canary's units back to the champion for a while.

        \b
        Example:  within canary pause ad_score --why "launch day" """
        from within_pipelines.pipeline import pause_canary

        with workspace(context) as ws:
            pause_canary(ws, model, who=_who(), why=why, now=now())
        typer.echo("paused")

    @commands.command()
    def resume(context: typer.Context, model: Model, why: Why) -> None:
        """Go on where the canary was paused.

        \b
        Example:  within canary resume ad_score --why "launch is over" """
        from within_pipelines.pipeline import resume_canary

        with workspace(context) as ws:
            canary = resume_canary(ws, model, who=_who(), why=why, now=now())
        typer.echo(f"running at {canary.share:.0%}")

    @commands.command()
    def abort(context: typer.Context, model: Model, why: Why) -> None:
        """Take the canary back for good.

        \b
        Example:  within canary abort ad_score --why "complaints" """
        from within_pipelines.pipeline import abort_canary

        with workspace(context) as ws:
            abort_canary(ws, model, who=_who(), why=why, now=now())
        typer.echo("rolled back")

    @commands.command("replay")
    def replay_(
        file: Annotated[Path, typer.Argument(help="unit, day, known_on, and canary_NAME, control_NAME for each metric (CSV or Parquet).")],
        metric: Metrics,
        share: Annotated[
            list[float] | None, typer.Option(help="Share of a stage; may be repeated.", show_default="1, 5, 25, 50, 100 %")
        ] = None,
        alpha: Annotated[float, typer.Option(help="Chance that an equal version is rolled back.")] = 0.05,
        days: Annotated[int, typer.Option(min=1, help="Least days in a stage.")] = 1,
        maturity: Annotated[int, typer.Option(min=0, help="Days after which an outcome counts.")] = 0,
        exclude_missing: Annotated[
            bool, typer.Option("--exclude-missing", help="Leave units out whose outcome never came, instead of counting 0.")
        ] = False,
        key: Annotated[str, typer.Option(help="The key by which units are split.")] = "replay",
    ) -> None:
        """Say what a canary would have done over logged days in which both versions answered; nothing is kept.

        \b
        Example:  within canary replay shadow_log.parquet --metric score:0.02 --maturity 7"""
        from within_pipelines.reporting import interval_text, open_console, print_table
        from within_pipelines.validation import STAGES, CanaryMetric, CanarySpec, logged, replay

        wanted = tuple(CanaryMetric.of(text) for text in metric)
        log = _table(file)
        spec = CanarySpec(
            "replay", "replay", 2, 1, wanted, key=key, shares=tuple(share or STAGES), alpha=alpha,
            days_per_stage=days, maturity_days=maturity, missing="exclude" if exclude_missing else "zero",
        )  # fmt: skip
        log_of = logged(spec, log)
        ended = replay(spec, log_of, sorted(log["day"].unique().to_list()))
        rows = [
            (
                str(found.on), f"{found.share:.0%}", found.step.value,
                "; ".join(f"{m.metric} {interval_text(m.gain.to_dict())}" for m in found.metrics), found.reason,
            )
            for found in ended.looks
        ]  # fmt: skip
        print_table(open_console(), ("day", "share", "step", "gain", "why"), rows)
        typer.echo(f"\nafter {len(ended.looks)} days: {ended.state.value.replace('_', ' ')}")


def _golden(app: typer.Typer, workspace: Open, now: Clock) -> None:
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the golden set, or add a confirmed incident.")
    app.add_typer(commands, name="golden")

    @commands.command("list")
    def listing(context: typer.Context) -> None:
        """List the cases that hold now, and the versions of the set.

        \b
        Example:  within golden list"""
        from within_pipelines.pipeline import golden_set_versions
        from within_pipelines.reporting import open_console, print_table

        with workspace(context) as ws:
            versions = golden_set_versions(ws)
        console = open_console()
        cases = [(case.model, case.part.value, case.slice, case.id, case.wanted, case.note) for case in versions[-1].cases]
        print_table(console, ("model", "part", "slice", "case", "wanted", "note"), cases)
        print_table(
            console, ("version", "cases", "who", "when", "why"),
            [(each.version, str(len(each.cases)), each.who, each.at[:16], each.reason) for each in versions],
        )  # fmt: skip

    @commands.command()
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
        with workspace(context) as ws:
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
            after = change_golden_set(ws, add=[case], reason=reason, who=_who(), now=now())
        typer.echo(f"{case.id} is wanted {case.wanted} from version {after.version} on.")

    @commands.command()
    def remove(context: typer.Context, case: Annotated[list[str], typer.Argument(help="Ids of cases.")], reason: Reason) -> None:
        """Take cases out of the set; earlier versions keep them.

        \b
        Example:  within golden remove incident-11-12 --reason "the ad group was mislabelled" """
        from within_pipelines.pipeline import change_golden_set

        with workspace(context) as ws:
            after = change_golden_set(ws, remove=case, reason=reason, who=_who(), now=now())
        typer.echo(f"version {after.version} holds {len(after.cases)} cases.")

    @commands.command()
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

        with workspace(context) as ws:
            versions = golden_set_versions(ws)
        named = {each.version: each for each in versions}
        wanted = [before or versions[-2 if len(versions) > 1 else -1].version, after or versions[-1].version]
        if unknown := [name for name in wanted if name not in named]:
            raise ModelNotFoundError(f"There is no version {', '.join(unknown)}; the versions are {', '.join(named)}.")
        old, new = (named[name] for name in wanted)
        for what, ids in set_difference(old, new).items():
            typer.echo(f"{what}: {', '.join(ids) or 'none'}")
        typer.echo(f"why: {new.reason}")
