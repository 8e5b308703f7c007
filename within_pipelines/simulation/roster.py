"""Fill the ad slots: which ad ran where, from when to when, with which text and true appeal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from within_pipelines.simulation.account import Account, AdGroup
from within_pipelines.simulation.draws import Stream, generator
from within_pipelines.simulation.words import SEGMENT_EFFECT, Copy, Copywriter

# What no text explains about an ad; with it, someone who knew all word effects would order about four pairs in five correctly.
AD_NOISE = 0.25
SHORTEST_RUN, LONGEST_RUN = 30, 95  # days
_ID_BASE = {"google_ads": 700_000_000_000, "meta_ads": 120_210_000_000_000_000, "tiktok_ads": 1_790_000_000_000_000_000}


@dataclass(frozen=True, slots=True)
class Ad:
    """One ad: where it ran, from `first` to before `stop` (days since the start), and the log-odds that it adds to a click."""

    group: AdGroup
    slot: int  # column in the account's table of figures
    first: int
    stop: int
    campaign_id: str
    ad_group_id: str
    ad_id: str
    ad_name: str
    copy: Copy
    noise: float

    @property
    def before(self) -> float:
        """Log-odds relative to the account's level, before the drift date."""
        return self.copy.before + SEGMENT_EFFECT[self.group.segment] + self.noise

    @property
    def after(self) -> float:
        """Log-odds relative to the account's level, from the drift date on."""
        return self.copy.after + SEGMENT_EFFECT[self.group.segment] + self.noise


def campaign_name(account: Account, campaign: int) -> str:
    """A name as people type them, comma and quotes included."""
    goals = ("Prospecting", "Retargeting", "Brand, always on", 'Launch "spring"')
    return f"{account.name} | {goals[(campaign - 1) % len(goals)]}"


def ad_group_name(group: AdGroup) -> str:
    """The ad group's name: its audience and its number."""
    return f"{group.segment} / {group.number}"


def roster(account: Account, writer: Copywriter, *, seed: int, days: int, drift_day: int) -> list[Ad]:
    """Every ad that starts within the first `days` days, by slot and start; a longer roster only adds ads to each slot."""
    ads: list[Ad] = []
    column = 0
    for group_number, group in enumerate(account.groups):
        for _ in range(group.slots):
            ads.extend(_slot_ads(account, writer, group, group_number, column, seed=seed, days=days, drift_day=drift_day))
            column += 1
    return ads


def _slot_ads(
    account: Account,
    writer: Copywriter,
    group: AdGroup,
    group_number: int,
    column: int,
    *,
    seed: int,
    days: int,
    drift_day: int,
) -> Iterator[Ad]:
    rng = generator(seed, Stream.SLOT, account.index, column)
    # The first ad is found in the middle of its run.
    first, number = 0, 0
    base = _ID_BASE[account.platform] + account.index * 10_000_000
    stop = int(rng.integers(8, LONGEST_RUN))
    while first < days:
        draws = generator(seed, Stream.AD, account.index, column, number)
        copy = writer.write(draws, account.platform, account.products, drifted=first >= drift_day)
        yield Ad(
            group=group,
            slot=column,
            first=first,
            stop=stop,
            campaign_id=str(base + group.campaign),
            ad_group_id=str(base + 1_000 + group_number),
            ad_id=str(base + 100_000 + column * 10_000 + number),
            ad_name=f"{copy.format} {column + 1}.{number + 1}",
            copy=copy,
            noise=float(draws.normal(0.0, AD_NOISE)),
        )
        first, number = stop, number + 1
        stop = first + int(rng.integers(SHORTEST_RUN, LONGEST_RUN))
