"""Read the agency's files with code that the package does not share."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from within_pipelines.simulation import AgencySpec, AgencySummary, Truth

END = date(2026, 6, 30)
SMALL = AgencySpec(end=END, accounts=8, days=130)


@dataclass(frozen=True)
class Agency:
    """An agency on disk."""

    landing: Path
    summary: AgencySummary
    truth: Truth

    def files(self, index: int, pattern: str) -> list[Path]:
        """Files of account number `index`, by name."""
        account = self.truth.accounts[index]
        return sorted((self.landing / account.platform / account.account_id).glob(pattern))


@dataclass(frozen=True)
class Row:
    """One data row of a performance export, as a careful person would read it."""

    day: str
    campaign: str
    ad_group: str
    ad: str
    impressions: int
    clicks: int
    cost: float
    conversions: float
    revenue: float
    cost_text: str
    cell: tuple[str, str]


def text_of(path: Path) -> str:
    """The file's text whatever its encoding."""
    raw = path.read_bytes()
    return raw.decode("utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else raw.decode("utf-8-sig")


def _number(text: str, german: bool) -> float:
    swapped = text.replace(".", "").replace(",", ".") if german else text.replace(",", "")
    return float(swapped.strip().rstrip("%"))


def read_rows(path: Path, *, german: bool = False) -> list[Row]:
    """The data rows of a performance export: no preamble, no totals."""
    text = text_of(path)
    delimiter = "\t" if path.read_bytes()[:2] == b"\xff\xfe" else ","
    lines = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    header = next(i for i, line in enumerate(lines) if len(line) > 5)
    names = [name.lower() for name in lines[header]]
    cost = next(n for n in names if n.startswith("amount spent") or n == "cost")

    def column(*candidates: str) -> int:
        return next(names.index(c) for c in candidates if c in names)

    day = column("day", "by day")
    where = {
        "campaign": column("campaign id"),
        "ad_group": column("ad group id", "ad set id"),
        "ad": column("ad id"),
    }
    what = {
        "impressions": column("impr.", "impressions"),
        "clicks": column("link clicks", "clicks (destination)", "clicks"),
        "cost": names.index(cost),
        "conversions": column("purchases", "complete payment", "conversions"),
        "revenue": column("purchases conversion value", "total complete payment value", "conv. value"),
    }
    rows = []
    for line in lines[header + 1 :]:
        if not line[day][:1].isdigit():
            continue
        values = {name: _number(line[at], german) for name, at in what.items()}
        cell = (line[names.index("age")], line[names.index("gender")]) if "age" in names else ("", "")
        rows.append(
            Row(
                day=line[day],
                impressions=int(values["impressions"]),
                clicks=int(values["clicks"]),
                cost=values["cost"],
                conversions=values["conversions"],
                revenue=values["revenue"],
                cost_text=line[what["cost"]],
                cell=cell,
                **{name: line[at] for name, at in where.items()},
            )
        )
    return rows
