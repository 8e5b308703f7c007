"""The champions' answers day by day, how they stand on the golden set, challengers beside them, and canaries."""

from datetime import date

import dagster as dg

from within_pipelines.defs.metadata import frame_table, png
from within_pipelines.defs.resource import WithinResource, pin_of

OWNERS = ["team:ml"]
MODELS = ("ad_score", "account_health", "anomaly")

# Days of the accounts' calendars. Old enough for imported history; far below the number of partitions that slows the UI down.
# Two days ahead of UTC, because an account's day may be further than ours, and so that today's first facts can be scored.
DAYS = dg.DailyPartitionsDefinition(start_date="2012-01-01", end_offset=2)


def _scores(name: str, *, group: str, step: str, model: str, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        group_name=group,
        kinds={"sqlalchemy", "polars"},
        owners=OWNERS,
        deps=[f"{model}_registry_entry", "ad_performance"],
        partitions_def=DAYS,
        description=description,
    )
    def scores(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines import pipeline
        from within_pipelines.lake import knowledge_time

        day = date.fromisoformat(context.partition_key)
        with within.open() as workspace:
            pin = pin_of(context, workspace)
            serving = pipeline.champion(workspace, model)
            frame = getattr(pipeline, step)(workspace, pin, day, knowledge_time(day))
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": frame.height,
                "model": f"{serving.kind} v{serving.version}",
                "rows": frame_table(frame, most=25),
            }
        )

    return scores


SCORE_ASSETS = [
    _scores(
        "ad_scores",
        group="ad_score",
        step="score_ads",
        model="ad_score",
        description="Every live ad's score beside its siblings, with interval, components and reasons, by the champion.",
    ),
    _scores(
        "account_health",
        group="account_health",
        step="score_accounts",
        model="account_health",
        description="Health 0-100 of every account and campaign with its risk factors, by the champion; or that data are too few.",
    ),
    _scores(
        "anomalies",
        group="anomaly",
        step="find_anomalies",
        model="anomaly",
        description="Metrics of accounts that misbehave on the day, with expected range and tail p-value, by the champion.",
    ),
]


