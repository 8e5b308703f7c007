"""What every benchmark shares: arguments, CPU time of a function, here or in a fresh process, a table, a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parent.parent


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="folder of the public data")
    parser.add_argument("--test-data", type=Path, default=None, help="folder of data that nothing is fitted on")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, default=None, help="write flat metric names and numbers here")
    parser.add_argument("--repeats", type=int, default=3)
    return parser


def child(code: str, *argv: str, environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run Python code in a fresh process: CPU seconds (children included), peak resident GB, and what it printed as JSON last."""
    wrapper = (
        "import json, resource, sys\n"
        "result = {}\n" + code + "\n"
        "u = resource.getrusage(resource.RUSAGE_SELF)\n"
        "c = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "result.setdefault('cpu', u.ru_utime + u.ru_stime + c.ru_utime + c.ru_stime)\n"
        "result['peak_gb'] = max(u.ru_maxrss, c.ru_maxrss) / 1e6\n"
        "print('RESULT', json.dumps(result))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", wrapper, *argv],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
        cwd=REPOSITORY,
    )
    if done.returncode != 0:
        raise SystemExit(f"a measured process failed:\n{done.stderr[-3000:]}")
    line = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")][-1]
    return json.loads(line.removeprefix("RESULT "))


def own_cpu() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(function):
    """(result, CPU seconds)."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def middle(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)


def write_json(path: Path | None, metrics: dict[str, float]) -> None:
    """Write flat metrics when a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(metrics, indent=1, sort_keys=True))
