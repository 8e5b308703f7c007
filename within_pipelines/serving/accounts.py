"""What the lake knows of one account: the features and series that the daily job would compute for it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING, Any, TypedDict

import polars as pl

from within_pipelines.exceptions import ArtifactError, SampleError
from within_pipelines.lake import knowledge_time
from within_pipelines.pipeline import Pin, Workspace, account_rows, series_rows
from within_pipelines.pipeline.health_band import band_on, bands_folder
from within_pipelines.pipeline.scoring import feed_faults_on, told_faults
from within_pipelines.pipeline.tables import maturity
from within_pipelines.serving.logs import event

if TYPE_CHECKING:
    from within_pipelines.lake import MaturityCurve

_KEPT = 512


class Feed(TypedDict):
    """What the door says of one account's feed: a sentence per kind of fault, the days that are at fault, whether a fault takes the health
    score away, and whether the money comes in several currencies. Plain values, because jobs go to the shadow's process."""

    problems: list[str]
    days: list[str]
    blocked: bool
    mixed: bool


class Band(TypedDict):
    """The band that the daily job drew on a day: its quantile, and the newest origin whose outcome it had learned from."""

    day: str
    quantile: float
    outcomes_until: str | None


class UnknownAccountError(LookupError):
    """The lake holds nothing about the account up to that day."""


class LakeAccounts:
    """Reads the lake for one account at a time, by the functions of the daily job, and remembers what it read until something new has
    been ingested. Not for the thread that answers requests: a read takes tenths of a second."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._lock = threading.Lock()
        self._pin: Pin | None = None
        self._curve: MaturityCurve | None = None
        self._last: date | None = None
        self._kept: OrderedDict[tuple[str, str, str, date], Any] = OrderedDict()
        self._bands: OrderedDict[tuple[str, date], tuple[int, Band | None]] = OrderedDict()

    def features(
        self, platform: str, account_id: str, day: date | None, artifacts: Collection[str] = ()
    ) -> tuple[dict[str, Any], Feed, dict[str, Band]]:
        """The account's feature row at the end of `day` (default: the newest day), with what was known at noon UTC of the next, what the
        door says of its feed, and the band that the daily job drew with each of `artifacts` on that day or last before it. Money in several
        currencies counts in the newest one alone.

        Raises `UnknownAccountError` when there are no facts of it."""
        with self._lock:
            pin, curve, origin = self._state(day)
            key = ("features", platform, account_id, origin)
            if key not in self._kept:
                account = (platform, account_id)
                feed = self._feed(pin, account, origin)
                rows = account_rows(
                    self._ws, pin, origin, knowledge_time(origin), accounts=[account], campaigns=False, curve=curve,
                    mixed={account} if feed["mixed"] else (),
                )  # fmt: skip
                if rows.is_empty():
                    raise UnknownAccountError
                self._remember(key, (_json_row(rows.to_dicts()[0]), feed))
            row, feed = self._kept[key]
            return row, feed, {sha256: band for sha256 in artifacts if (band := self._band(sha256, origin)) is not None}

    def series(self, platform: str, account_id: str, day: date | None) -> tuple[list[dict[str, Any]], Feed]:
        """The account's daily metrics up to `day`, as the detector reads them, and what the door says of its feed. An account whose money
        comes in several currencies has no series: it cannot be added up.

        Raises `UnknownAccountError` when there are no facts of it."""
        with self._lock:
            pin, curve, end = self._state(day)
            key = ("series", platform, account_id, end)
            if key not in self._kept:
                account = (platform, account_id)
                feed = self._feed(pin, account, end)
                without = [account] if feed["mixed"] else []
                rows = series_rows(self._ws, pin, end, knowledge_time(end), accounts=[account], curve=curve, without=without)
                if rows.is_empty() and not feed["mixed"]:
                    raise UnknownAccountError
                self._remember(key, ([_json_row(row) for row in rows.to_dicts()], feed))
            found: tuple[list[dict[str, Any]], Feed] = self._kept[key]
            return found

    def _feed(self, pin: Pin, account: tuple[str, str], day: date) -> Feed:
        faults = feed_faults_on(self._ws, pin, day, knowledge_time(day), accounts=[account])
        blocking = faults.filter(pl.col("blocking"))
        return {
            "problems": list(told_faults(faults).get(account, {}).values()),
            "days": sorted({when.isoformat() for when in faults["event_date"].to_list()}),
            "blocked": not blocking.is_empty(),
            "mixed": "currency" in blocking["kind"].to_list(),
        }

    def _band(self, model_sha256: str, day: date) -> Band | None:
        try:
            written = bands_folder(self._ws, model_sha256).stat().st_mtime_ns
        except OSError:
            return None
        key = (model_sha256, day)
        if key not in self._bands or self._bands[key][0] != written:
            try:
                found = band_on(self._ws, model_sha256, day)
            except (ArtifactError, OSError) as error:
                event("band_unreadable", level=logging.ERROR, problem=str(error))
                found = None
            band: Band | None = None
            if found is not None:
                until = found.outcomes_until
                band = {
                    "day": found.day.isoformat(),
                    "quantile": found.quantile,
                    "outcomes_until": None if until is None else until.isoformat(),
                }
            self._bands[key] = (written, band)
            if len(self._bands) > _KEPT:
                self._bands.popitem(last=False)
        return self._bands[key][1]

    def _state(self, day: date | None) -> tuple[Pin, MaturityCurve, date]:
        if self._pin is None or self._pin.commit_seq != self._ws.lake.watermark():
            try:
                pin = self._ws.pin()
            except SampleError:
                raise UnknownAccountError from None
            self._pin, self._curve, self._last = pin, maturity(self._ws, pin), self._ws.lake.last_event_date(pin.commit_seq)
            self._kept.clear()
        assert self._curve is not None
        assert self._last is not None
        if day is not None and day > self._last:
            raise UnknownAccountError
        return self._pin, self._curve, self._last if day is None else day

    def _remember(self, key: tuple[str, str, str, date], value: Any) -> None:
        self._kept[key] = value
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}
