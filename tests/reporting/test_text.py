from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from within_pipelines.reporting import markdown_escaped, number_text, printable_text, status_text
from within_pipelines.stats import Status


def test_every_status_is_a_mark_and_words() -> None:
    assert [status_text(status) for status in Status] == ["✓ passed", "✗ failed", "? insufficient evidence"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234567, "0.1235"), (12345.6, "12,346"), (1e20, "1e+20"), (float("nan"), "nan"), (-3, "-3"), (False, "no"),
        (date(2026, 1, 2), "2026-01-02"), (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02 03:04+00:00"), (None, ""),
    ],
)  # fmt: skip
def test_numbers_are_short(value: object, text: str) -> None:
    assert number_text(value) == text


def test_a_name_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in printable_text("\x1b]0;owned\x07ad\u202e")
    assert printable_text("Größe é") == "Größe é"


def test_a_name_cannot_break_out_of_a_markdown_cell() -> None:
    assert markdown_escaped("a|b\n<script>[x](y)") == "a\\|b\\\\n\\<script\\>\\[x\\]\\(y\\)"
