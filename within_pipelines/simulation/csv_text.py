"""Write numbers and texts the way ad platforms put them into CSV files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from within_pipelines.simulation.draws import Array


@dataclass(frozen=True, slots=True)
class Export:
    """One export file: its lines, how many of them are data rows, and which (1-based line, reason) are bad on purpose."""

    lines: list[str]
    rows: int
    bad: tuple[tuple[int, str], ...] = ()


def quoted(text: str) -> str:
    r'''A CSV field, in quotes only where it needs them.

    >>> quoted('Brand, "always on"'), quoted("plain")
    ('"Brand, ""always on"""', 'plain')
    '''
    if any(sign in text for sign in ',"\n\r\t'):
        return '"' + text.replace('"', '""') + '"'
    return text


def grouped(number: int) -> str:
    """A whole number with thousands separators, in quotes where it has any.

    >>> grouped(1234), grouped(12)
    ('"1,234"', '12')
    """
    return f'"{number:,}"' if number >= 1000 else str(number)


def grouped_decimal(number: float, decimals: int = 2) -> str:
    """A number with thousands separators and fixed decimals, in quotes where it has separators.

    >>> grouped_decimal(1234.5), grouped_decimal(3.0, 0)
    ('"1,234.50"', '3')
    """
    text = f"{number:,.{decimals}f}"
    return f'"{text}"' if abs(number) >= 999.0 and "," in text else text


def german(field: str) -> str:
    """A grouped number as a German account writes it, in quotes when it has a comma.

    >>> german('"1,234.56"'), german('3.4%'), german('"1,234"'), german('7')
    ('"1.234,56"', '"3,4%"', '1.234', '7')
    """
    swapped = field.strip('"').translate(_SWAP)
    return f'"{swapped}"' if "," in swapped else swapped


_SWAP = str.maketrans(",.", ".,")


def day_texts(days: Array, start: date) -> list[str]:
    """ISO dates of days counted from `start`."""
    names = {day: (start + timedelta(days=day)).isoformat() for day in np.unique(days).tolist()}
    return [names[day] for day in days.tolist()]


def span(days: Array, start: date) -> tuple[date, date]:
    """First and last day of an export as dates; the start of the simulation twice when it has no row."""
    if len(days) == 0:
        return start, start
    return start + timedelta(days=int(days.min())), start + timedelta(days=int(days.max()))
