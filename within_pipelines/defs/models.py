"""The four assets that every model has: training set, model, evaluation, registry entry; and their checks.

Written once, used by the three model folders, because the models differ in what they learn and not in how they earn their place."""

import dagster as dg

from within_pipelines.defs.metadata import frame_table, png
from within_pipelines.defs.resource import WithinResource, pin_of

OWNERS = ["team:ml"]


def model_assets(model: str, *, feature_table: str, learns: str, kinds: set[str]) -> list[dg.AssetsDefinition]:
    """Training set, model, evaluation and registry entry of `model`, in the group of that name."""

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
                **{f"{name}_plot": png(learning_curve(losses, title=name.replace("_", " "))) for name, losses in curves.items()},
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
        name=f"{model}_registry_entry",
        group_name=model,
        kinds={"sqlalchemy"},
        owners=OWNERS,
        deps=[f"{model}_evaluation"],
        description="The version that serves. Promotion re-reads the recorded verdicts for exactly this artifact and refuses without them.",
    )
    def registry_entry(context: dg.AssetExecutionContext, within: WithinResource) -> dg.MaterializeResult:
        from within_pipelines.pipeline import release

        with within.open() as workspace:
            pin = pin_of(context, workspace)
            released = release(workspace, pin, model, now=within.clock(), who=f"dagster run {context.run.run_id[:8]}")
            history = workspace.registry.alias_history(model)
        champion = released.champion
        return dg.MaterializeResult(
            metadata={
                "champion": "none" if champion is None else f"{champion.kind} v{champion.version}",
                "moved": released.moved,
                "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in released.reasons)),
                "model_sha256": "" if champion is None else champion.model_sha256,
                "alias_history": frame_table(history.tail(20)),
            }
        )

    return [training_set, trained_model, evaluation, registry_entry]


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

    return [gates, serves]
