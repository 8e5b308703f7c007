"""The five assets that every model has: training set, model, evaluation, fairness report, registry entry; and their checks.

Written once, used by the three model folders, because the models differ in what they learn and not in how they earn their place."""

import dagster as dg

from within_pipelines.defs.metadata import frame_table, png
from within_pipelines.defs.resource import WithinResource, pin_of

OWNERS = ["team:ml"]


def model_assets(model: str, *, feature_table: str, learns: str, kinds: set[str]) -> list[dg.AssetsDefinition]:
    """Training set, model, evaluation, fairness report and registry entry of `model`, in the group of that name."""

    @dg.asset(
        name=f"{model}_training_set",
        group_name=model,
        kinds={"polars", "parquet"},
        owners=OWNERS,
        deps=[feature_table],
        description=f"Rows that the {learns} is trained and evaluated on; rebuilt bit for bit from data version, code and seed.",
    )
    def training_set(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.pipeline import build_training_set

        with within.open() as workspace:
            built = build_training_set(workspace, pin_of(context, workspace), model)
        return dg.MaterializeResult(
            metadata={"dagster/row_count": built.rows, "columns": len(built.columns), "cached": built.cached},
            data_version=dg.DataVersion(built.fingerprint[:32]),
        )

    @dg.asset(
        name=f"{model}_model",
        group_name=model,
        kinds=kinds,
        owners=OWNERS,
        deps=[f"{model}_training_set"],
        description=f"The fitted {learns} and its simple rival, both stored and registered.",
    )
    def trained_model(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        import polars as pl

        from within_pipelines.pipeline import KINDS, train, training_run
        from within_pipelines.reporting import learning_curve

        with within.open() as workspace:
            pin = pin_of(context, workspace)
            trained = [train(workspace, pin, model, kind, now=within.clock()) for kind in KINDS[model]]
            run = training_run(workspace, trained[0].version)
        challenger = trained[0].version
        params, curves = ({}, {}) if run is None else (dict(run.params), dict(run.curves))
        return dg.MaterializeResult(
            metadata={
                "version": challenger.version,
                "kind": challenger.kind,
                "model_sha256": challenger.model_sha256,
                "rival": f"{trained[1].version.kind} v{trained[1].version.version}",
                "cached": trained[0].cached,
                "trained_at": challenger.trained_at.isoformat(),
                "cpu_seconds": 0.0 if run is None else round(run.cpu_seconds, 2),
                "parameters": dg.MetadataValue.json(params),
                # What a training objective bought and cost beside the same training without it.
                **({"objective_costs": frame_table(pl.DataFrame(params["objective_costs"]))} if "objective_costs" in params else {}),
                **{f"{name}_plot": png(learning_curve(curve, title=name.replace("_", " "))) for name, curve in curves.items()},
            },
            data_version=dg.DataVersion(challenger.model_sha256[:32]),
        )

    @dg.asset(
        name=f"{model}_evaluation",
        group_name=model,
        kinds={"numpy"},
        owners=OWNERS,
        deps=[f"{model}_model"],
        description="Metrics with intervals on the newest days, unseen in fitting, beside the rival's; and the verdicts.",
    )
    def evaluation(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.pipeline import judge
        from within_pipelines.reporting import evaluation_plots, evaluation_table, verdict_table

        with within.open() as workspace:
            pin = pin_of(context, workspace)
            # The rival is judged too: on a cold start it may be the one that serves.
            judged, rival = judge(workspace, pin, model), judge(workspace, pin, model, is_baseline=True)
        result = judged.evaluation
        main = result.metrics[result.main_metric]
        return dg.MaterializeResult(
            metadata={
                "main_metric": result.main_metric,
                "value": main.value,
                "low": main.low,
                "high": main.high,
                "gain_over_baseline": result.difference.value,
                "metrics": frame_table(evaluation_table(result)),
                "verdicts": frame_table(verdict_table(judged.verdicts)),
                "verdicts_of_the_rival": frame_table(verdict_table(rival.verdicts)),
                **({"components": frame_table(result.tables["components"])} if "components" in result.tables else {}),
                **{f"{name}_plot": png(content) for name, content in evaluation_plots(result).items()},
            },
            data_version=dg.DataVersion(f"{judged.version.model_sha256[:16]}-{pin.data_version[:16]}"),
        )

    @dg.asset(
        name=f"{model}_fairness_report",
        group_name=model,
        kinds={"numpy"},
        owners=OWNERS,
        deps=[f"{model}_model"],
        description="Gaps between groups on unseen rows, against what shuffled groups give, and what flipping a declared attribute does.",
    )
    def fairness_report(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.fairness import LEGAL_CAVEAT
        from within_pipelines.pipeline import newest_fairness, time_text, write_fairness_page
        from within_pipelines.reporting import frontier_image, gap_plot, verdict_table

        with within.open() as workspace:
            reports = newest_fairness(workspace, pin_of(context, workspace), model, progress=context.log.info)
            pages = [write_fairness_page(workspace, report) for report in reports]
        report = reports[0]
        plots: dict[str, dg.MetadataValue] = {} if report.gaps.is_empty() else {"groups_plot": png(gap_plot(report.gaps))}
        if "frontier" in report.details:
            plots |= {
                "frontier_plot": png(frontier_image(report.details["frontier"])),
                "frontier_caveat": dg.MetadataValue.text(LEGAL_CAVEAT),
            }
        return dg.MaterializeResult(
            metadata={
                "status": report.verdict.status.value,
                "reason": report.verdict.reason,
                "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in report.notes)),
                "gaps": frame_table(report.gaps),
                "groups": frame_table(report.groups, most=100),
                "training_data": frame_table(report.bias),
                "verdicts": frame_table(verdict_table([own.verdict for own in reports])),
                "page": dg.MetadataValue.path(str(pages[0])),
                "cpu_seconds": report.cpu_seconds,
                "cpu_budget": time_text(report.cpu_seconds),
                "cached": report.cached,
                **{name: frame_table(table) for name, table in report.details.items()},
                **plots,
            }
        )

    @dg.asset(
        name=f"{model}_registry_entry",
        group_name=model,
        kinds={"sqlalchemy"},
        owners=OWNERS,
        deps=[f"{model}_evaluation", f"{model}_fairness_report", f"{model}_robustness_report"],
        description="The version that serves. Promotion re-reads the recorded verdicts for exactly this artifact and refuses without them.",
    )
    def registry_entry(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.pipeline import decide, release, write_decision
        from within_pipelines.reporting import decision_markdown

        with within.open() as workspace:
            pin, who = pin_of(context, workspace), f"dagster run {context.run.run_id[:8]}"
            released = release(workspace, pin, model, now=within.clock(), who=who, trigger=_trigger(context))
            history = workspace.registry.alias_history(model)
            record = None
            if released.champion is not None:
                decision = decide(workspace, model, now=within.clock())
                record = decision_markdown(decision)
                write_decision(workspace, decision)
        champion = released.champion
        return dg.MaterializeResult(
            metadata={
                "champion": "none" if champion is None else f"{champion.kind} v{champion.version}",
                "moved": released.moved,
                "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in released.reasons)),
                "model_sha256": "" if champion is None else champion.model_sha256,
                "alias_history": frame_table(history.tail(20)),
                **({} if record is None else {"decision_record": dg.MetadataValue.md(record)}),
            }
        )

    return [training_set, trained_model, evaluation, fairness_report, registry_entry]


def _trigger(context: dg.AssetExecutionContext) -> str:
    """What started the run, as its tags say."""
    tags = context.run.tags
    for tag, what in (("dagster/schedule_name", "schedule"), ("dagster/sensor_name", "sensor"), ("within/trigger", "")):
        if tag in tags:
            return f"{what} {tags[tag]}".strip()
    return f"job {context.run.job_name}, started by hand"


def model_checks(model: str) -> list[dg.AssetChecksDefinition]:
    """The recorded verdicts of the newest challenger as checks, and that something serves.

    They show the verdicts; they are not the gate. The gate is the promotion, which reads the same rows again."""

    @dg.asset_check(
        asset=f"{model}_evaluation",
        name=f"{model}_gates",
        description="Every required gate of the newest challenger passed. Insufficient evidence is not a pass.",
    )
    def gates(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        from within_pipelines.pipeline import KINDS, trained_version
        from within_pipelines.registry import missing_gates
        from within_pipelines.reporting import verdict_table

        with within.open() as workspace:
            version = trained_version(workspace, pin_of(context, workspace), model, KINDS[model][0])
            verdicts = workspace.registry.verdicts(version.model_sha256, version.data_version)
        missing = missing_gates(model, verdicts)
        return dg.AssetCheckResult(
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"open": dg.MetadataValue.md("\n".join(f"- {m}" for m in missing)), "verdicts": frame_table(verdict_table(verdicts))},
        )

    @dg.asset_check(
        asset=f"{model}_registry_entry",
        name=f"{model}_serves",
        description="A champion is registered and its artifact is what was registered, hash by hash.",
    )
    def serves(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        with within.open() as workspace:
            champion = workspace.registry.alias(model, "champion")
            sound = champion is not None and workspace.artifacts.verify(champion)
        return dg.AssetCheckResult(
            passed=sound,
            metadata={"champion": "none" if champion is None else f"{champion.kind} v{champion.version}"},
        )

    @dg.asset_check(
        asset=f"{model}_fairness_report",
        name=f"{model}_fairness",
        blocking=True,
        description="The newest challenger is not shown to be unfair. Blocks beside a champion; on a cold start the rival may be tried.",
    )
    def fair(context: dg.AssetCheckExecutionContext, within: WithinResource) -> dg.AssetCheckResult:
        from within_pipelines.pipeline import newest_fairness
        from within_pipelines.stats import Status

        with within.open() as workspace:
            report = newest_fairness(workspace, pin_of(context, workspace), model)[0]
            serving = workspace.registry.alias(model, "champion")
        # Insufficient evidence is refused by the promotion; only what is shown to be unfair stops the run.
        blocks = report.verdict.status is Status.FAILED and serving is not None
        return dg.AssetCheckResult(
            passed=report.verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
            metadata={"reason": report.verdict.reason, "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in report.notes))},
        )

    return [gates, serves, fair]
