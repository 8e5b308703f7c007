"""In which currency and time zone are the account's numbers?"""

from __future__ import annotations

import polars as pl

from within_pipelines.ingest.decode import RefusedFileError
from within_pipelines.ingest.draft import Draft
from within_pipelines.ingest.identity import Surroundings
from within_pipelines.ingest.layout import Layout, Part, advice
from within_pipelines.ingest.parts import only_value, part_text

NO_CURRENCY = "XXX"


def denominate(draft: Draft, layout: Layout, around: Surroundings) -> None:
    """Fill currency and timezone.

    The currency comes from its column, else from the header, else from the accounts file. Raises `RefusedFileError` when no row has one, or
    when header and column disagree."""
    _timezone(draft, layout, around)
    if not layout.money:
        draft.constants["currency"] = NO_CURRENCY
    elif layout.currency is not None:
        _from_column(draft, layout.currency, layout.header_currency)
    elif layout.header_currency is not None:
        draft.constants["currency"] = layout.header_currency
    else:
        _from_accounts(draft, layout, around)


def _timezone(draft: Draft, layout: Layout, around: Surroundings) -> None:
    if layout.timezone is not None:
        draft.constants["timezone"] = layout.timezone
        return
    zones = {
        account: "UTC" if (known := around.accounts.get(account)) is None else known.timezone for account in draft.values("account_id")
    }
    if len(set(zones.values())) <= 1:
        draft.constants["timezone"] = next(iter(zones.values()), "UTC")
    else:
        draft.columns["timezone"] = draft.columns["account_id"].replace_strict(zones, return_dtype=pl.String).alias("timezone")


def _is_code(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isalpha()


def _from_column(draft: Draft, part: Part, header_currency: str | None) -> None:
    only = only_value(draft.frame, part)
    if only is not None and _is_code(only):
        draft.constants["currency"] = only.upper()
    else:
        draft.columns["currency"] = draft.frame.select(part_text(part).str.to_uppercase().alias("currency")).to_series()
    codes = draft.values("currency")
    others = [code for code in codes if _is_code(code) and code != header_currency]
    if header_currency is not None and others:
        raise RefusedFileError(
            "currency_conflict", f"the header says {header_currency}, the currency column {', '.join(others)}; export them apart"
        )
    wrong = [code for code in codes if not _is_code(code)]
    if wrong:
        rows = draft.columns["currency"].is_in(wrong).to_numpy()
        draft.blame(rows, "bad_currency", "wanted a three-letter currency code", part.columns[0] if part.columns else None)


def _from_accounts(draft: Draft, layout: Layout, around: Surroundings) -> None:
    codes = {account: None if (known := around.accounts.get(account)) is None else known.currency for account in draft.values("account_id")}
    lacking = [account for account, code in codes.items() if code is None]
    wanted = f"no currency for account {', '.join(lacking[:3])}; {advice(layout.platform, 'currency')}, or name it in landing/accounts.yaml"
    if lacking and len(lacking) == len(codes):
        raise RefusedFileError("missing_currency", wanted)
    if len(set(codes.values())) == 1:
        draft.constants["currency"] = next(iter(codes.values())) or NO_CURRENCY
        return
    if not codes:
        draft.constants["currency"] = NO_CURRENCY
        return
    accounts = draft.columns["account_id"]
    named = {account: code or NO_CURRENCY for account, code in codes.items()}
    draft.columns["currency"] = accounts.replace_strict(named, return_dtype=pl.String).alias("currency")
    if lacking:
        draft.blame(accounts.is_in(lacking).to_numpy(), "missing_currency", wanted)
