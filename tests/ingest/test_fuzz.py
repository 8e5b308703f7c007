"""Whatever the bytes: accepted and quarantined rows are the rows, and nothing is raised."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.conftest import NOW, check_law
from within_pipelines.ingest import Account, AccountsFile, Mapping, ReadResult, read_export
from within_pipelines.ingest.dialects import PLATFORMS, ROLES

ACCOUNTS = AccountsFile(accounts={"1": Account(currency="EUR")})
NAMES = {platform: sorted({name for names in roles.values() for name in names}) for platform, roles in ROLES.items()}
CELLS = st.one_of(
    st.sampled_from(
        ["", "--", " --", "1", "1,234", "1.234,5", "< 10%", "12.3%", "NaN", "inf", "-5", "9223372036854775808", "1e400", "EUR", "$",
         "2026-05-01",
         "01/02/2026", "31.12.2026", "2026-02-30", "Total: Ads", "Total", "123-456-7890", "6E+11", "a\nb", 'q"uote', '"', "ümlaut", "\0",
         "video", "=", "|",
         "+1", "−3", "1" * 40, "Mar 5, 2026", "leadgen", "actions:purchase", " "]
    ),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.dates().map(str),
)  # fmt: skip


def read(content: bytes, name: str = "export.csv", mapping: Mapping | None = None) -> ReadResult:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        result = read_export(path, landing=Path(folder), accounts=ACCOUNTS, mapping=mapping, ingested_at=NOW)
    check_law(result)
    return result


@st.composite
def exports(draw: st.DrawFn) -> tuple[str, bytes, tuple[int, int]]:
    """A platform, its file with cells of any kind below real column names, and how many rows it has at least and at most (a row of
    blank cells may count or not)."""
    platform = draw(st.sampled_from(PLATFORMS))
    dialect = ROLES[platform]
    wanted = ["date", "campaign_id", "ad_id", "impressions", "clicks", "spend", "conversions"]
    header = [draw(st.sampled_from(dialect[role])) for role in wanted if role in dialect and dialect[role] and draw(st.integers(0, 9))]
    header += draw(st.lists(st.sampled_from(NAMES[platform]), max_size=6))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=8))
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=draw(st.sampled_from(",;\t")), lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(header)
    writer.writerows(rows)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return (
        platform,
        buffer.getvalue().encode(encoding, errors="replace"),
        (sum(any(cell.strip() for cell in row) for row in rows), len(rows)),
    )


@given(exports())
@settings(max_examples=120, deadline=None)
def test_any_cells_below_real_headers_keep_the_law(export: tuple[str, bytes, tuple[int, int]]) -> None:
    platform, content, (least, most) = export
    result = read(content, f"{platform}/1/export.csv")
    if result.status == "ingested":
        assert least <= result.rows_in <= most


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_bytes_keep_the_law(content: bytes) -> None:
    read(content)


GOOD = b"""Day,Customer ID,Currency code,Campaign ID,Ad ID,Impr.,Clicks,Cost
2026-05-01,1,EUR,2,3,"1,100",5,1.5
2026-05-02,1,EUR,2,3,100,5,1.5
2026-05-03,1,EUR,2,3,100,5,"1,001.5"
"""


@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.sampled_from([b"", b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"-", b"9", b";"])), max_size=6
    ),
    st.integers(0, len(GOOD)),
)
@settings(max_examples=120, deadline=None)
def test_any_damage_to_a_good_file_keeps_the_law(damage: list[tuple[int, bytes]], length: int) -> None:
    content = bytearray(GOOD)
    for position, wrong in damage:
        content[position : position + 1] = wrong
    read(bytes(content[:length] if length % 2 else content))


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 10**6), st.decimals(0, 10**6, places=2)),
        min_size=1,
        max_size=30,
        unique_by=lambda r: r[0],
    )
)
@settings(max_examples=40, deadline=None)
def test_good_rows_are_all_accepted_with_their_sums(rows: list[tuple[int, int, object]]) -> None:
    text = "Day,Customer ID,Currency code,Ad ID,Impr.,Cost\n" + "".join(
        f'2026-05-01,1,EUR,{ad},"{n:,}","{cost:,}"\n' for ad, n, cost in rows
    )
    result = read(text.encode())
    facts = pl.DataFrame(result.facts)
    assert result.rows_accepted == len(rows)
    assert facts["impressions"].sum() == sum(n for _, n, _ in rows)
    assert facts["spend_micros"].sum() == sum(int(cost * 1_000_000) for _, _, cost in rows)  # type: ignore[operator]


MAPPING = Mapping.model_validate(
    {"platform": "shop", "account": {"constant": "a"}, "campaign": ["c", "e"], "date": {"month": "m", "day": "d", "year": 2026},
     "currency": "cur",
     "metrics": {"clicks": "n", "spend": "s"}, "breakdowns": {"b": "b"}, "creative": {"headline": "h"}, "ad": {"row_number": True}}
)  # fmt: skip


@given(st.lists(st.lists(CELLS, min_size=9, max_size=9), max_size=8))
@settings(max_examples=50, deadline=None)
def test_any_cells_through_a_mapping_keep_the_law(rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["c", "e", "m", "d", "cur", "n", "s", "b", "h"])
    writer.writerows(rows)
    read(buffer.getvalue().encode("utf-8", errors="replace"), mapping=MAPPING)
