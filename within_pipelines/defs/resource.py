"""The one resource: it opens the workspace of this deployment for the length of a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from within_pipelines.pipeline import Pin, Workspace
    from within_pipelines.settings import Settings


class WithinResource(dg.ConfigurableResource):
    """Opens the workspace. `home` overrides `WITHIN_HOME`; `now` (ISO, UTC), else `WITHIN_FIXED_NOW`, stops the clock for a replay."""

    home: str | None = None
    now: str | None = None

    def settings(self) -> "Settings":
        """The settings in force."""
        from within_pipelines.settings import Settings

        return Settings() if self.home is None else Settings(home=Path(self.home))

    @contextmanager
    def open(self) -> Iterator["Workspace"]:
        """The open workspace; closed again afterwards."""
        from within_pipelines.pipeline import Workspace

        with Workspace.open(self.settings()) as workspace:
            yield workspace

    def clock(self) -> datetime:
        """The time of this step, aware, in UTC."""
        if self.now is not None:
            return datetime.fromisoformat(self.now).astimezone(UTC)
        fixed = self.settings().fixed_now
        return datetime.now(UTC) if fixed is None else fixed


def pin_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, workspace: "Workspace") -> "Pin":
    """The lake state that this run reads. The first step that asks sets it, as tags of the run; later steps and reruns find it there."""
    from within_pipelines.pipeline import Pin

    run = context.instance.get_run_by_id(context.run.run_id)
    pin = Pin.from_tags(dict(run.tags)) if run is not None else None
    if pin is None:
        pin = workspace.pin()
        if run is not None:
            context.instance.add_run_tags(context.run.run_id, pin.to_tags())
    return pin
