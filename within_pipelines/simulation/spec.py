"""Say how large the simulated agency is and what came of writing it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from within_pipelines.exceptions import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencySpec:
    """What to simulate. Equal specs give byte-equal files, and a longer history contains the shorter one.

    `end` is the last day with figures. The last `daily_days` days come as one export a day, each restating the trailing
    `restatement_days` days as they were known that morning; all days before come in one backfill file with final values.
    `drift_day` counts days from the first one (0-based): from then on some words work differently. `drift_strength` multiplies how far
    their effects move (0: they stay).

    >>> spec = AgencySpec(accounts=2, days=90, end=date(2026, 6, 30))
    >>> spec.first_day.isoformat(), spec.first_daily_day.isoformat()
    ('2026-04-02', '2026-05-02')
    """

    end: date
    accounts: int = 24
    days: int = 200
    seed: int = 7
    daily_days: int = 60
    restatement_days: int = 14
    ugly: bool = True
    drift_day: int = 170
    drift_strength: float = 1.0

    def __post_init__(self) -> None:
        if self.accounts < 1 or self.days < 1 or self.restatement_days < 1:
            raise SettingsError(
                f"An agency of {self.accounts} accounts, {self.days} days, {self.restatement_days} restated days cannot be "
                "simulated; each must be at least 1."
            )
        if not 0 <= self.drift_strength <= 10:
            raise SettingsError(f"drift_strength is {self.drift_strength}; give 0 to 10, of which 1 is the ordinary drift.")
        if self.seed < 0:
            raise SettingsError(f"The seed is {self.seed}; give a whole number from 0 on.")
        if not 0 <= self.daily_days <= self.days:
            raise SettingsError(f"daily_days is {self.daily_days}; give 0 to {self.days}, the number of simulated days.")
        if 0 < self.daily_days < self.restatement_days:
            raise SettingsError(
                f"daily_days is {self.daily_days}, below the {self.restatement_days} days that each export restates; "
                "give 0 or at least restatement_days, else continuing a day would not equal a longer history."
            )

    @property
    def first_day(self) -> date:
        """The first day with figures."""
        return self.end - timedelta(days=self.days - 1)

    @property
    def first_daily_day(self) -> date:
        """The first day that comes as a daily export; the day after `end` when there is only a backfill."""
        return self.end - timedelta(days=self.daily_days - 1)

    @property
    def drift_date(self) -> date:
        """The first day on which the changed word effects hold."""
        return self.first_day + timedelta(days=self.drift_day)


@dataclass(frozen=True, slots=True)
class AgencySummary:
    """What was written: export files (without accounts file and truth), their data rows, and where the truth is."""

    files: int
    rows: int
    accounts: int
    first_day: date
    last_day: date
    truth_path: Path