@dg.asset_check(
    asset="ad_scores",
    description="Scores lie between 0 and 100, intervals contain their estimate, and no live ad is missing.",
)
def ad_scores_are_sane(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
    import polars as pl

    from within_pipelines.database import AdScoreRepository

    with within.open() as workspace:
        frame = AdScoreRepository(workspace.database).on()
    if frame.is_empty():
        return dg.AssetCheckResult(passed=False, metadata={"rows": 0})
    off = frame.filter(
        ~pl.col("score").is_between(0, 100)
        | (pl.col("interval_low") > pl.col("log_odds_contrast"))
        | (pl.col("interval_high") < pl.col("log_odds_contrast"))
    )
    return dg.AssetCheckResult(passed=off.is_empty(), metadata={"rows": frame.height, "off": frame_table(off.head(10))})


@dg.asset_check(
    asset="account_health",
    description="Every answer is a score between 0 and 100 or a state that says why there is none, and not all of them are the latter.",
)
def account_health_is_sane(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
    import polars as pl

    from within_pipelines.database import AccountHealthRepository

    with within.open() as workspace:
        frame = AccountHealthRepository(workspace.database).on()
    if frame.is_empty():
        return dg.AssetCheckResult(passed=False, metadata={"rows": 0})
    scored = frame.filter(pl.col("state") == "scored")
    off = scored.filter(~pl.col("overall_score").is_between(0, 100) | pl.col("overall_score").is_null())
    return dg.AssetCheckResult(
        passed=off.is_empty() and not scored.is_empty(), metadata={"rows": frame.height, "scored": scored.height, "off": off.height}
    )


@dg.asset(
    group_name="release",
    kinds={"sqlalchemy"},
    owners=OWNERS,
    deps=[f"{model}_registry_entry" for model in MODELS],
    description="Each champion asked the golden set: the frozen sample as recorded, the hard cases, the replays of incidents; by slice.",
)
def golden_set_result(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    from within_pipelines.database import GoldenResultRepository
    from within_pipelines.pipeline import current_golden_set, golden_slices, validate_golden_sets
    from within_pipelines.reporting import golden_history_plot, verdict_table

    with within.open() as workspace:
        verdicts = validate_golden_sets(workspace, now=within.clock())
        histories = {model: GoldenResultRepository(workspace.database).history(model) for model in verdicts}
        golden_set = current_golden_set(workspace)
    return dg.MaterializeResult(
        metadata={
            "champions": len(verdicts),
            "passed": sum(verdict.passed for verdict in verdicts.values()),
            "set": f"version {golden_set.version}: {golden_set.reason}",
            **{model: frame_table(verdict_table([verdict])) for model, verdict in verdicts.items()},
            **{f"{model} slices": frame_table(golden_slices(verdict)) for model, verdict in verdicts.items()},
            **{f"{model} history": png(golden_history_plot(history, title=f"Golden set: {model}")) for model, history in histories.items()},
        }
    )


@dg.asset(
    group_name="release",
    kinds={"sqlalchemy"},
    owners=OWNERS,
    deps=[f"{model}_registry_entry" for model in MODELS],
    description="The newest version of each model beside its champion, case by case on the golden set, per slice with intervals.",
)
def challenger_comparison(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    from within_pipelines.pipeline import compare_newest

    with within.open() as workspace:
        compared = {model: compare_newest(workspace, model) for model in MODELS}
    return dg.MaterializeResult(
        metadata={
            "compared": sum(frame.height > 0 for frame in compared.values()),
            **{model: frame_table(frame) for model, frame in compared.items() if frame.height},
        }
    )


@dg.asset(
    group_name="release",
    kinds={"sqlalchemy"},
    owners=OWNERS,
    deps=[f"{model}_registry_entry" for model in MODELS],
    description="One step of every canary: begin a declared one, or look at matured outcomes, then hold, grow, promote or roll back; every "
    "look is recorded.",
)
def canary_decision(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    from within_pipelines.database import CanaryRepository
    from within_pipelines.exceptions import SchemaError
    from within_pipelines.pipeline import begin_waiting_canary, decide, feed_canary, step_canary, write_decision
    from within_pipelines.reporting import canary_frame, canary_plot, decision_markdown
    from within_pipelines.validation import CanaryState, ExperimentStateError

    now, who, seen = within.clock(), f"dagster run {context.run.run_id[:8]}", 0
    metadata: dict[str, dg.MetadataValue | str | int] = {}
    with within.open() as workspace:
        repository = CanaryRepository(workspace.database)
        for model in MODELS:
            try:
                begin_waiting_canary(workspace, model, now=now, who=who)
            except SchemaError as error:
                # An open canary can be taken back whatever the file says.
                context.log.error(f"No canary begins: {error}")
                metadata["release.yaml"] = str(error)
            feed_canary(workspace, model, on=now.date())
            try:
                canary = step_canary(workspace, model, on=now.date(), now=now, who=who)
            except ExperimentStateError:
                # Another controller or a person took the step; theirs holds, and the table shows it.
                canary = repository.latest(model)
            if canary is None:
                continue
            seen += 1
            moves = repository.moves(canary)
            first = canary.spec.metrics[0]
            metadata[model] = f"v{canary.spec.version} is {canary.state.value.replace('_', ' ')} at {canary.share:.0%}: {canary.reason}"
            metadata[f"{model} looks"] = frame_table(canary_frame(moves))
            metadata[f"{model} gain"] = png(canary_plot(moves, metric=first.name, margin=first.margin))
            if canary.state is CanaryState.PROMOTED:
                decision = decide(workspace, model, canary.spec.version, now=now)
                write_decision(workspace, decision)
                metadata[f"{model} decision_record"] = dg.MetadataValue.md(decision_markdown(decision))
    return dg.MaterializeResult(metadata={"open": seen, **metadata})


@dg.asset_check(
    asset="golden_set_result",
    blocking=True,
    description="Every champion answers its golden sample as recorded, and every slice of cases holds.",
)
def golden_sets_hold(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
    from within_pipelines.pipeline import golden_check

    with within.open() as workspace:
        verdicts = golden_check(workspace)
    return dg.AssetCheckResult(
        passed=bool(verdicts) and all(verdict.passed for verdict in verdicts.values()),
        metadata={model: verdict.reason for model, verdict in verdicts.items()},
    )


@dg.asset(
    name="shadow_report",
    group_name="release",
    kinds={"sqlalchemy", "numpy"},
    owners=OWNERS,
    deps=[f"{model}_registry_entry" for model in MODELS],
    description="What the version under the alias shadow answered beside the champion: difference, errors, speed, and who was right.",
)
def shadow_report(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    import polars as pl

    from within_pipelines import pipeline
    from within_pipelines.reporting import shadow_table

    with within.open() as workspace:
        found = pipeline.shadow_report(workspace, now=within.clock())
    table = pl.concat([shadow_table(model, comparison) for model, comparison in found.items()]) if found else pl.DataFrame()
    return dg.MaterializeResult(
        metadata={"models": len(found), "answers": sum(comparison.pairs for comparison in found.values()), "report": frame_table(table)}
    )


@dg.asset(
    group_name="release",
    kinds={"sqlalchemy"},
    owners=OWNERS,
    deps=["golden_set_result", "challenger_comparison", "shadow_report", "canary_decision"],
    description="Who serves each model since when, by whom and why; who answers beside, and how the next version comes to serve.",
)
def champion(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
    from within_pipelines.pipeline import serving_table

    with within.open() as workspace:
        table = serving_table(workspace)
    return dg.MaterializeResult(metadata={"serving": int(table["champion"].is_not_null().sum()), "models": frame_table(table)})


RELEASE_ASSETS = [shadow_report, golden_set_result, challenger_comparison, canary_decision, champion]
RELEASE_CHECKS = [ad_scores_are_sane, account_health_is_sane, golden_sets_hold]
