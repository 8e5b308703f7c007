"""What an audit may cost, and what it did: a report that grows slow says so itself."""

from __future__ import annotations

# CPU seconds that one report may cost: the twelve of the three models, mostly much cheaper, stay within 90 on the demo.
REPORT_CPU_SECONDS = 20.0


def time_text(cpu_seconds: float) -> str:
    """What a report cost beside what it may cost; a warning above it.

    >>> time_text(3.21), time_text(40.0)
    ('3.2 CPU seconds, within the budget of 20', 'WARNING: 40.0 CPU seconds, above the budget of 20')
    """
    if cpu_seconds <= REPORT_CPU_SECONDS:
        return f"{cpu_seconds:.1f} CPU seconds, within the budget of {REPORT_CPU_SECONDS:g}"
    return f"WARNING: {cpu_seconds:.1f} CPU seconds, above the budget of {REPORT_CPU_SECONDS:g}"
