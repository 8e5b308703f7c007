"""Turn the bytes of a file into text, and text into rows of strings with the line that each row came from.

Most exports are clean, so polars splits them and a handful of counts prove that it lost nothing. When a count disagrees, the file is split
again line by line: slower, but a broken line then costs only itself."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.exceptions import UnreadableExportError

DELIMITERS = (",", "\t", ";")
# The header of a platform export stands below at most a few lines of title; a longer search would find headers in data.
HEADER_SEARCH_LINES = 40
MAX_RECORD_LINES = 200
# A .csv.gz that unpacks to more than this is taken for an attack or an accident.
MAX_UNPACKED_BYTES = 16 * 1024**3
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r")
_MAGIC = {
    b"PK\x03\x04": "an Excel workbook or zip archive; export or save it as CSV",
    b"%PDF": "a PDF document; export the report as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV",
}


class RefusedFileError(UnreadableExportError):
    """The file as a whole was refused; `reason` is the short code that the quarantine keeps."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


Rows = npt.NDArray[np.intp]  # positions of rows
Mask = npt.NDArray[np.bool_]  # one answer a row


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A line that cannot be split into the header's fields."""

    line: int
    reason: str
    detail: str
    raw: str


@dataclass(frozen=True, slots=True)
class Table:
    """The rows below a header: all strings, in columns named "0", "1", ...; an empty field is null."""

    header: tuple[str, ...]
    frame: pl.DataFrame
    lines: npt.NDArray[np.int64]  # 1-based line of the file for every row of `frame`
    broken: tuple[BrokenRow, ...]
    raw: Callable[[Rows], list[str]]  # text of the given rows as found
    delimiter: str

    @property
    def rows_in(self) -> int:
        """Rows that must end up accepted or quarantined."""
        return self.frame.height + len(self.broken)


def unpack(data: bytes, *, compressed: bool) -> bytes:
    """Undo gzip when the name says so; raises `RefusedFileError` for a damaged or absurdly large archive."""
    if not compressed:
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as archive:
            unpacked = archive.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RefusedFileError("damaged_archive", f"gzip cannot unpack the file ({error}); export it again") from error
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise RefusedFileError("damaged_archive", f"the file unpacks to more than {MAX_UNPACKED_BYTES} bytes; split the export")
    return unpacked


