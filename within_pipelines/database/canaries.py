"""Canaries as values in and out. Every change is one transaction that compares the revision it was decided on and counts it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from within_pipelines.database.engine import Database
from within_pipelines.database.experiment_store import running_about
from within_pipelines.database.experiments import CanaryLookModel, CanaryModel, CanaryOutcomeModel
from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.validation import CanaryLook, CanarySpec, CanaryState, ExperimentStateError


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """A canary as it was read: what it is, where it stands, and the revision that a change must name."""

    id: int
    spec: CanarySpec
    state: CanaryState
    stage: int
    share: float
    stage_since: date
    revision: int
    reason: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class CanaryMove:
    """One recorded look or change by hand."""

    revision: int
    moved_at: datetime
    state: CanaryState
    stage: int
    share: float
    who: str
    why: str
    look: CanaryLook | None


class CanaryRepository:
    """Canaries in the tables `canaries`, `canary_looks` and `canary_outcomes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, spec: CanarySpec, *, who: str, why: str, now: datetime) -> CanaryRecord:
        """Open a canary in its first stage.

        Raises `ExperimentStateError` when the model has an open one already or an experiment about its versions runs; of two canaries at
        once, one wins."""
        row = CanaryModel(
            model=spec.model, open_model=spec.model, spec=spec.to_dict(), state=CanaryState.RUNNING.value, stage=0, share=spec.shares[0],
            stage_since=now.date(), revision=0, reason=why, started_at=now,
        )  # fmt: skip
        try:
            with self._database.writing() as session:
                _refuse_beside_experiment(session, spec.model)
                session.add(row)
                session.flush()
                _note(session, row, who=who, why=why, now=now, found=None)
        except IntegrityError as error:
            raise ExperimentStateError(_OPEN.format(model=spec.model)) from error
        return _record(row)

    def check_free(self, model: str) -> None:
        """Do nothing when a canary of `model` may be opened.

        Raises `ExperimentStateError` when one is open or an experiment about its versions runs."""
        with self._database.reading() as session:
            _refuse_beside_experiment(session, model)
            if CanaryModel.latest(session, open_model=model) is not None:
                raise ExperimentStateError(_OPEN.format(model=model))

    def open(self, model: str) -> CanaryRecord | None:
        """The model's open canary, or None."""
        with self._database.reading() as session:
            row = CanaryModel.latest(session, open_model=model)
            return None if row is None else _record(row)

    def canaries(self, model: str) -> list[CanaryRecord]:
        """Every canary of the model, oldest first."""
        with self._database.reading() as session:
            return [_record(row) for row in CanaryModel.find(session, model=model)]

    def latest(self, model: str) -> CanaryRecord:
        """The model's newest canary, open or not.

        Raises `ModelNotFoundError` when there has been none."""
        with self._database.reading() as session:
            row = CanaryModel.latest(session, model=model)
            if row is None:
                raise ModelNotFoundError(f"{model} has had no canary yet; `within canary start` begins one.")
            return _record(row)

    def running(self, model: str) -> tuple[int, float] | None:
        """(version, share) of the version that answers a share of the model's units, or None when none does; one over replayed days
        answers nobody."""
        found = self.open(model)
        if found is None or found.share <= 0 or found.spec.outcomes == "replay":
            return None
        return found.spec.version, found.share

    def move(
        self,
        seen: CanaryRecord,
        *,
        state: CanaryState,
        who: str,
        why: str,
        now: datetime,
        stage: int | None = None,
        found: CanaryLook | None = None,
    ) -> CanaryRecord:
        """Write down a look, and the state and stage that follow from it, if the canary still is as it was `seen`.

        A canary that is to be rolled back or is paused answers nobody from this very transaction on: its share is 0. Raises
        `ExperimentStateError` when somebody else has moved it since; nothing changes then."""
        after = seen.stage if stage is None else stage
        serves = state in (CanaryState.RUNNING, CanaryState.PROMOTING)
        values: dict[str, Any] = {
            "state": state.value,
            "stage": after,
            "share": seen.spec.shares[after] if serves else 0.0,
            "stage_since": seen.stage_since if after == seen.stage else now.date(),
            "revision": seen.revision + 1,
            "reason": why,
            "open_model": None if state.final else seen.spec.model,
            "ended_at": now if state.final else None,
        }
        with self._database.writing() as session:
            changed = session.execute(
                update(CanaryModel).where(CanaryModel.id == seen.id, CanaryModel.revision == seen.revision).values(**values)
            )
            if changed.rowcount != 1:  # type: ignore[attr-defined]
                raise ExperimentStateError(
                    f"The canary of {seen.spec.model} has moved since it was read at revision {seen.revision}; look again and decide."
                )
            row = session.scalars(select(CanaryModel).filter_by(id=seen.id)).one()
            _note(session, row, who=who, why=why, now=now, found=found)
            return _record(row)

    def moves(self, canary: CanaryRecord) -> list[CanaryMove]:
        """Every look and change of a canary, oldest first."""
        with self._database.reading() as session:
            rows = CanaryLookModel.find(session, canary_id=canary.id)
            return [
                CanaryMove(
                    row.revision, row.moved_at, CanaryState(row.state), row.stage, row.share, row.who, row.why,
                    None if row.look is None else CanaryLook.from_dict(row.look),
                )
                for row in rows
            ]  # fmt: skip

    def record_outcomes(self, canary: CanaryRecord, outcomes: pl.DataFrame) -> int:
        """Keep what units showed: `unit`, `arm`, `day`, `known_on`, optionally `share`, and a column per metric. A row that is there (same
        unit and day) takes the outcome that was missing; an outcome that was reported stays as it is. A unit that changes its arm within a
        day counts in the first. Returns how many rows changed."""
        names = [metric.name for metric in canary.spec.metrics]
        changed = 0
        with self._database.writing() as session:
            days = outcomes["day"].unique().to_list()
            query = select(CanaryOutcomeModel).where(CanaryOutcomeModel.canary_id == canary.id, CanaryOutcomeModel.day.in_(days))
            rows = session.scalars(query).all()
            there = {(row.unit, row.day): row for row in rows}
            for given in outcomes.iter_rows(named=True):
                values = {name: given.get(name) for name in names}
                row = there.get((str(given["unit"]), given["day"]))
                if row is None:
                    row = CanaryOutcomeModel(
                        canary_id=canary.id, unit=str(given["unit"]), day=given["day"], arm=given["arm"],
                        share=given.get("share", canary.share), known_on=given["known_on"], metric_values=values,
                    )  # fmt: skip
                    there[row.unit, row.day] = row
                    session.add(row)
                elif row.arm == given["arm"] and row.known_on is None and given["known_on"] is not None:
                    row.known_on, row.metric_values = given["known_on"], values
                else:
                    continue
                changed += 1
        return changed

    def known_outcomes(self, canary: CanaryRecord) -> int:
        """How many outcomes have been reported."""
        with self._database.reading() as session:
            query = select(func.count()).select_from(CanaryOutcomeModel).filter_by(canary_id=canary.id)
            return session.scalar(query.where(CanaryOutcomeModel.known_on.is_not(None))) or 0

    def outcomes(self, canary: CanaryRecord) -> pl.DataFrame:
        """Everything that has been recorded for a canary, as `validation.look` reads it."""
        names: Sequence[str] = [metric.name for metric in canary.spec.metrics]
        schema: dict[str, Any] = {
            "unit": pl.String, "arm": pl.String, "day": pl.Date, "known_on": pl.Date, "share": pl.Float64,
            **dict.fromkeys(names, pl.Float64),
        }  # fmt: skip
        with self._database.reading() as session:
            rows = CanaryOutcomeModel.find(session, canary_id=canary.id)
            data = [[row.unit, row.arm, row.day, row.known_on, row.share, *(row.metric_values.get(name) for name in names)] for row in rows]
        return pl.DataFrame(data, schema=schema, orient="row")


_OPEN = "A canary of {model} is open already; `within canary status` shows it."


def _refuse_beside_experiment(session: Session, model: str) -> None:
    experiment = running_about(session, model)
    if experiment is not None:
        raise ExperimentStateError(
            f"The experiment {experiment.name!r} about {model} runs, and a unit is answered by one version: "
            f"`within experiment stop {experiment.name}` first."
        )


def _note(session: Session, row: CanaryModel, *, who: str, why: str, now: datetime, found: CanaryLook | None) -> None:
    session.add(
        CanaryLookModel(
            canary_id=row.id,
            revision=row.revision,
            moved_at=now,
            state=row.state,
            stage=row.stage,
            share=row.share,
            who=who,
            why=why,
            look=None if found is None else found.to_dict(),
        )
    )
    session.flush()


def _record(row: CanaryModel) -> CanaryRecord:
    return CanaryRecord(
        row.id, CanarySpec.from_dict(row.spec), CanaryState(row.state), row.stage, row.share, row.stage_since, row.revision, row.reason,
        row.started_at, row.ended_at,
    )  # fmt: skip
