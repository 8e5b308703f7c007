"""Tables and progress on a terminal, and the same as plain lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from within_pipelines.reporting.text import number_text, printable_text

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

# Tables are laid out for this width where no terminal says otherwise.
PLAIN_WIDTH = 120


def open_console(*, stderr: bool = False) -> Console:
    """A console for stdout (or stderr): as wide as the terminal, `PLAIN_WIDTH` where there is none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False)


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text under column names; long cells go on in the next line and lose nothing."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable_text(cell)) for cell in row))
    console.print(table)


def print_frame(console: Console, frame: pl.DataFrame) -> None:
    """Print a polars frame, numbers shortened."""
    print_table(console, frame.columns, [[number_text(value) for value in row] for row in frame.iter_rows()])


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for (done, all): a bar on a terminal, silence elsewhere."""
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def step_log(console: Console, *, clock: Callable[[], float]) -> Iterator[Callable[[str, str], None]]:
    """A callback for (step, state): one line per finished step with its seconds, on a terminal also what runs now.

    `clock` gives seconds from any origin."""
    from rich.text import Text

    started: dict[str, float] = {}
    styles = {"succeeded": "green", "failed": "red", "skipped": "yellow"}
    status = console.status("starting") if console.is_terminal else None

    def on_step(name: str, state: str) -> None:
        if state == "started":
            started[name] = clock()
            if status is not None:
                status.update(Text(", ".join(started)))
            return
        now = clock()
        seconds = now - started.pop(name, now)
        console.print(Text(f"{name:<32} ").append(f"{state:<10}", style=styles.get(state, "")).append(f"{seconds:7.1f} s"))

    if status is None:
        yield on_step
        return
    with status:
        yield on_step
