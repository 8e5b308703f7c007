"""Whose row is it: account, campaign, ad group, ad."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from within_pipelines.ingest.accounts import AccountsFile, plain_account
from within_pipelines.ingest.dialects import ENTITY_LEVELS
from within_pipelines.ingest.draft import Draft
from within_pipelines.ingest.layout import Layout, Part
from within_pipelines.ingest.parts import only_value, part_text

_ROUNDED = r"^\d(\.\d+)?[eE]\+\d+$"
_EXPORT_AGAIN = "a spreadsheet rounded this id; export again and do not save it from the spreadsheet"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known about a file from where it lies."""

    accounts: AccountsFile
    folder_account: str | None
    latest: datetime  # nothing can have happened after this moment

    @property
    def account(self) -> str | None:
        """The account of rows that name none."""
        return self.folder_account or self.accounts.only


def identify(draft: Draft, layout: Layout, around: Surroundings) -> None:
    """Fill platform, account_id, campaign_id, ad_group_id and ad_id."""
    draft.constants["platform"] = layout.platform
    _account(draft, layout.account, around.account)
    single = {level: part.columns[0] for level, part in layout.entities.items() if len(part.columns) == 1 and not part.derived_from_name}
    numbers = draft.frame.select(pl.col(str(at)).cast(pl.Int64, strict=False).null_count().alias(level) for level, at in single.items())
    for level in ENTITY_LEVELS:
        name, part = f"{level}_id", layout.entities.get(level)
        if part is None:
            draft.constants[name] = ""
        elif part.constant is not None:
            draft.constants[name] = part.constant
        elif level in single and numbers.item(0, level) == 0:
            # Digits alone need no cleaning.
            draft.columns[name] = draft.frame.get_column(str(single[level])).alias(name)
        else:
            _entity(draft, name, level, part)


def _account(draft: Draft, part: Part | None, fallback: str | None) -> None:
    if part is None:
        draft.constants["account_id"] = fallback or ""
        return
    only = only_value(draft.frame, part)
    if only:
        draft.constants["account_id"] = plain_account(only)
        if re.match(_ROUNDED, only):
            draft.blame(np.ones(draft.height, dtype=bool), "damaged_id", _EXPORT_AGAIN, part.columns[0] if part.columns else None)
        return
    text = part_text(part).str.strip_prefix("act_")
    digits = text.str.replace_all("-", "", literal=True)
    plain = pl.when(digits.str.contains(r"^\d+$")).then(digits).otherwise(text)
    filled = pl.when(plain == "").then(pl.lit(fallback or "")).otherwise(plain)
    draft.columns["account_id"] = draft.frame.select(filled.alias("account_id")).to_series()
    _refuse_blank(draft, "account_id", "account", part)
    _refuse_rounded(draft, "account_id", part)


def _entity(draft: Draft, name: str, level: str, part: Part) -> None:
    draft.columns[name] = draft.frame.select(part_text(part).alias(name)).to_series()
    if part.columns:
        _refuse_blank(draft, name, level, part)
        if not part.derived_from_name:
            _refuse_rounded(draft, name, part)


def _refuse_blank(draft: Draft, name: str, level: str, part: Part) -> None:
    blank = draft.columns[name] == ""
    if blank.any():
        draft.blame(blank.to_numpy(), "missing_id", f"the {level.replace('_', ' ')} has no id", part.columns[0] if part.columns else None)


def _refuse_rounded(draft: Draft, name: str, part: Part) -> None:
    rounded = draft.columns[name].str.contains(_ROUNDED)
    if rounded.any():
        draft.blame(rounded.fill_null(False).to_numpy(), "damaged_id", _EXPORT_AGAIN, part.columns[0] if part.columns else None)
