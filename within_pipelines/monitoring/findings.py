"""What a day's monitoring found, as values that are stored, shown and read by the retraining policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from within_pipelines.exceptions import SchemaError
from within_pipelines.monitoring.state import DriftState

MONITORS: tuple[str, ...] = (
    "data_drift",
    "prediction_drift",
    "concept_drift",
    "feature_correlation",
    "calibration_drift",
    "estimated_performance",
    "multivariate_drift",
    "text_drift",
)


def _plain(value: Any) -> Any:
    """`value` as JSON takes it: mappings, lists, finite numbers, text; dates as ISO text, numbers that are not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(entry) for entry in value]
    if isinstance(value, date | datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return str(value) if isinstance(value, DriftState) else value


@dataclass(frozen=True, slots=True)
class MonitorFinding:
    """The answer of one monitor for one model on one day.

    `statistic`, `p_value`, `effect` and `threshold` (the smallest effect that matters) are None where the monitor could not compute them;
    `reason` then says why. `features` are those that the finding names, strongest first. `loss_change` is the change of the model's loss
    in its own units (positive is worse), None while no loss is known or estimated. `money_at_risk` is spend by currency that rests on
    what got worse; currencies are never summed.

    >>> found = MonitorFinding("data_drift", "ad_score", date(2026, 6, 30), DriftState.STABLE, 0.02, 0.4, 0.02, 0.1, {"reference": 900})
    >>> MonitorFinding.from_dict(found.to_dict()) == found
    True
    """

    monitor: str
    model: str
    day: date
    state: DriftState
    statistic: float | None = None
    p_value: float | None = None
    effect: float | None = None
    threshold: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    loss_change: float | None = None
    money_at_risk: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise SchemaError(f"{self.monitor!r} is no monitor; there are {', '.join(MONITORS)}.")
        for name in ("statistic", "p_value", "effect", "threshold", "loss_change"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        for name in ("sizes", "money_at_risk", "evidence"):
            object.__setattr__(self, name, MappingProxyType(_plain(getattr(self, name))))
        object.__setattr__(self, "features", tuple(self.features))

    @property
    def drifted(self) -> bool:
        """True only for `DriftState.DRIFTED`; a measurement change is not drift."""
        return self.state is DriftState.DRIFTED

    def explained_by(self, reason: str) -> MonitorFinding:
        """The same finding as a measurement change, with the event that explains it."""
        return replace(self, state=DriftState.MEASUREMENT_CHANGE, reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}
        return plain | {"day": self.day.isoformat(), "state": self.state.value, "features": list(self.features)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MonitorFinding:
        """The finding that `to_dict` wrote.

        Raises `SchemaError` when a field is missing, unknown or has a value that it cannot have."""
        if set(values) != set(cls.__dataclass_fields__):
            odd = sorted(set(values) ^ set(cls.__dataclass_fields__))
            raise SchemaError(f"A finding has the fields {', '.join(cls.__dataclass_fields__)}; missing or unknown: {', '.join(odd)}.")
        try:
            known = {"day": date.fromisoformat(str(values["day"])), "state": DriftState(values["state"])}
        except ValueError as error:
            raise SchemaError(f"A finding of day {values['day']!r} and state {values['state']!r} cannot be read: {error}.") from error
        return cls(**{**values, **known, "features": tuple(values["features"])})


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """Everything that monitoring found for one day, and when it was computed."""

    day: date
    findings: tuple[MonitorFinding, ...]
    generated_at: datetime

    def of(self, monitor: str, model: str | None = None) -> tuple[MonitorFinding, ...]:
        """The findings of one monitor, of one model or of all."""
        return tuple(f for f in self.findings if f.monitor == monitor and model in (None, f.model))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "day": self.day.isoformat(),
            "findings": [finding.to_dict() for finding in self.findings],
            "generated_at": self.generated_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MonitorReport:
        """The report that `to_dict` wrote.

        Raises `SchemaError` when it is not one."""
        if set(values) != {"day", "findings", "generated_at"}:
            raise SchemaError(f"A report has day, findings and generated_at; this one has {', '.join(sorted(values)) or 'nothing'}.")
        return cls(
            date.fromisoformat(str(values["day"])),
            tuple(MonitorFinding.from_dict(finding) for finding in values["findings"]),
            datetime.fromisoformat(str(values["generated_at"])),
        )
