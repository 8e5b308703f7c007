from __future__ import annotations

from io import StringIO

import polars as pl
from rich.console import Console

from within_pipelines.ingest import IngestReport, Pending
from within_pipelines.reporting import counting, open_console, print_frame, print_ingest, print_table, step_log


def terminal() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=100)


def plain(width: int = 100) -> Console:
    return Console(file=StringIO(), width=width)


def text(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_without_a_terminal_tables_are_120_wide() -> None:
    assert open_console().width == open_console(stderr=True).width == 120


def test_a_long_cell_loses_nothing() -> None:
    console = plain(width=20)
    print_table(console, ("", ""), [("z" * 50, "[bold]\x1b[2J")])
    shown = text(console)
    assert shown.count("z") == 50
    assert "\x1b" not in shown


def test_a_frame_is_printed_with_short_numbers() -> None:
    console = plain()
    print_frame(console, pl.DataFrame({"score": [71.23456], "rows": [12345], "none": [None]}))
    assert "71.23" in text(console)
    assert "12,345" in text(console)


def test_progress_is_a_bar_on_a_terminal_and_silent_elsewhere() -> None:
    with counting(plain(), "files") as progress:
        assert progress is None
    console = terminal()
    with counting(console, "files read") as progress:
        assert progress is not None
        progress(1, 4)
    assert "files read" in text(console)


def test_steps_are_lines_everywhere_and_a_terminal_shows_what_runs() -> None:
    for console in (plain(), terminal()):
        with step_log(console, clock=iter([10.0, 12.5]).__next__) as on_step:
            on_step("features", "started")
            on_step("features", "failed")
        assert "features" in text(console)
        assert "failed" in text(console)
        assert "2.5 s" in text(console)
        assert "started" not in text(console)


def test_an_ingest_shows_reasons_and_files() -> None:
    console = plain()
    report = IngestReport(
        3, 1, 1, 0, 10, 6, 0, 4, 1, (Pending("late.csv", "the file is still being written"),), (Pending("x.csv", "no day column"),)
    )
    rows = pl.DataFrame(
        {"reason": ["bad_date", "total_row", "total_row"], "detail": ["Day is 'x'", "a total", "a total"], "file_name": ["a.csv"] * 3}
    )  # fmt: skip
    print_ingest(console, report, rows)
    shown = text(console)
    assert shown.index("total_row") < shown.index("bad_date"), "the most frequent reason comes first"
    assert "no day column" in shown
    assert "left for later" in shown
