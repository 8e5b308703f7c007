"""The registry in SQL: versions, verdicts, and the promotion that no failed gate passes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from within_pipelines.database.engine import Database
from within_pipelines.database.operations import AliasHistoryModel, AliasModel, ModelVersionModel, VerdictModel
from within_pipelines.exceptions import ModelNotFoundError, PromotionRefusedError
from within_pipelines.registry import AliasMove, ModelVersion, missing_gates
from within_pipelines.stats import Estimate, Status, Verdict

if TYPE_CHECKING:
    from within_pipelines.prediction import Evaluation

_VERSION_COLUMNS = (
    "model", "version", "kind", "model_sha256", "artifact", "data_version", "as_of", "commit_seq", "spec_sha256", "training_fingerprint",
    "seed", "trained_at", "metrics", "baseline_metrics", "code_version", "main_metric", "evaluation",
)  # fmt: skip


# The strongest features of an evaluation that its version keeps.
_FEATURES_KEPT = 12


class SqlRegistry:
    """Implements `registry.RegistryStore` on a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, version: ModelVersion) -> ModelVersion:
        """Store a version under the next number of its model.

        The same artifact trained from the same inputs is stored once: a repeated call returns the row that exists."""
        with self._database.writing() as session:
            if not self._database.is_sqlite:
                # Two trainers at once would both read the same newest number.
                session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"register {version.model}"))))
            same = session.scalars(
                select(ModelVersionModel).filter_by(
                    model=version.model, training_fingerprint=version.training_fingerprint, model_sha256=version.model_sha256
                )
            ).first()
            if same is not None:
                return _version(same)
            newest = session.scalar(select(func.max(ModelVersionModel.version)).filter_by(model=version.model)) or 0
            row = ModelVersionModel(**{name: getattr(version, name) for name in _VERSION_COLUMNS} | _json_columns(version))
            row.version = newest + 1
            session.add(row)
            session.flush()
            return _version(row)

    def record_metrics(self, version: ModelVersion, evaluation: Evaluation) -> None:
        """Keep the numbers of an evaluation with its version."""
        with self._database.writing() as session:
            row = _row(session, version.model, version.version)
            row.metrics = {name: estimate.to_dict() for name, estimate in evaluation.metrics.items()}
            row.baseline_metrics = {name: estimate.to_dict() for name, estimate in evaluation.baseline_metrics.items()}
            row.main_metric = evaluation.main_metric
            importance, components = (evaluation.tables.get(name) for name in ("importance", "components"))
            row.evaluation = {
                **{name: value for name, value in row.evaluation.items() if name == "details"},
                "baseline": evaluation.baseline,
                "difference": evaluation.difference.to_dict(),
                "n": dict(evaluation.n),
                "first_day": evaluation.first_day.isoformat(),
                "last_day": evaluation.last_day.isoformat(),
                "importance": [] if importance is None else importance.head(_FEATURES_KEPT).to_dicts(),
                **({} if components is None else {"components": components.to_dicts()}),
            }

    def versions(self, model: str) -> list[ModelVersion]:
        """Every version of a model, oldest first."""
        with self._database.reading() as session:
            rows = session.scalars(select(ModelVersionModel).filter_by(model=model).order_by(ModelVersionModel.version)).all()
            return [_version(row) for row in rows]

    def get(self, model: str, version: int) -> ModelVersion:
        """One version.

        Raises `ModelNotFoundError` when there is none."""
        with self._database.reading() as session:
            return _version(_row(session, model, version))

    def by_fingerprint(self, model: str, training_fingerprint: str) -> ModelVersion | None:
        """The version trained from exactly these inputs, or None."""
        with self._database.reading() as session:
            row = ModelVersionModel.latest(session, model=model, training_fingerprint=training_fingerprint)
            return None if row is None else _version(row)

    def record_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Append verdicts; one that equals the last of its gate for the same artifact, data, baseline and policy is not repeated.

        Raises `PromotionRefusedError` for a verdict that is bound to no artifact or data: it could count for anything."""
        with self._database.writing() as session:
            for verdict in verdicts:
                if not (verdict.model_sha256 and verdict.data_version and verdict.policy_version):
                    raise PromotionRefusedError(
                        f"The verdict {verdict.gate} is bound to no artifact, data or policy; call Verdict.bind before recording it."
                    )
                values = _verdict_values(verdict)
                bound = ("gate", "model_sha256", "data_version", "policy_version")
                last = VerdictModel.latest(session, **{name: values[name] for name in bound})
                if last is None or any(getattr(last, name) != value for name, value in values.items()):
                    session.add(VerdictModel(**values))
                    session.flush()

    def verdicts(self, model_sha256: str, data_version: str) -> list[Verdict]:
        """Verdicts for exactly this artifact and data, oldest first."""
        with self._database.reading() as session:
            return _verdicts(session, model_sha256, data_version)

    def verdicts_of(self, move: AliasMove) -> list[Verdict]:
        """What had been recorded about the version when the alias moved, oldest first: what is judged later is no ground of the move."""
        with self._database.reading() as session:
            row = _row(session, move.model, move.to_version)
            history = AliasHistoryModel.latest(
                session, model=move.model, alias=move.alias, to_version=move.to_version, moved_at=move.moved_at
            )
            until = None if history is None else history.created_at
            return _verdicts(session, row.model_sha256, row.data_version, until=until)

    def alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to, or None."""
        with self._database.reading() as session:
            row = AliasModel.latest(session, model=model, alias=alias)
            return None if row is None else _version(_row(session, model, row.version))

    def promote(
        self,
        model: str,
        version: int,
        *,
        alias: str = "champion",
        who: str,
        why: str,
        now: datetime,
        expected_current: int | None,
        back: bool = False,
    ) -> AliasMove:
        """Move `alias` to `version` in one transaction that reads the verdicts again.

        `expected_current` is the version that the caller believes the alias points to (None: to nothing); if somebody moved it in the
        meantime, or a required gate has no passing verdict for exactly this artifact, data and policy, `PromotionRefusedError` says so
        and nothing changes. `back` moves to a version that the alias pointed to before: it was allowed then, under the rules of then, and
        when what serves is bad nobody should have to judge anything first."""
        try:
            with self._database.writing() as session:
                row = _row(session, model, version)
                if back and AliasHistoryModel.latest(session, model=model, alias=alias, to_version=version) is None:
                    raise PromotionRefusedError(
                        f"{model} v{version} was never {alias}, so it cannot be rolled back to; promote it instead."
                    )
                missing = () if back else missing_gates(model, _verdicts(session, row.model_sha256, row.data_version), alias=alias)
                if missing:
                    raise PromotionRefusedError(f"{model} v{version} may not become {alias}. " + "; ".join(missing))
                current = session.scalars(select(AliasModel).filter_by(model=model, alias=alias).with_for_update()).first()
                found = None if current is None else current.version
                if found != expected_current:
                    raise PromotionRefusedError(
                        f"{alias} of {model} is v{found}, not v{expected_current} as expected: somebody moved it; look again and decide."
                    )
                if current is None:
                    session.add(AliasModel(model=model, alias=alias, version=version, moved_at=now))
                else:
                    current.version, current.moved_at = version, now
                history = AliasHistoryModel(
                    model=model, alias=alias, from_version=found, to_version=version, who=who, why=why, moved_at=now
                )
                session.add(history)
                session.flush()
        except IntegrityError as error:
            raise PromotionRefusedError(
                f"{alias} of {model} was set by somebody else at the same moment; look again and decide."
            ) from error
        return AliasMove(model, alias, found, version, who, why, now)

    def withdraw(self, model: str, alias: str, *, version: int, who: str, why: str, now: datetime) -> bool:
        """Take an alias away from `version`; whether it pointed there. The history notes a move to version 0, which is no version.

        Needs no gate, because nothing starts to serve. The champion cannot be withdrawn: promote another version instead.

        Raises `PromotionRefusedError` for the alias `champion`."""
        if alias == "champion":
            raise PromotionRefusedError(f"The champion of {model} cannot be withdrawn; promote the version that should serve instead.")
        with self._database.writing() as session:
            row = session.scalars(select(AliasModel).filter_by(model=model, alias=alias).with_for_update()).first()
            if row is None or row.version != version:
                return False
            session.delete(row)
            session.add(AliasHistoryModel(model=model, alias=alias, from_version=version, to_version=0, who=who, why=why, moved_at=now))
            return True

    def alias_history(self, model: str) -> pl.DataFrame:
        """Every move of the model's aliases, oldest first."""
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            "alias": pl.String, "from_version": pl.Int64, "to_version": pl.Int64, "who": pl.String, "why": pl.String,
            "moved_at": pl.Datetime("us", "UTC"),
        }  # fmt: skip
        with self._database.reading() as session:
            rows = AliasHistoryModel.find(session, model=model)
            return pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")


