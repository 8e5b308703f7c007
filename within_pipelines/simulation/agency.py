"""Write the simulated agency's export files, and continue them day by day."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from within_pipelines.exceptions import WithinError
from within_pipelines.files import TEMPORARY_PREFIX, write_bytes
from within_pipelines.simulation.client import Client, ExportFile
from within_pipelines.simulation.lag import LAGS
from within_pipelines.simulation.planted import UNFAIR
from within_pipelines.simulation.spec import AgencySpec, AgencySummary
from within_pipelines.simulation.truth import AccountTruth, Degradation, Incident, Truth, UglyRow, load_truth, save_truth
from within_pipelines.simulation.words import Copywriter

TRUTH_FILE = "truth.json"
ACCOUNTS_FILE = "accounts.yaml"


class LandingNotEmptyError(WithinError, FileExistsError):
    """The landing folder already holds exports that the simulator would have to mix with its own."""


def write_agency(landing: Path, spec: AgencySpec, *, progress: Callable[[int, int], None] | None = None) -> AgencySummary:
    """Write the agency's exports below `landing`, and what was planted to `truth.json` beside it.

    Everything goes to a temporary folder first and is moved into place at the end, so a killed run leaves no half agency and
    can be run again. `progress` is called with (accounts done, accounts). Equal specs give byte-equal files.

    Raises `LandingNotEmptyError` when `landing` already holds other files where the agency's would go."""
    truth_path = landing.parent / TRUTH_FILE
    taken = sorted(path.name for path in landing.iterdir() if not path.name.startswith(".")) if landing.exists() else []
    if taken and not _was_interrupted(truth_path, spec):
        raise LandingNotEmptyError(
            f"{landing} already holds {', '.join(taken[:3])}{', ...' if len(taken) > 3 else ''}; a simulated agency needs a "
            "folder of its own. Give an empty or new folder, or add a day to the agency that is there with `within simulate --next-day`."
        )
    landing.parent.mkdir(parents=True, exist_ok=True)
    staging = landing.parent / f"{TEMPORARY_PREFIX}{landing.name}"
    if staging.exists():  # left by a killed run
        shutil.rmtree(staging)
    tally = _Tally(spec, spec.end)
    writer = Copywriter(spec.seed, strength=spec.drift_strength)
    try:
        for index in range(spec.accounts):
            client = Client(spec, index, spec.days - 1, writer)
            (staging / client.folder).mkdir(parents=True)
            for file in _history(client):
                (staging / file.path).write_bytes(file.content)
                tally.add(file)
            tally.close(client)
            if progress is not None:
                progress(index + 1, spec.accounts)
        (staging / ACCOUNTS_FILE).write_text(_accounts_yaml(tally.accounts), encoding="utf-8")
        save_truth(tally.truth(writer), truth_path)
        _move_into_place(staging, landing)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return tally.summary(truth_path)


def write_next_day(landing: Path, truth_path: Path) -> AgencySummary:
    """Add one day to the agency that `truth_path` describes: the next daily exports, as a longer history would have them.

    The truth moves on last, so a killed call is simply repeated. The summary counts what this call wrote.

    Raises `FileNotFoundError` when there is no truth file, `SchemaError` when it is not one."""
    before = load_truth(truth_path)
    spec = before.spec
    day = before.last_day + timedelta(days=1)
    last = (day - spec.first_day).days
    tally = _Tally(spec, day)
    tally.ugly_rows.extend(before.ugly_rows)
    tally.duplicate_files.extend(before.duplicate_files)
    writer = Copywriter(spec.seed, strength=spec.drift_strength)
    for index in range(spec.accounts):
        client = Client(spec, index, last, writer)
        for file in _one_day(client):
            write_bytes(landing / file.path, file.content)
            tally.add(file)
        tally.close(client)
    save_truth(tally.truth(writer), truth_path)
    return replace(tally.summary(truth_path), first_day=day)


def _history(client: Client) -> Iterator[ExportFile]:
    yield client.creatives()
    if client.first_daily > 0:
        yield client.backfill()
    for morning in range(client.first_daily, client.last + 1):
        yield from client.daily(morning)
    if client.has_breakdown():
        yield client.breakdown()


def _one_day(client: Client) -> Iterator[ExportFile]:
    new = client.new_creatives()
    if new is not None:
        yield new
    yield from client.daily(client.last)
    if client.has_breakdown():
        yield client.breakdown()


class _Tally:
    """Counts what was written and collects what was planted."""

    def __init__(self, spec: AgencySpec, last_day: date) -> None:
        self.spec = spec
        self.last_day = last_day
        self.files = self.rows = 0
        self.accounts: list[AccountTruth] = []
        self.incidents: list[Incident] = []
        self.degraded: list[Degradation] = []
        self.ugly_rows: list[UglyRow] = []
        self.duplicate_files: list[str] = []

    def add(self, file: ExportFile) -> None:
        self.files += 1
        self.rows += file.rows
        self.ugly_rows.extend(file.ugly_rows)
        if file.duplicate:
            self.duplicate_files.append(file.path)

    def close(self, client: Client) -> None:
        self.accounts.append(client.truth())
        self.incidents.extend(client.incidents())
        self.degraded.extend(client.degraded())

    def truth(self, writer: Copywriter) -> Truth:
        return Truth(
            spec=self.spec,
            last_day=self.last_day,
            drift_date=self.spec.drift_date,
            accounts=tuple(self.accounts),
            incidents=tuple(self.incidents),
            degraded=tuple(self.degraded),
            word_effects=writer.effects,
            unfair_segment=UNFAIR,
            conversion_lag=tuple(LAGS.values()),
            ugly_rows=tuple(self.ugly_rows),
            duplicate_files=tuple(self.duplicate_files),
        )

    def summary(self, truth_path: Path) -> AgencySummary:
        return AgencySummary(self.files, self.rows, len(self.accounts), self.spec.first_day, self.last_day, truth_path)


def _accounts_yaml(accounts: Iterable[AccountTruth]) -> str:
    import yaml

    entries = {a.account_id: {"currency": a.currency, "timezone": a.timezone, "name": a.name} for a in accounts}
    text: str = yaml.safe_dump(entries, allow_unicode=True, sort_keys=True)
    return text


def _was_interrupted(truth_path: Path, spec: AgencySpec) -> bool:
    """Whether the truth beside the landing folder is of this very agency, so that its files may be there in part."""
    if not truth_path.exists():
        return False
    truth = load_truth(truth_path)
    return truth.spec == spec and truth.last_day == spec.end


def _move_into_place(staging: Path, landing: Path) -> None:
    """Rename the finished folder; where the landing folder has to stay, rename child by child."""
    if not landing.exists() or not any(landing.iterdir()):
        # Renaming over an empty folder is one step.
        staging.replace(landing)
        return
    for child in sorted(staging.iterdir()):
        target = landing / child.name
        if target.exists():
            missing = [f for f in child.rglob("*") if f.is_file() and not (target / f.relative_to(child)).exists()]
            if missing:
                raise LandingNotEmptyError(
                    f"{target} is not what this simulation would write ({missing[0].name} is missing); move it away and simulate again."
                )
        else:
            child.rename(target)
