"""Will this account's efficiency fall by a fifth within the next days, how sure is that, and what drives it?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.exceptions import NotFittedError, SampleError, SchemaError, SettingsError
from within_pipelines.prediction.account_health.answers import Answering, short_history, unseen
from within_pipelines.prediction.account_health.blend import LEAN, PERSISTENCE, HealthBlend, fit_blend
from within_pipelines.prediction.account_health.inputs import (
    checked_features,
    daily_facts,
    feature_rows,
    is_feature_table,
    refuse_repeated,
)
from within_pipelines.prediction.account_health.labels import labelled, refuse_one_sided, refuse_too_few
from within_pipelines.prediction.account_health.money import NO_CURRENCY
from within_pipelines.prediction.account_health.report import AccountHealthReports
from within_pipelines.prediction.account_health.rolling import answered_later, overlap_of
from within_pipelines.prediction.account_health.scores import answer_numbers
from within_pipelines.prediction.account_health.stability import STABLE, accounts_of, refit_stability
from within_pipelines.prediction.account_health.stopping import STOPPING, StoppingPart, fit_stopping
from within_pipelines.prediction.account_health.storage import Parts, read_parts, write_parts
from within_pipelines.prediction.adaptive_conformal import AdaptiveConformal
from within_pipelines.prediction.arguments import check_fit, is_number, is_whole
from within_pipelines.prediction.calibration import PlattScaling, sigmoid
from within_pipelines.prediction.champion import champion_folder
from within_pipelines.prediction.frames import as_polars, matrix, require

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HEALTH_KINDS: tuple[str, ...] = ("logistic_xgboost", "persistence")
# Below this many clicks in 28 days there is too little to say anything.
MINIMUM_CLICKS = 100.0


class AccountHealthPredictor:
    """Calibrated probability of a drop in efficiency of at least `drop` over the next `horizon` days.

    `kind="logistic_xgboost"` starts from a lean logistic regression on how the unit has moved against itself and how many events stand
    behind that. A stiff logistic regression on all features, boosted trees and a location-scale model of the log ratio join it with the
    share that they earn on later days. `kind="persistence"` is the honest simple rival: the same calibration on the last seven days'
    efficiency against its usual level alone. An unfitted predictor answers with the registered champion.

    `horizon` (days, 1 to 112), `drop` (0 to 1), `usual_days` (the stretch that makes the usual level, 7 to 112) and `minimum_clicks` (in 28
    days, below which the state is "insufficient_data") say what is predicted, and for whom; `level` is the coverage of the band.

    `data` is a pandas or polars table: feature rows (`features.account_features`), the lake's facts, or plain daily rows with
    `account_id`, `date`, `impressions`, `clicks`, and where known `spend`, `conversions`, `revenue`, `platform`, `currency`.

    The probability holds for units that go on spending. One that stops has no efficiency to judge; where the rows tell who stopped (column
    `stopped`), `stop_probability` is a second answer."""

    model = "account_health"

    def __init__(
        self,
        *,
        kind: str = "logistic_xgboost",
        horizon: int = 7,
        level: float = 0.9,
        drop: float = 0.2,
        usual_days: int = 28,
        minimum_clicks: float = MINIMUM_CLICKS,
    ) -> None:
        if kind not in HEALTH_KINDS:
            raise SettingsError(f"kind={kind!r} is unknown; give one of {', '.join(HEALTH_KINDS)}.")
        if not (is_number(level) and 0.5 <= level < 1):
            raise SettingsError(f"level={level!r} is no interval level; give a number from 0.5 up to 1.")
        if not (is_whole(horizon) and 1 <= horizon <= 112):
            raise SettingsError(f"horizon={horizon!r} is no number of days; give 1 to 112, whole days.")
        if not (is_number(drop) and 0 < drop < 1):
            raise SettingsError(f"drop={drop!r} is no share of the usual level; give a number between 0 and 1.")
        if not (is_whole(usual_days) and 7 <= usual_days <= 112):
            raise SettingsError(f"usual_days={usual_days!r} is no length of the usual level; give 7 to 112 days, whole days.")
        if not (is_number(minimum_clicks) and minimum_clicks >= 0):
            raise SettingsError(f"minimum_clicks={minimum_clicks!r} is no volume; give a number of at least 0.")
        self.kind = kind
        self.horizon = int(horizon)
        self.level = float(level)
        self.drop = float(drop)
        self.usual_days = int(usual_days)
        self.minimum_clicks = float(minimum_clicks)
        self._blend: HealthBlend | None = None
        self._platt = PlattScaling(0.0, 1.0)
        self._band: AdaptiveConformal | None = None
        self._stopping: StoppingPart | None = None
        self._stability: Mapping[str, float] = {}
        # Training rows per target; None for a model from before they were kept.
        self._targets: Mapping[str, int] | None = None
        self._curves: dict[str, dict[str, Any]] = {}
        self._learned_until: int | None = None
        self._loaded_from: str | None = None

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "horizon": self.horizon, "level": self.level, "drop": self.drop, "usual_days": self.usual_days,
            "minimum_clicks": self.minimum_clicks,
        }  # fmt: skip

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` has been called."""
        return self._blend is not None

    @property
    def share(self) -> float:
        """Share of the richer parts beside the lean one, from 0 to 1, as earned on later days."""
        return self._fitted_blend().share

    @property
    def learned_until(self) -> date | None:
        """The newest origin whose outcome `fit` or `update` has learned from."""
        return None if self._learned_until is None else date(1970, 1, 1) + timedelta(days=self._learned_until)

    @property
    def loaded_from(self) -> str | None:
        """`model_sha256` of the artifact that this predictor was loaded from; None for one that was fitted here."""
        return self._loaded_from

    @property
    def band_quantile(self) -> float | None:
        """How many scales the band now reaches to either side of the predicted log ratio; None without a band. `update` moves it."""
        return None if self._band is None else self._band.quantile()

    @property
    def group_stability(self) -> dict[str, float]:
        """Per group of features the share of its contributions on which fits that share no account agree in sign."""
        return dict(self._stability)

    @property
    def published_groups(self) -> tuple[str, ...]:
        """Groups that may be named as risk factors: those with a stability of at least 0.9."""
        return tuple(group for group, stability in sorted(self._stability.items()) if stability >= STABLE)

    @property
    def targets(self) -> dict[str, int] | None:
        """How many of the rows fitted on had which measure of efficiency; None for a model from before this was kept.

        A row whose target has fewer than 20 of them gets no score."""
        return None if self._targets is None else dict(self._targets)

    @property
    def details(self) -> dict[str, Any]:
        """What the model card says of a fit beside its numbers."""
        told = ", ".join(f"{name} ({rows} rows)" for name, rows in (self._targets or {}).items())
        return {"efficiency_measured_by": told or "not kept"}

    @property
    def curves(self) -> dict[str, dict[str, Any]]:
        """Learning curves of the last `fit` by name (`log_loss`, `brier_skill`): points `x` (rows fitted on) and `y`, with their labels.

        The fits are those of rolling origins on the oldest quarter, half and three quarters of the history, all judged on the newest
        quarter. Not kept in the artifact: empty for a loaded model, and where there are too few origins."""
        return dict(self._curves)

    def fit(self, data: Any, labels: Any = None, *, seed: int = 7, threads: int = 1) -> Self:
        """Fit on feature rows with `labels` (True where efficiency fell by `drop`), or on daily facts, which make their own labels.

        Without `labels`, feature rows bring the column `degraded`; for a `drop` other than 0.2, or when there is no such column, the label
        is `log_ratio` < log(1 - drop). With the column `log_ratio` there is a band, with `stopped` a probability of stopping.

        Quarters of the origins, `horizon` days apart from what was fitted before them, choose the share, calibrate and start the band; then
        every part is fitted again on all rows. Deterministic for a seed.

        Raises `SampleError` for fewer than 60 usable rows, for repeated rows, labels of one class, labels that are not 0/1, and labels
        beside daily facts; `SchemaError` for feature rows that lack a column; `SettingsError` for a seed or threads that are no whole
        numbers."""
        check_fit(seed=seed, threads=threads)
        fresh = type(self)(**self._settings)
        fresh._fit(data, labels, seed=seed, threads=threads)
        # All at once, so that a refused refit leaves the model as it was.
        self.__dict__.update(fresh.__dict__)
        return self

    def _fit(self, data: Any, labels: Any, *, seed: int, threads: int) -> None:
        from within_pipelines.features import ACCOUNT_FEATURES

        frame = labelled(data, labels, horizon=self.horizon, drop=self.drop, usual_days=self.usual_days)
        rows = frame.filter(self._enough()).filter(pl.col("_y").is_not_null()).sort("origin", "platform", "account_id", maintain_order=True)
        refuse_too_few(rows, minimum_clicks=self.minimum_clicks)
        counted = rows["target"].drop_nulls().value_counts().sort("count", "target", descending=[True, False])
        self._targets = {str(name): int(count) for name, count in counted.iter_rows()}
        rich = self.kind == "logistic_xgboost"
        features = tuple(ACCOUNT_FEATURES.columns) if rich else PERSISTENCE
        x, y = matrix(rows, features), rows["_y"].to_numpy()
        ratio = matrix(rows, ("log_ratio",))[:, 0] if "log_ratio" in rows.columns else None
        days = rows["origin"].to_physical().to_numpy().astype(np.int64)
        refuse_one_sided(days, y, horizon=self.horizon)
        overlap = overlap_of(days, horizon=self.horizon)

        def fitted(chosen: NDArray[Any], *, rich: bool, share: float = 0.0) -> HealthBlend:
            return fit_blend(
                x[chosen], y[chosen], None if ratio is None else ratio[chosen], features=features,
                lean_features=LEAN if self.kind == "logistic_xgboost" else PERSISTENCE, rich=rich, threshold=float(np.log1p(-self.drop)),
                overlap=overlap, seed=seed, threads=threads, share=share,
            )  # fmt: skip

        later = answered_later(partial(fitted, rich=rich), x, y, days, horizon=self.horizon, overlap=overlap, rich=rich)
        share, self._platt, self._curves = later.share, later.platt, later.curves
        mixed = partial(fitted, rich=rich and share > 0, share=share)
        self._blend = mixed(np.arange(len(x)))
        self._band = self._started_band(later.blends, x, ratio, days)
        self._learned_until = int(days.max())
        self._stopping = fit_stopping(frame, overlap=overlap) if rich else None
        refitted = lambda half: mixed(half).contributions
        rng = np.random.default_rng([seed, 41])
        self._stability = refit_stability(self._blend.contributions, refitted, x, y, accounts_of(rows), features, rng=rng)

    def _started_band(
        self, blocks: list[tuple[HealthBlend, NDArray[Any]]], x: Floats, ratio: Floats | None, days: Ints
    ) -> AdaptiveConformal | None:
        """The band needs the continuous label: without `log_ratio`, or with too few later ones, there is none."""
        if ratio is None:
            return None
        by_day: list[Floats] = []
        seen: list[int] = []
        for blend, block in blocks:
            known = np.flatnonzero(block & np.isfinite(ratio))
            if blend.has_band and known.size:
                scores = _scores(blend, x[known], ratio[known])
                by_day += [scores[days[known] == day] for day in np.unique(days[known])]
                seen += np.unique(days[known]).tolist()
        n = sum(day.size for day in by_day)
        if n < self.level / (1 - self.level) or not self._fitted_blend().has_band:
            return None
        # The older half calibrates, the newer half is lived through day by day.
        half = int(np.searchsorted(np.cumsum([day.size for day in by_day]), n / 2)) + 1
        while sum(day.size for day in by_day[:half]) < self.level / (1 - self.level):
            half += 1
        started = np.concatenate(by_day[:half])
        weeks = max(1, int(np.ptp([int(d) for d in seen[:half]]) // 7) + 1)
        return AdaptiveConformal.start(started, level=self.level, blocks=weeks).learn(by_day[half:])

    def update(self, data: Any) -> Self:
        """Learn from outcomes that have become known since `fit` or the last `update`: the band follows them, day by day.

        `data` are feature rows with `log_ratio`, all of origins later than those learned from. Rows without a known ratio, and units
        below the stated volume, are left out. The parts of the model stay as they are; fit again to change them.

        Raises `SampleError` for origins that were learned from already, `SchemaError` without the column `log_ratio`."""
        blend = self._fitted_blend()
        rows = checked_features(as_polars(data))
        require(rows, ["log_ratio"], why="the band learns from the log ratios that came about.")
        refuse_repeated(rows)
        rows = rows.filter(pl.col("log_ratio").is_finite() & self._enough())
        rows = rows.filter(~self._unseen(rows["target"]))
        if rows.is_empty():
            return self
        days = rows["origin"].to_physical().to_numpy().astype(np.int64)
        if self._learned_until is not None and days.min() <= self._learned_until:
            old = int((days <= self._learned_until).sum())
            raise SampleError(
                f"{old} of {len(days)} rows have origins up to {self.learned_until}, which were learned from already; give later ones."
            )
        if self._band is not None:
            scores = _scores(blend, matrix(rows, blend.features), matrix(rows, ("log_ratio",))[:, 0])
            self._band = self._band.learn([scores[days == day] for day in np.unique(days)])
        self._learned_until = int(days.max())
        return self

    def _enough(self) -> pl.Expr:
        """Rows that are answered at all, and so learned from: enough volume, and a last week whose efficiency is known."""
        return (pl.col("clicks_28").fill_null(0.0) >= self.minimum_clicks) & pl.col("recent_efficiency").is_not_null()

    def _unseen(self, target: pl.Series) -> pl.Series:
        """Whether too few of the rows fitted on were measured by a row's target."""
        return unseen(target, self._targets)

    def _fitted_blend(self) -> HealthBlend:
        if self._blend is None:
            raise NotFittedError("This account_health predictor is not fitted; call fit(), or predict(), which asks for the champion.")
        return self._blend

    def _ready(self) -> HealthBlend:
        if self._blend is None:
            self._become(type(self).load(champion_folder(self.model)))
        return self._fitted_blend()

    def _rows(self, data: Any, origins: list[date] | None = None) -> pl.DataFrame:
        return feature_rows(data, origins=origins, usual_days=self.usual_days)

    def probability(self, rows: pl.DataFrame) -> Floats:
        """Calibrated probability of a drop for feature rows, whatever their volume."""
        blend = self._fitted_blend()
        return sigmoid(self._platt(blend.log_odds(matrix(rows, blend.features))))

    def out_of_support(self, rows: pl.DataFrame) -> NDArray[np.bool_] | None:
        """Whether a feature of each feature row lies beyond the rows fitted on, by more than a quarter of their range; None for a model
        from before the ranges were kept. Such a feature counts as the nearest training value."""
        blend = self._fitted_blend()
        return blend.outside(matrix(rows, blend.features))

    def predict(self, data: Any, *, band_quantile: float | None = None) -> AccountHealthReports:
        """The health of each row (feature rows) or of each account on the newest day (daily facts).

        `band_quantile` draws the band as another copy of this model drew it after later outcomes (its `band_quantile`); default: its own.

        Raises `NotFittedError` when this predictor is not fitted and no champion is registered, `SampleError` for no rows, a row given
        twice and values that are no numbers, `SettingsError` for a `band_quantile` that is none."""
        if band_quantile is not None and not (is_number(band_quantile) and 0 <= band_quantile < np.inf):
            raise SettingsError(f"band_quantile={band_quantile!r} is no width; give what another copy says, at least 0.")
        blend = self._ready()
        rows = self._rows(data)
        refuse_repeated(rows)
        x = matrix(rows, blend.features)
        numbers = self._numbers(rows, x, band_quantile)
        contributions = self.contributions(x)
        outside = blend.support_reasons(x)
        answering = self._answering()
        return AccountHealthReports(
            tuple(
                answering.scored(row, answer, contributions[i], x[i], outside[i])
                if answer["state"] == "scored"
                else answering.insufficient(row)
                for i, (row, answer) in enumerate(zip(rows.iter_rows(named=True), numbers.iter_rows(named=True), strict=True))
            )
        )

    def _answering(self) -> Answering:
        published = {group: self._stability[group] for group in self.published_groups}
        return Answering(self.horizon, self.drop, self.level, self.minimum_clicks, self.features, published, self._targets)

    def _numbers(self, rows: pl.DataFrame, x: Floats, band_quantile: float | None = None) -> pl.DataFrame:
        """Every number of an answer, column by column; null where the state is insufficient."""
        blend = self._fitted_blend()
        unknown = np.full(len(x), np.nan)
        centre, reach = unknown, unknown
        if self._band is not None:
            centre, scale = blend.location_and_scale(x)
            reach = scale * (self._band.quantile() if band_quantile is None else band_quantile)
        unlike = self._unseen(rows["target"])
        enough = rows.select(self._enough()).to_series() & ~short_history(rows["history_share"]) & ~unlike
        return answer_numbers(
            rows,
            usable=enough.to_numpy() & np.isfinite(x).any(axis=1),
            probability=sigmoid(self._platt(blend.log_odds(x))),
            centre=centre,
            reach=reach,
            stop=sigmoid(self._stopping(matrix(rows, STOPPING))) if self._stopping is not None else unknown,
            outside=blend.outside(x),
            unseen=unlike.to_numpy(),
            drop=self.drop,
            horizon=self.horizon,
        )

    def score_batches(self, data: pl.DataFrame | Iterable[Any], *, rows: int = 50_000) -> Iterator[pl.DataFrame]:
        """Answers without reasons for many feature rows, `rows` at a time: state, score, probability, tier, log ratio with its band,
        stop probability, money at risk, out_of_support, after the identity of each row.

        `data` is one table or an iterable of tables (for example the batches of a scan), so memory stays bounded by one batch. The numbers
        are those of `predict`.

        Raises `SampleError` for a batch size below 1, `SettingsError` for one that is no whole number."""
        if not is_whole(rows):
            raise SettingsError(f"rows={rows!r} is no batch size; give a whole number of at least 1.")
        if rows < 1:
            raise SampleError(f"rows={rows} is no batch size; give at least 1.")
        blend = self._ready()
        for table in data if isinstance(data, Iterable) and not hasattr(data, "columns") else [data]:
            for batch in as_polars(table).iter_slices(rows):
                features = checked_features(batch)
                refuse_repeated(features)
                if "campaign_id" not in features.columns:
                    features = features.with_columns(campaign_id=pl.lit(""))
                numbers = self._numbers(features, matrix(features, blend.features))
                identity = features.select("platform", "account_id", "campaign_id", "origin")
                currency = features["currency"] if "currency" in features.columns else pl.Series([None] * features.height, dtype=pl.String)
                named = currency.replace(NO_CURRENCY, None)
                yield pl.concat([identity, numbers], how="horizontal").with_columns(currency=named, target=features["target"])

    def history(self, data: Any, *, weeks: int = 8, step: int = 7) -> pl.DataFrame:
        """What this model would have said of each account on earlier days of daily facts: one row per account and origin, oldest first.

        Origins lie `step` days apart, `weeks` weeks back from the newest day; each is answered with what was known then. The model itself
        may have been fitted on those days, so this shows how the score moved, not how good it was.

        Raises `SchemaError` for feature rows, which hold their origins already (use `predict`), `SampleError` for no rows, and for
        `weeks` or a `step` below 1."""
        if min(weeks, step) < 1:
            raise SampleError(f"weeks={weeks} and step={step} lead to no earlier day; give at least 1 of each.")
        if is_feature_table(as_polars(data)):
            raise SchemaError("history() takes daily facts; feature rows hold their origins already, so give them to predict().")
        facts = daily_facts(data)
        if facts.is_empty():
            raise SampleError("The table holds no rows; give at least 28 days per account.")
        last: Any = facts["event_date"].max()
        self._ready()
        rows = self._rows(facts, [last - timedelta(days=back) for back in range(0, 7 * weeks, step)][::-1])
        return pl.concat(list(self.score_batches(rows))).sort("platform", "account_id", "origin")

    def explain(self, data: Any) -> pl.DataFrame:
        """Contributions to the log-odds of a drop: one column per feature plus `intercept`; they add up to `log_odds`."""
        blend = self._ready()
        rows = self._rows(data)
        x = matrix(rows, blend.features)
        parts, log_odds = self.contributions(x), self._platt(blend.log_odds(x))
        # XGBoost adds contributions up in single precision; the intercept takes the rounding, so that the sum is exact.
        parts[:, -1] += log_odds - parts.sum(axis=1)
        frame = rows.select("platform", "account_id", "campaign_id", "origin")
        columns = {name: parts[:, i] for i, name in enumerate([*blend.features, "intercept"])}
        return frame.with_columns(**{n: pl.Series(v) for n, v in columns.items()}, log_odds=pl.Series(log_odds))

    @property
    def features(self) -> list[str]:
        """Names of the feature columns that the model reads, in its order."""
        return list(self._fitted_blend().features)

    def band(self, rows: pl.DataFrame) -> tuple[Floats, Floats] | None:
        """Lower and upper end of the conformal band of the log ratio; None when it was fitted without log ratios."""
        blend = self._fitted_blend()
        if self._band is None:
            return None
        centre, scale = blend.location_and_scale(matrix(rows, blend.features))
        reach = scale * self._band.quantile()
        return centre - reach, centre + reach

    def contributions(self, x: Floats) -> Floats:
        """Contributions to the log-odds per feature (columns of `x` as in `features`), the last column the intercept."""
        scaled: Floats = self._platt.slope * self._fitted_blend().contributions(x)
        scaled[:, -1] += self._platt.intercept
        return scaled

    def save(self, folder: str | Path) -> str:
        """Write the artifact to `folder`; returns its `model_sha256`.

        Raises `NotFittedError` when there is nothing to save."""
        kept = (self._platt, self._band, self._stopping, self._stability, self._targets, self._learned_until)
        return write_parts(Path(folder), Parts(self._fitted_blend(), *kept), {"model": self.model, **self._settings})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The predictor that `save` wrote.

        Raises `ArtifactError` when the artifact is damaged, of another model, or of a version of this code that kept other parts."""
        artifact, parts = read_parts(Path(folder), model=cls.model)
        loaded = cls(**{name: artifact.manifest[name] for name in cls()._settings})
        loaded._blend, loaded._platt, loaded._band, loaded._stopping = parts.blend, parts.platt, parts.band, parts.stopping
        loaded._stability, loaded._targets, loaded._learned_until = parts.stability, parts.targets, parts.learned_until
        loaded._loaded_from = artifact.model_sha256
        return loaded

    def _become(self, other: Self) -> None:
        self.__dict__.update(other.__dict__)


def _scores(blend: HealthBlend, x: Floats, ratio: Floats) -> Floats:
    """Distance of the truth from the prediction in units of the predicted scatter."""
    centre, scale = blend.location_and_scale(x)
    result: Floats = np.abs(ratio - centre) / scale
    return result