def _row(session: Session, model: str, version: int) -> ModelVersionModel:
    row = session.scalars(select(ModelVersionModel).filter_by(model=model, version=version)).first()
    if row is None:
        raise ModelNotFoundError(f"There is no version {version} of {model}; `within models` lists what is registered.")
    return row


def _json_columns(version: ModelVersion) -> dict[str, Any]:
    return {
        "metrics": {name: dict(numbers) for name, numbers in version.metrics.items()},
        "baseline_metrics": {name: dict(numbers) for name, numbers in version.baseline_metrics.items()},
        "evaluation": dict(version.evaluation),
    }


def _version(row: ModelVersionModel) -> ModelVersion:
    return ModelVersion(**{name: getattr(row, name) for name in _VERSION_COLUMNS})


def _verdict_values(verdict: Verdict) -> dict[str, Any]:
    return {
        "gate": verdict.gate,
        "status": verdict.status.value,
        "model_sha256": verdict.model_sha256,
        "data_version": verdict.data_version,
        "baseline_sha256": verdict.baseline_sha256,
        "policy_version": verdict.policy_version,
        "golden_set_version": verdict.golden_set_version,
        "estimate": None if verdict.estimate is None else verdict.estimate.to_dict(),
        "threshold": verdict.threshold,
        "sample_sizes": dict(verdict.sample_sizes),
        "reason": verdict.reason,
        "evidence": dict(verdict.evidence),
    }


def _verdicts(session: Session, model_sha256: str, data_version: str, *, until: datetime | None = None) -> list[Verdict]:
    query = select(VerdictModel).filter_by(model_sha256=model_sha256, data_version=data_version).order_by(VerdictModel.id)
    rows = session.scalars(query if until is None else query.where(VerdictModel.created_at <= until)).all()
    return [
        Verdict(
            gate=row.gate,
            status=Status(row.status),
            estimate=None if row.estimate is None else Estimate(**row.estimate),
            threshold=row.threshold,
            sample_sizes=row.sample_sizes,
            reason=row.reason,
            model_sha256=row.model_sha256,
            data_version=row.data_version,
            baseline_sha256=row.baseline_sha256,
            policy_version=row.policy_version,
            golden_set_version=row.golden_set_version,
            evidence=row.evidence,
        )
        for row in rows
    ]
