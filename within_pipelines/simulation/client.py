"""Turn one account's simulated history into the export files that its platform would offer."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property

from within_pipelines.simulation import google, meta, tiktok
from within_pipelines.simulation.account import GERMAN_ACCOUNT, PLATFORM_CYCLE, WIDE_ACCOUNT, Account, found_account
from within_pipelines.simulation.csv_text import Export
from within_pipelines.simulation.draws import BLOCK_DAYS, Stream, blocks, generator
from within_pipelines.simulation.figures import Known, Ledger, open_ledger, simulate
from within_pipelines.simulation.planted import incidents, spells
from within_pipelines.simulation.roster import Ad, roster
from within_pipelines.simulation.spec import AgencySpec
from within_pipelines.simulation.truth import AccountTruth, Degradation, Incident, UglyRow
from within_pipelines.simulation.words import Copywriter

# Which daily exports carry the planted ugliness: one day in sixty, so that every default history holds each once.
BAD_ROWS_ACCOUNT, BAD_ROWS_DAY = 0, 37
DUPLICATE_ACCOUNT, DUPLICATE_DAY = 1, 41
UGLY_CYCLE = 60
BREAKDOWN_DAYS = 28
# The first three Meta accounts also export by age and gender.
BREAKDOWN_ACCOUNTS = tuple(index for index, platform in enumerate(PLATFORM_CYCLE) if platform == "meta_ads")[:3]


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file to write: path below the landing folder, bytes, data rows, rows that are bad on purpose."""

    path: str
    content: bytes
    rows: int
    ugly_rows: tuple[UglyRow, ...] = ()
    duplicate: bool = False