def to_utf8(data: bytes) -> bytes:
    r"""The text of a file as UTF-8 bytes with `\n` line ends and without byte-order mark.

    Known encodings: UTF-8, UTF-16 (with mark, or without one when every other byte is zero), and Windows-1252 / Latin-1 for text that is
    not UTF-8. Raises `RefusedFileError` when the bytes are no text at all.

    >>> to_utf8("Käufe\r\n3".encode("cp1252")).decode()
    'Käufe\n3'
    """
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise RefusedFileError("not_text", f"the file is {what}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # A file that was cut in the middle of a character loses only that.
        data = _decoded(data[: len(data) & ~1], "utf-16")
    elif _looks_like_utf16(data[:2000]):
        data = _decoded(data[: len(data) & ~1], "utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    data = data.removeprefix(b"\xef\xbb\xbf")
    head = data[:4000]
    control = len(head) - len(head.translate(None, _CONTROL))
    if control > len(head) // 50:
        raise RefusedFileError("not_text", f"{control} of the first {len(head)} bytes are control codes; give a CSV text export")
    if not data.isascii():
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            data = _decoded(data, "cp1252")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\n" not in data:
            data = data.replace(b"\r", b"\n")
    return data


def _decoded(data: bytes, encoding: str) -> bytes:
    try:
        return data.decode(encoding).encode("utf-8")
    except UnicodeError as error:
        raise RefusedFileError("wrong_encoding", f"neither UTF-8 nor {encoding} ({error}); save the file as UTF-8 CSV") from error


def _looks_like_utf16(head: bytes) -> bool:
    even, odd = head[0::2].count(0), head[1::2].count(0)
    return len(head) >= 8 and max(even, odd) > len(head) // 3 and min(even, odd) < len(head) // 20


def first_lines(text: bytes) -> list[str]:
    """The lines among which the header is searched."""
    lines = text[: 1 << 18].split(b"\n", HEADER_SEARCH_LINES)[:HEADER_SEARCH_LINES]
    return [line.decode("utf-8", errors="replace").rstrip("\r") for line in lines]


def split_line(line: str, delimiter: str) -> list[str]:
    """The fields of one line that holds no line break inside quotes.

    >>> split_line('a,"b,c"', ",")
    ['a', 'b,c']
    """
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except (csv.Error, StopIteration):
        return line.split(delimiter)


def split_rows(text: bytes, *, header: Sequence[str], header_index: int, delimiter: str) -> Table:
    """Split everything below line `header_index` (0-based) into the fields of `header`.

    Blank lines are no rows. A line with too few or too many fields becomes a `BrokenRow`."""
    start = 0
    for _ in range(header_index + 1):
        end = text.find(b"\n", start)
        if end < 0:
            start = len(text)
            break
        start = end + 1
    end = len(text)
    while end > start and text[end - 1] in b"\r\n":
        end -= 1
    body = text[start:end]
    first_line = header_index + 2
    if not body or body.isspace():
        return _no_rows(tuple(header), delimiter)
    table = _split_fast(body, tuple(header), first_line, delimiter)
    return table if table is not None else _split_by_line(body, tuple(header), first_line, delimiter)


def _no_rows(header: tuple[str, ...], delimiter: str) -> Table:
    frame = pl.DataFrame(schema={str(i): pl.String for i in range(len(header))})
    return Table(header, frame, np.empty(0, np.int64), (), lambda rows: [], delimiter)


def _split_fast(body: bytes, header: tuple[str, ...], first_line: int, delimiter: str) -> Table | None:
    width = len(header)
    if b"\n\n" in body or b"\r" in body or b"\0" in body or body.startswith(b"\n"):
        return None
    try:
        frame = pl.read_csv(
            body,
            has_header=False,
            schema={str(i): pl.String for i in range(width)},
            separator=delimiter,
            infer_schema=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if frame.height != body.count(b"\n") + 1:
        return None
    quoted = b'"' in body
    # A short line looks like a line whose last fields are empty; only the count of separators tells them apart.
    separators = frame.height * (width - 1)
    if (quoted and frame.get_column(str(width - 1)).null_count() and _outside_quotes(body, delimiter) != separators) or (
        not quoted and body.count(delimiter.encode()) != separators
    ):
        return None

    def raw(rows: Rows) -> list[str]:
        lines = body.split(b"\n")
        return [lines[row].decode("utf-8", errors="replace") for row in rows.tolist()]

    return Table(header, frame, np.arange(first_line, first_line + frame.height, dtype=np.int64), (), raw, delimiter)


def _outside_quotes(body: bytes, delimiter: str) -> int:
    codes = np.frombuffer(body, dtype=np.uint8)
    # The sum may wrap: only its parity matters.
    inside = np.cumsum(codes == ord('"'), dtype=np.uint8) & 1
    return int(np.count_nonzero((codes == ord(delimiter)) & (inside == 0)))


def _split_by_line(body: bytes, header: tuple[str, ...], first_line: int, delimiter: str) -> Table:
    lines = body.decode("utf-8", errors="replace").split("\n")
    width = len(header)
    columns: list[list[str | None]] = [[] for _ in header]
    numbers: list[int] = []
    raws: list[str] = []
    broken: list[BrokenRow] = []
    at = 0
    while at < len(lines):
        line = lines[at].rstrip("\r")
        if not line.strip():
            at += 1
            continue
        fields, used = _record(lines, at, delimiter, width)
        raw = "\n".join(lines[at : at + used])
        if fields is not None and len(fields) > width and not any(fields[width:]):
            fields = fields[:width]
        if fields is None:
            broken.append(BrokenRow(first_line + at, "malformed_row", "quotes open or close in the wrong place", raw))
        elif len(fields) != width:
            reason = "truncated_row" if len(fields) < width else "too_many_fields"
            broken.append(BrokenRow(first_line + at, reason, f"the row has {len(fields)} fields, the header {width}", raw))
        else:
            for column, field in zip(columns, fields, strict=True):
                column.append(field or None)
            numbers.append(first_line + at)
            raws.append(raw)
        at += used
    frame = pl.DataFrame({str(i): pl.Series(values, dtype=pl.String) for i, values in enumerate(columns)})
    return Table(
        header,
        frame,
        np.asarray(numbers, dtype=np.int64),
        tuple(broken),
        lambda rows: [raws[row] for row in rows.tolist()],
        delimiter,
    )


def _record(lines: list[str], at: int, delimiter: str, width: int) -> tuple[list[str] | None, int]:
    """Fields of the record that starts on line `at` and how many lines it takes; None when its quotes make no sense."""
    line = lines[at].rstrip("\r")
    if '"' not in line:
        return line.split(delimiter), 1
    text = line
    for used in range(1, min(MAX_RECORD_LINES, len(lines) - at) + 1):
        if used > 1:
            text += "\n" + lines[at + used - 1].rstrip("\r")
        # An open quote leaves an odd number of quotes behind, so there is no use in parsing before it closes.
        if used > 1 and text.count('"') % 2:
            continue
        try:
            # To the csv module a lone carriage return ends a line; here it is only a stray character.
            fields = next(csv.reader([text.replace("\r", " ")], delimiter=delimiter, strict=True))
        except (csv.Error, StopIteration):
            if used == 1:
                continue
            break
        if used == 1 or len(fields) == width:
            return fields, used
        break
    return None, 1
