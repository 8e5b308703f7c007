"""What does a retraining cost here, and how patient is the policy? One file says it.

    # HOME/retraining.yaml
    cost: {EUR: 60, JPY: 9000}
    recovered: 0.3
    cooldown_days: 4

Without the file, or for what it leaves out, the defaults of `monitoring.RetrainingPolicy` hold."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring.retraining import RetrainingPolicy

if TYPE_CHECKING:
    from within_pipelines.settings import Settings

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_Days = Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)]


class RetrainingFile(BaseModel):
    """The file as it is written; `monitoring.RetrainingPolicy` says what each value means. Ages are in days, costs by ISO 4217 code."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cost: dict[Annotated[str, Field(pattern=r"^[A-Z]{3}$")], _Positive] | None = None
    horizon_weeks: _Positive | None = None
    recovered: _Share | None = None
    minimum_relative_loss: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    minimum_confidence: _Share | None = None
    cooldown_days: _Days | None = None
    oldest_days: _Days | None = None
    growth: _Positive | None = None
    large_effect: _Positive | None = None

    def policy(self) -> RetrainingPolicy:
        """The policy with what the file sets."""
        given = self.model_dump(exclude_none=True)
        for name in ("cooldown", "oldest"):
            if (days := given.pop(f"{name}_days", None)) is not None:
                given[name] = timedelta(days=days)
        return RetrainingPolicy(**{field.name: given[field.name] for field in fields(RetrainingPolicy) if field.name in given})


def retraining_policy(settings: Settings) -> RetrainingPolicy:
    """The policy that HOME/retraining.yaml declares.

    Raises `SchemaError` when the file is no YAML, names something unknown or holds a value that cannot be: nothing is decided until it is
    corrected, because to train at a cost that nobody meant is not what somebody wanted who wrote it."""
    import yaml

    path = settings.retraining
    if not path.is_file():
        return RetrainingPolicy()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} is no valid YAML: {error}.") from error
    known = ", ".join(RetrainingFile.model_fields)
    if not isinstance(values, dict):
        raise SchemaError(f"{path} is no table of settings; give any of {known}.")
    if unknown := sorted(str(name) for name in values if name not in RetrainingFile.model_fields):
        raise SchemaError(f"{path} names {', '.join(unknown)}; give any of {known}.")
    try:
        return RetrainingFile.model_validate(values).policy()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise SchemaError(f"{path}: {place}: {first['msg']}.") from error
