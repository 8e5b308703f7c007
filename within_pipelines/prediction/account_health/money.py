"""What is known of the money behind a row: its currency, and whether all of it was reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# ISO 4217 for "no currency": what a table without a currency is kept as.
NO_CURRENCY = "XXX"


def currency_of(row: Mapping[str, Any]) -> str | None:
    """The currency's name; None where the table names none.

    >>> currency_of({"currency": "EUR"}), currency_of({"currency": "XXX"}), currency_of({})
    ('EUR', None, None)
    """
    named = row.get("currency")
    return None if named in (None, "", NO_CURRENCY) else str(named)


def money_reasons(row: Mapping[str, Any]) -> dict[str, str]:
    """Why there is no money at risk, or in what it is; empty when all is known.

    >>> money_reasons({"spend_28": 900.0, "spend_unknown_28": 3.0, "currency": "EUR"})
    {'money_at_risk_reason': 'spend was not reported on 3 of the last 28 days; complete it, or leave those rows out'}
    """
    days = row.get("spend_unknown_28") or 0
    if not (row["spend_28"] or 0.0) > 0:
        return {"money_at_risk_reason": "no spend was reported in 28 days"}
    if days:
        return {"money_at_risk_reason": f"spend was not reported on {days:.0f} of the last 28 days; complete it, or leave those rows out"}
    return {} if currency_of(row) else {"currency_reason": "the table names no currency; the amount is in that of its spend"}
