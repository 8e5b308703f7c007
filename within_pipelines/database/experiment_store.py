"""Experiments as values in and out; each change is one transaction that names the state it was decided on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import polars as pl
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from within_pipelines.database.engine import Database
from within_pipelines.database.experiments import CanaryModel, ExperimentLookModel, ExperimentModel, GoldenResultModel
from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.validation import Experiment, ExperimentSpec, ExperimentState, ExperimentStateError, next_state


class ExperimentRepository:
    """A/B tests in the tables `experiments` and `experiment_looks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, spec: ExperimentSpec, *, now: datetime) -> Experiment:
        """Keep a draft.

        Raises `ExperimentStateError` when an experiment of this name exists: its units would get the same arms again."""
        row = ExperimentModel(name=spec.name, spec=spec.to_dict(), state=ExperimentState.DRAFT.value, drafted_at=now)
        try:
            with self._database.writing() as session:
                session.add(row)
        except IntegrityError as error:
            raise ExperimentStateError(f"There is an experiment {spec.name!r} already; give a new one a new name.") from error
        return Experiment(spec)

    def get(self, name: str) -> Experiment:
        """One experiment.

        Raises `ModelNotFoundError` when there is none of this name."""
        with self._database.reading() as session:
            return _experiment(_row(session, name))

    def experiments(self) -> list[Experiment]:
        """Every experiment, oldest first."""
        with self._database.reading() as session:
            return [_experiment(row) for row in ExperimentModel.find(session)]

    def running(self, model: str) -> ExperimentSpec | None:
        """The specification of the experiment about versions of `model` that runs, or None."""
        with self._database.reading() as session:
            return running_about(session, model)

    def move(
        self, name: str, action: Literal["start", "stop", "decide"], *, now: datetime, decision: Mapping[str, Any] | None = None
    ) -> Experiment:
        """Take one step of the lifecycle.

        Raises `ExperimentStateError` when the state does not allow it; of two at once, one wins and the other is told so. An experiment
        about a model is not started while a canary of the model is open or another experiment about it runs: a unit has one version."""
        with self._database.writing() as session:
            row = session.scalars(select(ExperimentModel).filter_by(name=name).with_for_update()).first()
            if row is None:
                raise _unknown(name)
            after = next_state(ExperimentState(row.state), action)
            if action == "start":
                _refuse_second(session, ExperimentSpec.from_dict(row.spec))
            row.state = after.value
            row.revision += 1
            if action == "start":
                row.started_at = now
            elif action == "stop":
                row.stopped_at = now
            else:
                row.decided_at, row.decision = now, dict(decision or {})
            session.flush()
            return _experiment(row)

    def record_look(self, name: str, result: Mapping[str, Any], *, now: datetime) -> int:
        """Keep one look; returns its number, counted from 1."""
        with self._database.writing() as session:
            row = session.scalars(select(ExperimentModel).filter_by(name=name).with_for_update()).first()
            if row is None:
                raise _unknown(name)
            newest = session.scalar(select(func.max(ExperimentLookModel.number)).filter_by(experiment_id=row.id)) or 0
            session.add(ExperimentLookModel(experiment_id=row.id, number=newest + 1, looked_at=now, result=dict(result)))
            return newest + 1

    def looks(self, name: str) -> list[tuple[datetime, Mapping[str, Any]]]:
        """Every look, oldest first."""
        with self._database.reading() as session:
            rows = ExperimentLookModel.find(session, experiment_id=_row(session, name).id)
            return [(row.looked_at, row.result) for row in rows]


def running_about(session: Session, model: str) -> ExperimentSpec | None:
    """The specification of the experiment about versions of `model` that runs, or None."""
    rows = session.scalars(select(ExperimentModel).filter_by(state=ExperimentState.RUNNING.value).order_by(ExperimentModel.id))
    specs = (ExperimentSpec.from_dict(row.spec) for row in rows)
    return next((spec for spec in specs if spec.model == model), None)


def _refuse_second(session: Session, spec: ExperimentSpec) -> None:
    if spec.model is None:
        return
    if CanaryModel.latest(session, open_model=spec.model) is not None:
        raise ExperimentStateError(
            f"A canary of {spec.model} is open, and a unit is answered by one version: let it end, or "
            f"`within canary abort {spec.model}` first."
        )
    other = running_about(session, spec.model)
    if other is not None:
        raise ExperimentStateError(f"The experiment {other.name!r} about {spec.model} runs; `within experiment stop {other.name}` first.")


def _unknown(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"There is no experiment {name!r}; `within experiment list` shows those that are there.")


def _row(session: Session, name: str) -> ExperimentModel:
    row = ExperimentModel.latest(session, name=name)
    if row is None:
        raise _unknown(name)
    return row


def _experiment(row: ExperimentModel) -> Experiment:
    return Experiment(ExperimentSpec.from_dict(row.spec), ExperimentState(row.state), dict(row.decision or {}))


class GoldenResultRepository:
    """How versions answered the golden set, check by check, in the table `golden_results`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        *,
        model: str,
        version: int,
        model_sha256: str,
        set_version: str,
        passed: bool,
        met: int,
        cases: int,
        slices: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Append one check."""
        row = GoldenResultModel(
            model=model, version=version, model_sha256=model_sha256, set_version=set_version, passed=passed, met=met, cases=cases,
            slices=dict(slices), checked_at=now,
        )  # fmt: skip
        with self._database.writing() as session:
            session.add(row)

    def history(self, model: str) -> pl.DataFrame:
        """Every check of a model, oldest first."""
        schema: dict[str, Any] = {
            "checked_at": pl.Datetime("us", "UTC"), "version": pl.Int64, "set_version": pl.String, "passed": pl.Boolean, "met": pl.Int64,
            "cases": pl.Int64,
        }  # fmt: skip
        with self._database.reading() as session:
            rows = GoldenResultModel.find(session, model=model)
            return pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")
