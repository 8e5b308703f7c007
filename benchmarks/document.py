"""Run benchmarks and write their tables to docs/benchmarks.md, dated, with the hash of the data and the command.

    python benchmarks/document.py ad_score account_health anomaly

Each benchmark's output is kept below data/cache/benchmarks; --reuse takes what is there instead of running again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from _common import REPOSITORY, arguments

KEPT = REPOSITORY / "data" / "cache" / "benchmarks"
FILES = {
    "ad_score": ("upworthy_packages.parquet",),
    "account_health": ("adwords_daily.csv.gz", "online_advertising.csv"),
    "anomaly": ("nab",),
    "fairness": ("facebook_conversions.csv",),
    "robustness": ("upworthy_packages.parquet", "adwords_daily.csv.gz"),
    "label_noise": ("upworthy_packages.parquet", "adwords_daily.csv.gz"),
    "drift": (),  # made by the benchmark itself
}
OPTIONS: dict[str, tuple[str, ...]] = {"drift": ("--runs", "60"), "label_noise": ("--repeats", "2")}


def data_hash(folder: Path, names: tuple[str, ...]) -> str:
    """SHA-256 over the names and contents of the files that a benchmark reads."""
    digest = hashlib.sha256()
    for name in names:
        entry = folder / name
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def command_of(name: str, seed: int) -> list[str]:
    """What is run, and said to have been run."""
    return [f"benchmarks/{name}.py", "--seed", str(seed), *OPTIONS.get(name, ())]


def run(name: str, *, data: Path, seed: int) -> None:
    """Run one benchmark and keep what it printed, its numbers, and what they were measured on."""
    scratch = KEPT / f"{name}.json.tmp"
    done = subprocess.run(
        [sys.executable, *command_of(name, seed), "--data", str(data), "--json", str(scratch)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    if done.returncode != 0:
        raise SystemExit(f"benchmarks/{name}.py failed:\n{done.stderr[-3000:]}")
    keep(name, done.stdout, json.loads(scratch.read_text()), data=data, seed=seed)
    scratch.unlink()


def keep(name: str, printed: str, numbers: dict[str, float], *, data: Path, seed: int) -> None:
    """Write one file with everything, complete or not at all."""
    stamp = {"name": name, "seed": seed, "day": datetime.now(tz=UTC).date().isoformat(), "data": data_hash(data, FILES[name])}
    temporary = KEPT / f"{name}.kept.tmp"
    temporary.write_text(json.dumps({**stamp, "printed": printed, "numbers": numbers}))
    temporary.replace(KEPT / f"{name}.kept.json")


def section(name: str) -> str:
    """One benchmark's part of the page, from what was kept of its run."""
    kept = json.loads((KEPT / f"{name}.kept.json").read_text())
    title = (REPOSITORY / "benchmarks" / f"{name}.py").read_text().split('"""')[1].strip()
    measured_on = f"data SHA-256 `{kept['data'][:16]}`" if FILES[name] else "simulated data"
    lines = [
        f"## {name}",
        "",
        title,
        "",
        f"`python {' '.join(command_of(name, kept['seed']))}`, {kept['day']}, {measured_on}, {len(kept['numbers'])} numbers.",
        "",
        "```text",
        *(line.rstrip() for line in kept["printed"].splitlines()),
        "```",
        "",
    ]
    return "\n".join(lines)


def written(page: Path) -> dict[str, str]:
    """The parts that the page has already, by benchmark."""
    if not page.is_file():
        return {}
    parts = page.read_text().split("\n## ")[1:]
    return {part.split("\n", 1)[0]: f"## {part}".rstrip("\n") + "\n" for part in parts}


def main() -> None:
    """Run what is asked for, write its parts of the page; the others stay as they are."""
    parser = arguments(__doc__ or "")
    parser.add_argument("names", nargs="*", default=sorted(FILES), help=f"any of {', '.join(FILES)}")
    parser.add_argument("--reuse", action="store_true", help="take kept outputs where there are any")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        if name not in FILES:
            raise SystemExit(f"{name} is no benchmark of this page; give any of {', '.join(FILES)}.")
        if not (options.reuse and (KEPT / f"{name}.kept.json").is_file()):
            print(f"running {name} ...", flush=True)
            run(name, data=options.data.absolute(), seed=options.seed)
    head = (
        "# Benchmarks\n\nWritten by `python benchmarks/document.py`. Brackets hold 95 % intervals. CPU seconds are those of a shared\n"
        "machine with two cores; quality does not depend on it.\n\n"
    )
    page = REPOSITORY / "docs" / "benchmarks.md"
    parts = written(page)
    parts |= {name: section(name) for name in options.names}
    shown = [name for name in FILES if name in parts]
    temporary = page.with_suffix(".tmp")
    temporary.write_text(head + "\n".join(parts[name] for name in shown))
    temporary.replace(page)
    print(f"wrote {page.relative_to(REPOSITORY)}: {', '.join(shown)}")


if __name__ == "__main__":
    main()
