"""Single values as a person reads them: numbers, outcomes, and text that came from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime

from within_pipelines.stats import Estimate, Status

_MARKS = {Status.PASSED: "✓", Status.FAILED: "✗", Status.INSUFFICIENT: "?"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|~!$])")


def status_text(status: Status) -> str:
    """An outcome with its mark.

    >>> status_text(Status.INSUFFICIENT)
    '? insufficient evidence'
    """
    return f"{_MARKS[status]} {status.value.replace('_', ' ')}"


def number_text(value: object) -> str:
    """A value in few characters: four significant digits, whole numbers whole, days and times in ISO, nothing for None.

    >>> number_text(0.123456), number_text(1234567), number_text(None), number_text(True)
    ('0.1235', '1,234,567', '', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, date):
        return value.isoformat()
    return printable_text(str(value))


def interval_text(numbers: Mapping[str, float]) -> str:
    """A recorded metric: value and interval.

    >>> interval_text({"value": 0.71, "low": 0.68, "high": 0.74, "n": 120, "level": 0.95})
    '0.710 [0.680, 0.740]'
    """
    return str(Estimate(float(numbers["value"]), float(numbers["low"]), float(numbers["high"]), int(numbers["n"])))


def printable_text(text: str) -> str:
    r"""Text with every unprintable character escaped, so that a name in an export cannot steer a terminal.

    >>> printable_text("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def markdown_escaped(text: str) -> str:
    r"""Text that Markdown shows as it is, also inside a table.

    >>> markdown_escaped("a|b <i>")
    'a\\|b \\<i\\>'
    """
    return _MARKDOWN.sub(r"\\\1", printable_text(text))
