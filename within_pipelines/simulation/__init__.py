"""What would an agency's exports look like if we knew the truth behind them?

A simulated agency writes export files in the formats of Google Ads, Meta Ads Manager and TikTok Ads Manager, ugly parts
included, from figures whose causes it planted: dated incidents, a drift date, declining accounts, words that help or hurt, a
segment that is treated unfairly, conversions that arrive late. `truth.json` says what was planted. Every draw is keyed by seed,
account and block of days, so equal specs give equal bytes and a day added later equals the same day of a longer history."""

from within_pipelines.simulation.agency import LandingNotEmptyError, write_agency, write_next_day
from within_pipelines.simulation.lag import ConversionLag
from within_pipelines.simulation.planted import UnfairSegment
from within_pipelines.simulation.spec import AgencySpec, AgencySummary
from within_pipelines.simulation.truth import AccountTruth, Degradation, Incident, Truth, UglyRow, load_truth
from within_pipelines.simulation.words import WordEffect

__all__ = [
    "AccountTruth",
    "AgencySpec",
    "AgencySummary",
    "ConversionLag",
    "Degradation",
    "Incident",
    "LandingNotEmptyError",
    "Truth",
    "UglyRow",
    "UnfairSegment",
    "WordEffect",
    "load_truth",
    "write_agency",
    "write_next_day",
]
