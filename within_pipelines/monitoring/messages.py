"""The text of a message about one or several alerts: what happened, what it costs, the likely cause, where to look, what closes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from within_pipelines.monitoring.alert_policy import RANK

# A message about more alerts than this names only the worst.
MOST_IN_FULL = 10
MOST_ACCOUNTS = 5


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert as a message shows it."""

    id: int
    occasion: str
    severity: str
    title: str
    detail: str
    closes_when: str
    likely_cause: str = ""
    accounts: Sequence[str] = ()
    money_at_risk: Mapping[str, float] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    occurrences: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"accounts": list(self.accounts), "money_at_risk": dict(self.money_at_risk), "links": dict(self.links)}


def money_text(money: Mapping[str, float]) -> str:
    """Amounts by currency, largest first within the text; never summed.

    >>> money_text({"EUR": 1200.4, "USD": 30.0})
    '1,200 EUR and 30 USD'
    """
    return " and ".join(f"{amount:,.0f} {currency}" for currency, amount in sorted(money.items(), key=lambda item: -item[1]))


def subject(lines: Sequence[AlertLine]) -> str:
    """One line: the worst alert, and how many more.

    >>> subject([AlertLine(1, "opened", "critical", "ingest failed", "", "")])
    '[critical] ingest failed'
    """
    if not lines:
        return "No open alerts"
    worst = max(lines, key=lambda line: RANK.get(line.severity, 0))
    mark = {"closed": "closed", "escalated": f"{worst.severity}, nobody has taken it"}.get(worst.occasion, worst.severity)
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return " ".join(f"[{mark}] {worst.title}{more}".split())


def body(lines: Sequence[AlertLine]) -> str:
    """Plain text, the worst first."""
    if not lines:
        return "Nothing is open."
    ordered = sorted(lines, key=lambda line: (-RANK.get(line.severity, 0), line.id))
    parts = [_paragraph(line) for line in ordered[:MOST_IN_FULL]]
    if len(ordered) > MOST_IN_FULL:
        parts.append(f"... and {len(ordered) - MOST_IN_FULL} more; `within alerts list` shows all.")
    return "\n\n".join(parts)


def _paragraph(line: AlertLine) -> str:
    title = " ".join(line.title.split())
    if line.occasion == "closed":
        return f"[closed] {title} (alert {line.id})"
    times = f", seen {line.occurrences} times" if line.occurrences > 1 else ""
    rows = [f"[{line.severity}] {title} (alert {line.id}{times})", line.detail]
    if line.money_at_risk:
        rows.append(f"At risk: {money_text(line.money_at_risk)}")
    if line.likely_cause:
        rows.append(f"Likely cause: {line.likely_cause}")
    if line.accounts:
        more = f" and {len(line.accounts) - MOST_ACCOUNTS} more" if len(line.accounts) > MOST_ACCOUNTS else ""
        rows.append(f"Accounts: {', '.join(line.accounts[:MOST_ACCOUNTS])}{more}")
    rows.append(f"Closes when: {line.closes_when}")
    rows += [f"{what}: {address}" for what, address in line.links.items()]
    return "\n".join(row for row in rows if row)