class Client:
    """One account with its simulated history up to day `last` (days since the start), able to write any of its exports."""

    def __init__(self, spec: AgencySpec, index: int, last: int, writer: Copywriter) -> None:
        self.spec = spec
        self.account: Account = found_account(spec.seed, index)
        self.last = last
        self.first_daily = spec.days - spec.daily_days
        days = last + 1
        self.ads: list[Ad] = roster(self.account, writer, seed=spec.seed, days=len(blocks(days)) * BLOCK_DAYS, drift_day=spec.drift_day)
        self.figures = simulate(
            self.account, self.ads, seed=spec.seed, days=days, first_weekday=spec.first_day.weekday(), drift_day=spec.drift_day
        )

    @cached_property
    def ledger(self) -> Ledger:
        """When what was known."""
        return open_ledger(
            self.account,
            self.figures,
            seed=self.spec.seed,
            first_daily=self.first_daily,
            restatement_days=self.spec.restatement_days,
        )

    @property
    def folder(self) -> str:
        """Where its exports are, below the landing folder."""
        return f"{self.account.platform}/{self.account.account_id}"

    @property
    def _stem(self) -> str:
        return f"{self.account.platform}_{self.account.account_id}"

    def stamp(self, morning: int) -> str:
        """The UTC moment of the export after day `morning`, as the file name writes it."""
        midnight = datetime.combine(self.spec.first_day + timedelta(days=morning + 1), datetime.min.time())
        return f"{midnight + timedelta(minutes=self.account.export_minute):%Y%m%dT%H%M%SZ}"

    def _performance(self, known: Known, *, bad_rows: bool = False) -> Export:
        start = self.spec.first_day
        if self.account.platform == "meta_ads":
            return meta.performance(self.account, self.ads, known, start)
        if self.account.platform == "tiktok_ads":
            return tiktok.performance(self.account, self.ads, known, start)
        comma = self.spec.ugly and self.account.index == GERMAN_ACCOUNT
        return google.performance(self.account, self.ads, known, start, decimal_comma=comma, bad_rows=bad_rows)

    def backfill(self) -> ExportFile:
        """The days before the daily exports, final values, no export time."""
        export = self._performance(self.ledger.known(0, self.first_daily - 1, self.last))
        return self._file(f"{self._stem}_backfill.csv", export, wide=self.spec.ugly and self.account.index == WIDE_ACCOUNT)

    def daily(self, morning: int) -> Iterator[ExportFile]:
        """The export of the morning after day `morning`, twice where a copy is planted."""
        ugly, index = self.spec.ugly, self.account.index
        first = max(self.first_daily, morning - self.spec.restatement_days + 1)
        known = self.ledger.known(first, morning, morning, hidden=self._hidden(morning))
        bad = ugly and index == BAD_ROWS_ACCOUNT and morning % UGLY_CYCLE == BAD_ROWS_DAY
        name = f"{self._stem}_asof_{self.stamp(morning)}.csv"
        file = self._file(name, self._performance(known, bad_rows=bad))
        yield file
        if ugly and index == DUPLICATE_ACCOUNT and morning % UGLY_CYCLE == DUPLICATE_DAY:
            yield replace(file, path=f"{self.folder}/copy_of_{name}", duplicate=True)

    @cached_property
    def _late(self) -> list[range]:
        planned = incidents(self.account, seed=self.spec.seed, days=self.last + 1)
        return [range(late.first, late.last + 1) for late in planned if late.metric == "feed"]

    def _hidden(self, morning: int) -> range:
        return next((late for late in self._late if morning in late), range(0))

    def creatives(self) -> ExportFile:
        """The texts of every ad that has started by the last day."""
        return self._file(f"{self._stem}_creatives.csv", self._texts([ad for ad in self.ads if ad.first <= self.last]))

    def new_creatives(self) -> ExportFile | None:
        """The texts of the ads that start on the last day, if there are any."""
        new = [ad for ad in self.ads if ad.first == self.last]
        if not new:
            return None
        return self._file(f"{self._stem}_creatives_asof_{self.stamp(self.last)}.csv", self._texts(new))

    def _texts(self, ads: list[Ad]) -> Export:
        module = {"google_ads": google, "meta_ads": meta, "tiktok_ads": tiktok}[self.account.platform]
        export: Export = module.creatives(self.account, ads)
        return export

    def breakdown(self) -> ExportFile:
        """The last 28 days by ad, age and gender; each row sums to what the daily exports say on the same morning."""
        first = max(0, self.last - BREAKDOWN_DAYS + 1)
        known = self.ledger.known(first, self.last, self.last, hidden=self._hidden(self.last))
        rng = generator(self.spec.seed, Stream.BREAKDOWN, self.account.index, self.last)
        export = meta.breakdown(self.account, self.ads, meta.break_down(known, rng), self.spec.first_day)
        return self._file(f"{self._stem}_age_gender_asof_{self.stamp(self.last)}.csv", export)

    def _file(self, name: str, export: Export, *, wide: bool = False) -> ExportFile:
        path = f"{self.folder}/{name}"
        text = "\r\n".join(export.lines) + "\r\n"
        if wide:
            content = _tab_separated(text).encode("utf-16")
        elif self.account.platform == "meta_ads":
            content = text.encode("utf-8-sig")
        else:
            content = text.encode("utf-8")
        return ExportFile(path, content, export.rows, tuple(UglyRow(path, line, reason) for line, reason in export.bad))

    def has_breakdown(self) -> bool:
        """Whether this is one of the first Meta accounts."""
        return self.account.index in BREAKDOWN_ACCOUNTS

    def truth(self) -> AccountTruth:
        """Who the account is."""
        a = self.account
        return AccountTruth(a.platform, a.account_id, a.name, a.market.currency, a.market.timezone)

    def incidents(self) -> Iterator[Incident]:
        """Incidents that have begun and left a trace: a late feed shows only in daily exports."""
        for planned in incidents(self.account, seed=self.spec.seed, days=self.last + 1):
            if planned.metric != "feed" or planned.last >= self.first_daily:
                first, last = self._day(planned.first), self._day(planned.last)
                yield Incident(self.account.platform, self.account.account_id, planned.metric, planned.factor, first, last)

    def degraded(self) -> Iterator[Degradation]:
        """Declines whose warning signs have begun."""
        for spell in spells(self.account, seed=self.spec.seed, days=self.last + 1):
            turns = (self._day(day) for day in (spell.warning, spell.first, spell.lowest, spell.recovery, spell.last))
            yield Degradation(self.account.platform, self.account.account_id, spell.depth, *turns)

    def _day(self, day: int) -> date:
        return self.spec.first_day + timedelta(days=day)


def _tab_separated(text: str) -> str:
    target = io.StringIO()
    csv.writer(target, delimiter="\t", lineterminator="\r\n").writerows(csv.reader(io.StringIO(text)))
    return target.getvalue()
