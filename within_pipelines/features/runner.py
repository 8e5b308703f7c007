"""Run a feature function over whole accounts in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from within_pipelines.exceptions import SplitAccountError
from within_pipelines.features.knowledge import require_columns


def run_by_account(batches: Iterable[pl.DataFrame], function: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Apply `function` to each batch of whole accounts and stack the answers in the batches' order.

    A batch may hold one account or several; empty answers without columns are left out. Raises `SplitAccountError` when an account
    comes in more than one batch, because its windows would be cut there."""
    seen: set[tuple[str, str]] = set()
    answers: list[pl.DataFrame] = []
    for number, batch in enumerate(batches, start=1):
        require_columns(batch, ("platform", "account_id"), f"Batch {number}")
        accounts = set(batch.select("platform", "account_id").unique().iter_rows())
        if split := sorted(accounts & seen):
            raise SplitAccountError(
                f"Batch {number} continues {split[0][0]}/{split[0][1]}, which an earlier batch began (accounts cut so: {len(split)}); give "
                "whole accounts, as Lake.account_batches does, because windows across the cut would be silently wrong."
            )
        seen |= accounts
        answer = function(batch)
        if answer.width:
            answers.append(answer)
    return pl.concat(answers) if answers else pl.DataFrame()
