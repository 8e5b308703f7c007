"""One rule for every share that should be small."""

from __future__ import annotations

from within_pipelines.stats import Estimate, Status

# A pass needs evidence against a share of twice the limit: with fewer units not even a spotless sample has it.
CERTAIN_BELOW = 2.0


def share_status(share: Estimate | None, *, limit: float, minimum_units: int) -> Status:
    """Failed when the whole interval lies above `limit`; passed when the share lies at or below it and the interval excludes twice the
    limit; else insufficient evidence, as with fewer than `minimum_units` units. A pass whose interval reaches the limit warns.

    >>> share_status(Estimate(0.0, 0.0, 0.15, n=24), limit=0.1, minimum_units=12).value
    'passed'
    >>> share_status(Estimate(0.05, 0.0, 0.3, n=24), limit=0.1, minimum_units=12).value
    'insufficient_evidence'
    """
    if share is None or share.n < minimum_units:
        return Status.INSUFFICIENT
    if share.low > limit:
        return Status.FAILED
    return Status.PASSED if share.value <= limit and share.high <= CERTAIN_BELOW * limit else Status.INSUFFICIENT
