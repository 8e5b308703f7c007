"""From facts to feature tables and training sets, each named by a fingerprint of all that went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from within_pipelines.exceptions import SampleError
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.lake import MaturityCurve

# Feature rows start when four weeks of history stand behind them.
WARM_UP_DAYS = 28
HEALTH_HORIZON = 7
HEALTH_ENTITY = ("platform", "account_id", "campaign_id")
ACCOUNT_ENTITY = ("platform", "account_id")


@dataclass(frozen=True, slots=True)
class Table:
    """One stored table: `cached` when the same inputs had already produced it."""

    name: str
    fingerprint: str
    rows: int
    columns: tuple[str, ...]
    cached: bool


@cache
def code_version() -> str:
    """A hash of the source of every room that a model's numbers pass through."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for room in ("stats", "lake", "features", "prediction"):
        for source in sorted((root / room).rglob("*.py")):
            digest.update(str(source.relative_to(root)).encode())
            digest.update(source.read_bytes())
    # The drift reference belongs to a version, so what makes it counts as well.
    for step in ("tables.py", "monitored_rows.py", "drift_reference.py", "joint_drift.py"):
        digest.update((root / "pipeline" / step).read_bytes())
    return digest.hexdigest()[:16]


def fingerprint_of(**parts: Any) -> str:
    """A stable hash of named parts (plain JSON values)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _table_fingerprint(name: str, pin: Pin, **parts: Any) -> str:
    return fingerprint_of(table=name, data_version=pin.data_version, as_of=pin.as_of.isoformat(), code_version=code_version(), **parts)


def _store(ws: Workspace, name: str, fingerprint: str, build: Callable[[], pl.DataFrame]) -> Table:
    frame = ws.derived.get(name, fingerprint)
    cached = frame is not None
    if frame is None:
        frame = build()
        ws.derived.put(name, fingerprint, frame)
    return Table(name=name, fingerprint=fingerprint, rows=frame.height, columns=tuple(frame.columns), cached=cached)


def _read(ws: Workspace, name: str, fingerprint: str) -> pl.DataFrame:
    frame = ws.derived.get(name, fingerprint)
    if frame is None:
        raise SampleError(f"The table {name} does not exist for this state of the lake; materialize it first.")
    return frame


def maturity(ws: Workspace, pin: Pin) -> MaturityCurve:
    """How complete each platform's and account's numbers are by age, learned from the lake's own restatements."""
    from within_pipelines.lake import maturity_curve

    return maturity_curve(ws.lake.history(commit_seq=pin.commit_seq, as_of=pin.as_of))


def build_creative_features(ws: Workspace, pin: Pin) -> Table:
    """One row per ad: its texts, results so far, siblings' history before its first day, and its features."""

    def build() -> pl.DataFrame:
        import polars as pl

        from within_pipelines.features import creative_features, creative_table

        history = ws.lake.history(commit_seq=pin.commit_seq, as_of=pin.as_of)
        table = creative_table(history, ws.lake.creatives(commit_seq=pin.commit_seq, as_of=pin.as_of), as_of=pin.as_of)
        features = creative_features(table)
        return pl.concat([table, features.drop([c for c in features.columns if c in table.columns])], how="horizontal")

    return _store(ws, "creative_features", _table_fingerprint("creative_features", pin), build)


def origins_of(first: date, last: date, *, step: int) -> list[date]:
    """Every `step`-th day back from `last`, oldest first, with `WARM_UP_DAYS` before the oldest.

    >>> [d.day for d in origins_of(date(2026, 1, 1), date(2026, 2, 8), step=7)]
    [1, 8]
    """
    span = (last - first).days - WARM_UP_DAYS
    return [last - timedelta(days=back) for back in range(0, max(span, -1) + 1, step)][::-1]


