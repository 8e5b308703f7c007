"""Will this account's efficiency fall by a fifth within the next days, how sure is that, and what drives it?"""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import ArtifactError, NotFittedError, SampleError, SettingsError
from within_pipelines.prediction.account_health.groups import group_of, recommendation
from within_pipelines.prediction.account_health.inputs import checked_features, feature_rows, is_feature_table, labelled_rows
from within_pipelines.prediction.account_health.model import (
    LinearPart,
    fit_logistic,
    fit_ridge,
    fit_trees,
    open_trees,
    tree_contributions,
    tree_log_odds,
)
from within_pipelines.prediction.account_health.report import AccountHealth, AccountHealthReports, RiskFactor
from within_pipelines.prediction.artifact import read_artifact, write_artifact
from within_pipelines.prediction.calibration import PlattScaling, fit_platt, sigmoid
from within_pipelines.prediction.champion import champion_folder
from within_pipelines.prediction.conformal import conformal_quantile
from within_pipelines.prediction.frames import as_polars, as_vector, matrix, require

Floats = NDArray[np.float64]

HEALTH_KINDS: tuple[str, ...] = ("logistic_xgboost", "persistence")
# Below this many clicks in 28 days there is too little to say anything.
MINIMUM_CLICKS = 100.0
_MINIMUM_ROWS = 60
_CALIBRATION_SHARE = 0.25
_TIERS: tuple[tuple[float, str], ...] = ((80.0, "healthy"), (60.0, "watch"), (40.0, "at risk"), (0.0, "critical"))
_PERSISTENCE = ("log_efficiency_7",)


def tier_of(score: float) -> str:
    """healthy from 80, watch from 60, at risk from 40, critical below.

    >>> tier_of(85.0), tier_of(12.5)
    ('healthy', 'critical')
    """
    return next(name for floor, name in _TIERS if score >= floor)


