"""Run benchmarks and write their tables to docs/benchmarks.md, dated, with the hash of the data and the command.

    python benchmarks/document.py ad_score account_health anomaly

Each entry is a benchmark with its options; what it printed is kept below data/cache/benchmarks, and --reuse takes what is there instead
of running again. --add NAME keeps an output that was printed elsewhere by the same command: --printed FILE, --numbers FILE and, where it
was not today or not this code, --day and --commit, and a --note."""

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
    "ad_score_minilm": ("upworthy_packages.parquet",),
    "ad_score_words": ("upworthy_packages.parquet",),
    "ad_score_cost": ("upworthy_packages.parquet",),
    "ad_score_cost_mpnet": ("upworthy_packages.parquet",),
    "account_health": ("adwords_daily.csv.gz", "online_advertising.csv"),
    "anomaly": ("nab",),
    "severity": ("nab", "adwords_daily.csv.gz"),
    "fairness": ("facebook_conversions.csv",),
    "robustness": ("upworthy_packages.parquet", "adwords_daily.csv.gz"),
    "label_noise": ("upworthy_packages.parquet", "adwords_daily.csv.gz"),
    "drift": (),  # made by the benchmark itself
    "drift_large": (),
    "alerts": (),
    "bulk": (),
}
# Entries that are a script of another name with options of their own, and what they add to its page.
SCRIPTS = {
    "ad_score_minilm": "ad_score",
    "ad_score_words": "ad_score",
    "ad_score_cost": "ad_score",
    "ad_score_cost_mpnet": "ad_score",
    "drift_large": "drift",
}
OPTIONS: dict[str, tuple[str, ...]] = {
    "drift": ("--runs", "200", "--evidently-runs", "40", "--joint-runs", "60"),
    "drift_large": ("--large", "--runs", "0", "--joint-runs", "0"),
    "alerts": ("--agencies", "3"),
    "label_noise": ("--repeats", "2"),
    "ad_score_minilm": ("--encoder", "all-MiniLM-L6-v2"),
    "ad_score_words": ("--encoder", "none"),
    "ad_score_cost": ("--encoder", "all-MiniLM-L6-v2", "--cost"),
    "ad_score_cost_mpnet": ("--encoder", "all-mpnet-base-v2", "--cost"),
    # A million ads: `ad_score.py --cost --rows 1000000`.
    "bulk": ("--only", "account_health", "anomaly"),
}
SAID = {
    "ad_score_minilm": "The same as `ad_score`, with the encoder that an install with the extra `text` takes.",
    "ad_score_words": "The same as `ad_score`, without an encoder: words, text statistics and trees alone.",
    "ad_score_cost": "What answers cost with the encoder of the extra `text`: single answers to new and to remembered texts, ONNX Runtime\n"
    "beside torch (`onnx_times_torch_<texts>`: how many times as fast, processor time, paired), 50,000 ads in bulk. Times on the clock\n"
    "(`_ms_p50`, `_ms_p99`) hang on what else the machine does; processor time (`cpu`) hardly does.",
    "ad_score_cost_mpnet": "The same with the encoder of the extra `text-large`.",
    "drift_large": "The speed of `drift` up to ten million rows, without the simulation.",
}
# What answers cost is measured by an entry of its own: beside the quality it would be that of a machine at work.
WITHOUT_COST = ("ad_score", "ad_score_minilm", "ad_score_words")


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
    return [f"benchmarks/{SCRIPTS.get(name, name)}.py", "--seed", str(seed), *OPTIONS.get(name, ())]


def commit_now() -> str:
    """The commit that runs, and whether files differ from it."""
    told = [
        subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=REPOSITORY).stdout.strip()
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    ]
    return told[0] + (" with changes" if told[0] and told[1] else "")


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


def keep(
    name: str,
    printed: str,
    numbers: dict[str, float],
    *,
    data: Path,
    seed: int,
    day: str | None = None,
    commit: str | None = None,
    note: str = "",
) -> None:
    """Write one file with everything, complete or not at all."""
    stamp = {"name": name, "seed": seed, "day": day or datetime.now(tz=UTC).date().isoformat(), "data": data_hash(data, FILES[name])}
    stamp |= {"commit": commit or commit_now(), "note": note}
    temporary = KEPT / f"{name}.kept.tmp"
    temporary.write_text(json.dumps({**stamp, "printed": printed, "numbers": numbers}))
    temporary.replace(KEPT / f"{name}.kept.json")


def section(name: str) -> str:
    """One benchmark's part of the page, from what was kept of its run."""
    kept = json.loads((KEPT / f"{name}.kept.json").read_text())
    title = SAID.get(name) or (REPOSITORY / "benchmarks" / f"{name}.py").read_text().split('"""')[1].strip()
    measured_on = f"data SHA-256 `{kept['data'][:16]}`" if FILES[name] else "simulated data"
    of = f", commit `{kept['commit']}`" if kept.get("commit") else ""
    printed = kept["printed"].split("\nCost ")[0].rstrip() if name in WITHOUT_COST else kept["printed"]
    lines = [
        f"## {name}",
        "",
        title,
        "",
        f"`python {' '.join(command_of(name, kept['seed']))}`, {kept['day']}{of}, {measured_on}, {len(kept['numbers'])} numbers.",
        *([kept["note"]] if kept.get("note") else []),
        "",
        "```text",
        *(line.rstrip() for line in printed.splitlines()),
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
    parser.add_argument("--add", choices=sorted(FILES), help="keep an output that was printed elsewhere by this entry's command")
    parser.add_argument("--printed", type=Path, help="with --add: what was printed")
    parser.add_argument("--numbers", type=Path, help="with --add: its --json file")
    parser.add_argument("--day", help="with --add: the day of the run")
    parser.add_argument("--commit", help="with --add: the commit that ran")
    parser.add_argument("--note", default="", help="with --add: what else a reader should know of the run")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    if options.add:
        keep(
            options.add,
            options.printed.read_text(),
            json.loads(options.numbers.read_text()),
            data=options.data.absolute(),
            seed=options.seed,
            day=options.day,
            commit=options.commit,
            note=options.note,
        )
        options.names, options.reuse = [options.add], True
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