def _account_history(ws: Workspace, pin: Pin, function: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    from within_pipelines.features import run_by_account

    return run_by_account(ws.lake.account_batches(commit_seq=pin.commit_seq, as_of=pin.as_of), function)


def build_account_features(ws: Workspace, pin: Pin, *, step: int = 3) -> Table:
    """One row per account or campaign and origin day: scale-free features as they were known on that day.

    Origins are every third day back from the newest day; account rows carry an empty `campaign_id`."""

    def build() -> pl.DataFrame:
        import polars as pl

        from within_pipelines.features import account_features

        curve = maturity(ws, pin)

        def features_of(history: pl.DataFrame) -> pl.DataFrame:
            origins = origins_of(history["event_date"].min(), last, step=step)  # type: ignore[arg-type]
            if not origins:
                return pl.DataFrame()
            campaigns = account_features(history, origins=origins, entity=HEALTH_ENTITY, maturity=curve)
            accounts = account_features(history, origins=origins, entity=ACCOUNT_ENTITY, maturity=curve)
            accounts = accounts.with_columns(campaign_id=pl.lit("")).select(campaigns.columns)
            return pl.concat([accounts, campaigns])

        last = ws.lake.last_event_date(pin.commit_seq)
        if last is None:
            raise SampleError("The lake holds no facts; ingest exports first.")
        return _account_history(ws, pin, features_of)

    return _store(ws, "account_features", _table_fingerprint("account_features", pin, step=step), build)


def build_metric_series(ws: Workspace, pin: Pin) -> Table:
    """Long table of daily metrics per account: value, maturity, currency."""

    def build() -> pl.DataFrame:
        from within_pipelines.features import metric_series

        facts = ws.lake.facts(commit_seq=pin.commit_seq, as_of=pin.as_of)
        return metric_series(facts, maturity=maturity(ws, pin))

    return _store(ws, "metric_series", _table_fingerprint("metric_series", pin), build)


FEATURE_TABLE: Mapping[str, str] = {
    "ad_score": "creative_features",
    "account_health": "account_features",
    "anomaly": "metric_series",
}


# The column that a golden case's last day is compared with.
DAY_COLUMN = {"ad_score": "first_day", "account_health": "origin", "anomaly": "timestamp"}


def feature_table(ws: Workspace, pin: Pin, model: str) -> pl.DataFrame:
    """The feature table that `model` learns from.

    Raises `SampleError` when it has not been built for this pin."""
    name = FEATURE_TABLE[model]
    parts: dict[str, Any] = {"step": 3} if name == "account_features" else {}
    return _read(ws, name, _table_fingerprint(name, pin, **parts))


def possible_ads(ads: pl.DataFrame) -> pl.DataFrame:
    """Histories with no more clicks than impressions: platforms count some clicks without one, which is no click-through rate."""
    import polars as pl

    return ads.with_columns(
        pl.min_horizontal(f"{tier}_clicks_before", f"{tier}_impressions_before").alias(f"{tier}_clicks_before")
        for tier in ("account", "campaign", "group")
    ).with_columns(account_ctr_before=pl.col("account_ctr_before").clip(0.0, 1.0))


def build_training_set(ws: Workspace, pin: Pin, model: str) -> Table:
    """The rows that `model` is trained and evaluated on: features with labels, golden groups left out."""

    def build() -> pl.DataFrame:
        import polars as pl

        features = feature_table(ws, pin, model)
        if model == "account_health":
            from within_pipelines.features import account_labels

            curve = maturity(ws, pin)
            origins = features["origin"].unique().sort().to_list()

            def labels_of(history: pl.DataFrame) -> pl.DataFrame:
                campaigns = account_labels(
                    history, origins=origins, entity=HEALTH_ENTITY, horizon=HEALTH_HORIZON, as_of=pin.as_of, maturity=curve
                )
                accounts = account_labels(
                    history, origins=origins, entity=ACCOUNT_ENTITY, horizon=HEALTH_HORIZON, as_of=pin.as_of, maturity=curve
                )
                return pl.concat([accounts.with_columns(campaign_id=pl.lit("")).select(campaigns.columns), campaigns])

            labels = _account_history(ws, pin, labels_of)
            return (
                features.join(labels, on=[*HEALTH_ENTITY, "origin"], how="inner", suffix="_label")
                # A unit that stopped has no efficiency to judge; its row is kept beside those that went on, because they teach who stops.
                .filter(pl.col("mature") & (pl.col("degraded").is_not_null() | pl.col("stopped").is_not_null()))
                .sort("origin", *HEALTH_ENTITY)
            )
        if model == "ad_score":
            shown = features.filter((pl.col("impressions") > 0) & (pl.col("clicks") <= pl.col("impressions")))
            return possible_ads(shown).sort("first_day", "group_id", "ad_id")
        return features

    name = f"{model}_training_set"
    return _store(ws, name, training_fingerprint(pin, model), build)


def training_fingerprint(pin: Pin, model: str) -> str:
    """What identifies a training set: data, knowledge time, code."""
    return _table_fingerprint(f"{model}_training_set", pin, horizon=HEALTH_HORIZON)


def training_set(ws: Workspace, pin: Pin, model: str) -> pl.DataFrame:
    """The stored training set of `model`, without the groups that the golden set replays.

    Raises `SampleError` when it has not been built for this pin."""
    from within_pipelines.pipeline.golden import current_golden_set
    from within_pipelines.validation import without_golden_groups

    rows = _read(ws, f"{model}_training_set", training_fingerprint(pin, model))
    return without_golden_groups(rows, current_golden_set(ws).of(model), day_column=DAY_COLUMN[model])