class AccountHealthPredictor:
    """Calibrated probability of an efficiency drop of at least a fifth over the next `horizon` days.

    `kind="logistic_xgboost"` is the mean of a regularised logistic regression and boosted trees on scale-free account features, calibrated
    on later days than it was fitted on. `kind="persistence"` is the honest simple rival: the same calibration on the last seven days'
    efficiency against its usual level alone. An unfitted predictor answers with the registered champion.

    `data` is a pandas or polars table: feature rows (`features.account_features`), the lake's facts, or plain daily rows with
    `account_id`, `date`, `impressions`, `clicks`, and where known `spend`, `conversions`, `revenue`, `platform`, `currency`."""

    model = "account_health"

    def __init__(self, *, kind: str = "logistic_xgboost", horizon: int = 7, level: float = 0.9) -> None:
        if kind not in HEALTH_KINDS:
            raise SettingsError(f"kind={kind!r} is unknown; give one of {', '.join(HEALTH_KINDS)}.")
        if not 0.5 <= level < 1:
            raise SettingsError(f"level={level} is no interval level; give a number from 0.5 up to 1.")
        if not 1 <= horizon <= 112:
            raise SettingsError(f"horizon={horizon} is no number of days; give 1 to 112.")
        self.kind = kind
        self.horizon = horizon
        self.level = level
        self._features: list[str] = []
        self._linear: LinearPart | None = None
        self._ratio: LinearPart | None = None
        self._trees: bytes | None = None
        self._booster: Any = None
        self._platt = PlattScaling(0.0, 1.0)
        self._band = float("nan")

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` has been called."""
        return self._linear is not None

    def fit(self, data: Any, labels: Any = None, *, seed: int = 7, threads: int = 1) -> Self:
        """Fit on feature rows with `labels` (True where efficiency fell by a fifth), or on daily facts, which make their own labels.

        The newest quarter of the origins calibrates; an embargo of `horizon` days lies between. Deterministic for a seed.

        Raises `SampleError` for fewer than 60 usable rows, for labels of one class, labels that are not 0/1, and labels beside daily
        facts; `SchemaError` for feature rows that lack a column."""
        fresh = type(self)(kind=self.kind, horizon=self.horizon, level=self.level)
        fresh._fit(data, labels, seed=seed, threads=threads)
        # All at once, so that a refused refit leaves the model as it was.
        self.__dict__.update(fresh.__dict__)
        return self

    def _fit(self, data: Any, labels: Any, *, seed: int, threads: int) -> None:
        from within_pipelines.features import ACCOUNT_FEATURES

        frame = as_polars(data)
        if is_feature_table(frame):
            frame = checked_features(frame)
        elif labels is None:
            frame = labelled_rows(frame, horizon=self.horizon)
        else:
            raise SampleError("labels belong to feature rows; daily facts make their own, so give one of the two.")
        if labels is None:
            require(frame, ["degraded"], why="give labels, or the label column of features.account_labels.")
        rows = frame.with_columns(
            pl.Series("_y", as_vector(frame["degraded"].cast(pl.Float64) if labels is None else labels, rows=frame.height, what="labels"))
        )
        if not rows["_y"].is_in([0.0, 1.0]).all():
            raise SampleError("labels hold values other than 0 and 1; give True where efficiency fell by at least a fifth.")
        rows = rows.filter(pl.col("clicks_28").fill_null(0) >= MINIMUM_CLICKS).sort("origin", "platform", "account_id")
        self._refuse_too_few(rows)
        self._features = list(ACCOUNT_FEATURES.columns if self.kind == "logistic_xgboost" else _PERSISTENCE)
        older, newer = self._halves(rows)
        x, y = matrix(older, self._features), older["_y"].to_numpy()
        self._linear = fit_logistic(x, y, ridge=30.0 if self.kind == "logistic_xgboost" else 1e-3)
        self._trees = fit_trees(x, y, seed=seed, threads=threads) if self.kind == "logistic_xgboost" else None
        self._booster = None
        raw = self._raw(matrix(newer, self._features))
        self._platt = fit_platt(raw, newer["_y"].to_numpy(), ridge=1.0)
        self._fit_band(older, newer)

    def _fit_band(self, older: pl.DataFrame, newer: pl.DataFrame) -> None:
        """The band needs the continuous label; without `log_ratio` in the rows there is none, and the band is stated as missing."""
        self._ratio, self._band = None, float("nan")
        if "log_ratio" not in older.columns:
            return
        known, later = older.filter(pl.col("log_ratio").is_finite()), newer.filter(pl.col("log_ratio").is_finite())
        if known.is_empty() or later.height < 1 / (1 - self.level):
            return
        self._ratio = fit_ridge(matrix(known, self._features), known["log_ratio"].to_numpy(), ridge=30.0)
        residuals = np.abs(later["log_ratio"].to_numpy() - self._ratio(matrix(later, self._features)))
        self._band = conformal_quantile(residuals, level=self.level)

    def _halves(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        origins = rows["origin"].unique().sort()
        cut: date = origins[int(len(origins) * (1 - _CALIBRATION_SHARE))]
        older = rows.filter(pl.col("origin") < cut - timedelta(days=self.horizon))
        newer = rows.filter(pl.col("origin") >= cut)
        for name, part in (("fitting", older), ("calibration", newer)):
            if part.is_empty() or part["_y"].n_unique() < 2:
                raise SampleError(
                    f"The {name} part holds {part.height} rows with {int(part['_y'].sum())} drops; both outcomes are needed, "
                    "so give a longer history or more accounts."
                )
        return older, newer

    @staticmethod
    def _refuse_too_few(rows: pl.DataFrame) -> None:
        if rows.height < _MINIMUM_ROWS:
            raise SampleError(
                f"{rows.height} rows with at least {MINIMUM_CLICKS:.0f} clicks in 28 days are too few; give at least {_MINIMUM_ROWS}."
            )

    def _raw(self, x: Floats) -> Floats:
        assert self._linear is not None
        linear = self._linear(x)
        if self._trees is None:
            return linear
        result: Floats = 0.5 * (linear + tree_log_odds(self._boosted(), x))
        return result

    def _boosted(self) -> Any:
        if self._booster is None:
            assert self._trees is not None
            self._booster = open_trees(self._trees)
        return self._booster

    def probability(self, rows: pl.DataFrame) -> Floats:
        """Calibrated probability of a drop for feature rows, whatever their volume."""
        self._refuse_unfitted()
        return sigmoid(self._platt(self._raw(matrix(rows, self._features))))

    def _refuse_unfitted(self) -> None:
        if not self.fitted:
            raise NotFittedError("This account_health predictor is not fitted; call fit(), or predict(), which asks for the champion.")

    def predict(self, data: Any) -> AccountHealthReports:
        """The health of each row (feature rows) or of each account on the newest day (daily facts).

        Raises `NotFittedError` when this predictor is not fitted and no champion is registered."""
        if not self.fitted:
            self._become(type(self).load(champion_folder(self.model)))
        rows = feature_rows(data)
        x = matrix(rows, self._features)
        probability = sigmoid(self._platt(self._raw(x)))
        contributions = self.contributions(x)
        ratio = self._ratio(x) if self._ratio is not None else np.full(len(x), np.nan)
        usable = (rows["clicks_28"].cast(pl.Float64).fill_null(0.0) >= MINIMUM_CLICKS).to_numpy() & np.isfinite(x).any(axis=1)
        return AccountHealthReports(
            tuple(
                self._report(row, float(probability[i]), float(ratio[i]), contributions[i], x[i]) if usable[i] else self._insufficient(row)
                for i, row in enumerate(rows.iter_rows(named=True))
            )
        )

    def explain(self, data: Any) -> pl.DataFrame:
        """Contributions to the log-odds of a drop: one column per feature plus `intercept`; they add up to `log_odds`."""
        if not self.fitted:
            self._become(type(self).load(champion_folder(self.model)))
        rows = feature_rows(data)
        x = matrix(rows, self._features)
        parts, log_odds = self.contributions(x), self._platt(self._raw(x))
        # XGBoost adds contributions up in single precision; the intercept takes the rounding, so that the sum is exact.
        parts[:, -1] += log_odds - parts.sum(axis=1)
        frame = rows.select("platform", "account_id", "campaign_id", "origin")
        columns = {name: parts[:, i] for i, name in enumerate([*self._features, "intercept"])}
        return frame.with_columns(**{n: pl.Series(v) for n, v in columns.items()}, log_odds=pl.Series(log_odds))

    @property
    def features(self) -> list[str]:
        """Names of the feature columns that the model reads, in its order."""
        return list(self._features)

    def band(self, rows: pl.DataFrame) -> tuple[Floats, Floats] | None:
        """Lower and upper end of the conformal band of the log ratio; None when it was fitted without log ratios."""
        if self._ratio is None:
            return None
        centre = self._ratio(matrix(rows, self._features))
        return centre - self._band, centre + self._band

    def contributions(self, x: Floats) -> Floats:
        """Contributions to the log-odds per feature (columns of `x` as in `features`), the last column the intercept."""
        assert self._linear is not None
        linear = np.column_stack([self._linear.contributions(x), np.full(len(x), self._linear.intercept)])
        parts = linear if self._trees is None else 0.5 * (linear + tree_contributions(self._boosted(), x))
        scaled: Floats = self._platt.slope * parts
        scaled[:, -1] += self._platt.intercept
        return scaled

    def _report(self, row: dict[str, Any], probability: float, ratio: float, contributions: Floats, x: Floats) -> AccountHealth:
        factors = self._risk_factors(contributions, x)
        spend = row.get("spend_28")
        known = np.isfinite(ratio)
        evidence = {name: row[name] for name in ("recent_efficiency", "baseline_efficiency", "spend_28", "clicks_28", "conversions_28")}
        usual = {k: float(v) for k, v in evidence.items() if v is not None and k.endswith("efficiency")}
        score = 100 * (1 - probability)
        return AccountHealth(
            **_identity(row),
            state="scored",
            score=score,
            probability=probability,
            log_ratio=ratio if known else None,
            log_ratio_low=ratio - self._band if known else None,
            log_ratio_high=ratio + self._band if known else None,
            interval_level=self.level,
            tier=tier_of(score),
            money_at_risk=None if spend is None else probability * 0.2 * spend * self.horizon / 28,
            currency=row.get("currency"),
            risk_factors=factors,
            recommendations=tuple(recommendation(factor.group, {factor.leading_feature: factor.value, **usual}) for factor in factors[:1]),
            evidence={**evidence, "target": row.get("target")},
        )

    def _risk_factors(self, contributions: Floats, x: Floats) -> tuple[RiskFactor, ...]:
        by_group: dict[str, list[int]] = {}
        for index, name in enumerate(self._features):
            by_group.setdefault(group_of(name), []).append(index)
        factors = []
        for group, members in by_group.items():
            total = float(contributions[members].sum())
            leading = max(members, key=lambda index: float(contributions[index]))
            if total > 0:
                value = float(x[leading])
                factors.append(RiskFactor(group, total, self._features[leading], value if np.isfinite(value) else None))
        return tuple(sorted(factors, key=lambda factor: (-factor.log_odds, factor.group)))

    def _insufficient(self, row: dict[str, Any]) -> AccountHealth:
        clicks = row.get("clicks_28") or 0.0
        few = f"{clicks:.0f} clicks in 28 days are fewer than {MINIMUM_CLICKS:.0f}"
        reason = few if clicks < MINIMUM_CLICKS else "no feature of the account is known on this day"
        return AccountHealth(
            **_identity(row), state="insufficient_data", score=None, probability=None, log_ratio=None, log_ratio_low=None,
            log_ratio_high=None, interval_level=self.level, tier=None, money_at_risk=None, currency=row.get("currency"), risk_factors=(),
            recommendations=(), evidence={"reason": reason, "clicks_28": clicks},
        )  # fmt: skip

    def save(self, folder: Path) -> str:
        """Write the artifact to `folder`; returns its `model_sha256`.

        Raises `NotFittedError` when there is nothing to save."""
        self._refuse_unfitted()
        assert self._linear is not None
        state = {
            "features": self._features,
            "linear": self._linear.to_dict(),
            "ratio": None if self._ratio is None else self._ratio.to_dict(),
            "platt": [self._platt.intercept, self._platt.slope],
            "band": self._band if np.isfinite(self._band) else None,
        }
        files = {"model.json": json.dumps(state, sort_keys=True).encode()}
        if self._trees is not None:
            files["trees.ubj"] = self._trees
        return write_artifact(folder, files, {"model": self.model, "kind": self.kind, "horizon": self.horizon, "level": self.level})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The predictor that `save` wrote.

        Raises `ArtifactError` when the artifact is damaged or of another model."""
        artifact = read_artifact(folder)
        if artifact.manifest.get("model") != cls.model:
            raise ArtifactError(f"{folder} holds a {artifact.manifest.get('model')} model, not {cls.model}.")
        state = json.loads(artifact.text("model.json"))
        loaded = cls(kind=artifact.manifest["kind"], horizon=artifact.manifest["horizon"], level=artifact.manifest["level"])
        loaded._features = state["features"]
        loaded._linear = LinearPart.from_dict(state["linear"])
        loaded._ratio = None if state["ratio"] is None else LinearPart.from_dict(state["ratio"])
        loaded._platt = PlattScaling(*state["platt"])
        loaded._band = float("nan") if state["band"] is None else state["band"]
        loaded._trees = artifact.bytes("trees.ubj") if "trees.ubj" in artifact.manifest["files"] else None
        return loaded

    def _become(self, other: Self) -> None:
        self.__dict__.update(other.__dict__)


def _identity(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("platform", "account_id", "campaign_id", "origin")}
