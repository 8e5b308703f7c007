"""A feature table's definition as a value, with a hash that a model can be bound to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What a feature table holds and how it is computed.

    `entity` names the columns that identify a unit, `windows` the trailing lengths in days, `measures` what is measured in them,
    `columns` the feature columns in their order, `parameters` every other constant that a number depends on. Raise `version` when
    the code changes meaning without changing any of these.

    >>> a = FeatureSpec("demo", 1, ("account_id",), (7,), ("ctr",), ("log_ctr_7",), (("prior", 10.0),))
    >>> a.sha256 == FeatureSpec("demo", 1, ("account_id",), (7,), ("ctr",), ("log_ctr_7",), (("prior", 10.0),)).sha256
    True
    >>> a.sha256 == FeatureSpec("demo", 2, ("account_id",), (7,), ("ctr",), ("log_ctr_7",), (("prior", 10.0),)).sha256
    False
    """

    name: str
    version: int
    entity: tuple[str, ...]
    windows: tuple[int, ...]
    measures: tuple[str, ...]
    columns: tuple[str, ...]
    parameters: tuple[tuple[str, float], ...] = ()

    @property
    def sha256(self) -> str:
        """SHA-256 of the definition in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
