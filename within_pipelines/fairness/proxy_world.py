"""A declared world in which the protected attribute moves its proxies, so that a flip changes what follows from it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import SampleError, SchemaError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProxyWorld:
    """The attribute's column, who becomes whom, and the sorted values of each proxy in each group.

    The causal model is declared, not learned: the attribute moves the proxies, nothing else does so, and a row keeps its rank within its
    group (Kusner et al., 2017, level 2 with one noise per proxy). Columns not declared as proxies do not depend on the attribute."""

    attribute: str
    becomes: Mapping[str, str]
    values: Mapping[str, Mapping[str, Floats]]

    @classmethod
    def fit(cls, rows: pl.DataFrame, *, attribute: str, becomes: Mapping[str, str], proxies: Sequence[str] = ()) -> Self:
        """Learn how proxies are spread in each group of `becomes` (both its keys and values).

        Raises `SchemaError` for a missing column, `SampleError` when a group has fewer than ten values of a proxy.

        >>> rows = pl.DataFrame({"g": ["a", "b"] * 20, "x": [float(i % 2) for i in range(40)]})
        >>> world = ProxyWorld.fit(rows, attribute="g", becomes={"a": "b", "b": "a"}, proxies=["x"])
        >>> world.flip(rows.head(2)).rows()
        [('b', 1.0), ('a', 0.0)]
        """
        if missing := {attribute, *proxies} - set(rows.columns):
            raise SchemaError(f"The rows lack {sorted(missing)}; they have {', '.join(rows.columns)}.")
        values: dict[str, dict[str, Floats]] = {}
        for proxy in proxies:
            values[proxy] = {}
            for group in sorted({*becomes, *becomes.values()}):
                own = rows.filter(pl.col(attribute) == group)[proxy].cast(pl.Float64).drop_nulls().drop_nans().sort().to_numpy()
                if len(own) < 10:
                    raise SampleError(
                        f"{group} has {len(own)} values of {proxy}; at least 10 are needed to say how the attribute moves it."
                    )
                values[proxy][group] = own
        return cls(attribute, dict(becomes), values)

    def flip(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Each row as if it belonged to the other group: the attribute changed, each proxy at the same rank of that group's values.

        Rows of groups that `becomes` does not name, and missing values, stay as they are."""
        group = rows[self.attribute].cast(pl.String).to_list()
        changed = [pl.Series(self.attribute, [self.becomes.get(g, g) if g is not None else None for g in group], dtype=pl.String)]
        for proxy, values in self.values.items():
            x = rows[proxy].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
            for one, other in self.becomes.items():
                own = np.array([g == one for g in group]) & np.isfinite(x)
                before = values[one]
                # The middle of the ranks of equal values, so that ties stay together.
                rank = (np.searchsorted(before, x[own], side="left") + np.searchsorted(before, x[own], side="right")) / (2 * len(before))
                x[own] = np.quantile(values[other], np.clip(rank, 0.0, 1.0))
            changed.append(pl.Series(proxy, x).fill_nan(None))
        return rows.with_columns(changed)
