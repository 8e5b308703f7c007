"""Write down and read back what was planted, so that a test or a person can check what the models find."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from within_pipelines.exceptions import SchemaError
from within_pipelines.files import write_text
from within_pipelines.simulation.lag import ConversionLag
from within_pipelines.simulation.planted import UnfairSegment
from within_pipelines.simulation.spec import AgencySpec
from within_pipelines.simulation.words import WordEffect

FORMAT = 1


@dataclass(frozen=True, slots=True)
class AccountTruth:
    """Who an account is; `account_id` as the folder of its exports names it."""

    platform: str
    account_id: str
    name: str
    currency: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Incident:
    """A sudden change: `metric` was multiplied by `factor` on the days `first_day`..`last_day`.

    `metric` is spend (delivery: impressions and clicks move along), ctr, cvr, cpc, conversions (a tracking outage: none are
    recorded) or feed (these days' rows are missing from the daily exports until the day after `last_day`)."""

    platform: str
    account_id: str
    metric: str
    factor: float
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Degradation:
    """Conversions per spend fell gradually by `depth` between `first_day` and `lowest_day`, and were back at `last_day`.

    From `warning_day` on the click-through rate sagged and clicks got dearer."""

    platform: str
    account_id: str
    depth: float
    warning_day: date
    first_day: date
    lowest_day: date
    recovery_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class UglyRow:
    """A row that is bad on purpose: file below the landing folder, 1-based line, reason."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything that was planted up to `last_day`."""

    spec: AgencySpec  # as first written; `last_day` moves on when days are added
    last_day: date
    drift_date: date
    accounts: tuple[AccountTruth, ...]
    incidents: tuple[Incident, ...]
    degraded: tuple[Degradation, ...]
    word_effects: tuple[WordEffect, ...]
    unfair_segment: UnfairSegment
    conversion_lag: tuple[ConversionLag, ...]
    ugly_rows: tuple[UglyRow, ...]
    duplicate_files: tuple[str, ...]

    @property
    def first_day(self) -> date:
        """The first day with figures."""
        return self.spec.first_day

    @property
    def first_daily_day(self) -> date:
        """The first day that came as a daily export."""
        return self.spec.first_daily_day


def save_truth(truth: Truth, path: Path) -> None:
    """Write `truth` as JSON with sorted keys."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "first_day": truth.first_day,
        "first_daily_day": truth.first_daily_day,
        **asdict(truth),
    }
    content["conversion_lag"] = [
        asdict(lag) | {"known_share_by_age": [round(lag.known_share(age), 4) for age in range(truth.spec.restatement_days)]}
        for lag in truth.conversion_lag
    ]
    write_text(path, json.dumps(content, indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n")


def load_truth(path: Path) -> Truth:
    """Read what `save_truth` wrote.

    Raises `SchemaError` when the file is not a truth file of this format, `FileNotFoundError` when there is none."""
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        found = content["format"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SchemaError(f"{path} is not the truth of a simulated agency ({error!r}); simulate again.") from error
    if found != FORMAT:
        raise SchemaError(f"{path} has truth format {found!r}, this version reads {FORMAT}; simulate again.")
    try:
        lag_fields = ("platform", "median_days", "sigma")
        unfair = content["unfair_segment"]
        return Truth(
            spec=AgencySpec(**_with_days(content["spec"])),
            last_day=date.fromisoformat(content["last_day"]),
            drift_date=date.fromisoformat(content["drift_date"]),
            accounts=tuple(AccountTruth(**entry) for entry in content["accounts"]),
            incidents=tuple(Incident(**_with_days(entry)) for entry in content["incidents"]),
            degraded=tuple(Degradation(**_with_days(entry)) for entry in content["degraded"]),
            word_effects=tuple(WordEffect(**entry) for entry in content["word_effects"]),
            unfair_segment=UnfairSegment(**(unfair | {"ages": tuple(unfair["ages"])})),
            conversion_lag=tuple(ConversionLag(**{k: entry[k] for k in lag_fields}) for entry in content["conversion_lag"]),
            ugly_rows=tuple(UglyRow(**entry) for entry in content["ugly_rows"]),
            duplicate_files=tuple(content["duplicate_files"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(f"{path} is an incomplete or edited truth file ({error!r}); simulate again.") from error


def _with_days(entry: dict[str, Any]) -> dict[str, Any]:
    # `drift_day` of the spec is a number of days.
    days = {name for name in entry if name == "end" or (name.endswith("_day") and name != "drift_day")}
    return {name: date.fromisoformat(value) if name in days else value for name, value in entry.items()}
