"""Tell from a header which platform wrote an export."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from within_pipelines.exceptions import AmbiguousPlatformError
from within_pipelines.ingest.dialects import PLATFORMS, normalised, role_of

# A line with fewer known names than this is no header.
MIN_KNOWN_COLUMNS = 2


def recognise(header: Sequence[str]) -> str:
    """The platform whose own column names a header uses.

    Names that only one platform uses decide; the winner needs at least twice as many of them as the next.

    Raises `AmbiguousPlatformError`, which names the candidates, when a header fits several platforms or none.

    >>> recognise(["Day", "Campaign", "Ad ID", "Impr.", "Clicks", "Cost"])
    'google_ads'
    >>> recognise(["Day", "Ad set name", "Amount spent (EUR)"])
    'meta_ads'
    """
    return _recognise(tuple(header))


@lru_cache(maxsize=1024)
def _recognise(header: tuple[str, ...]) -> str:
    names = list(dict.fromkeys(header))
    known = {name: [platform for platform in PLATFORMS if role_of(platform, name) is not None] for name in names}
    total = {platform: sum(platform in of for of in known.values()) for platform in PLATFORMS}
    own = {platform: sum(of == [platform] for of in known.values()) for platform in PLATFORMS}
    if max(total.values()) < MIN_KNOWN_COLUMNS:
        shown = ", ".join(normalised(name) for name in names[:12])
        raise AmbiguousPlatformError(
            f"No known platform uses these columns: {shown}. Export from Google Ads, Meta Ads Manager or TikTok Ads Manager, "
            "or describe the file with a mapping (see docs)."
        )
    first, second = sorted(PLATFORMS, key=lambda platform: (-own[platform], -total[platform], platform))[:2]
    if own[first] and own[first] >= 2 * own[second]:
        return first
    best = max(total.values())
    candidates = [platform for platform in PLATFORMS if total[platform] == best or (own[first] and own[platform])]
    if len(candidates) == 1:
        return candidates[0]
    raise AmbiguousPlatformError(
        f"The header fits {' and '.join(candidates)}. Put the file below a folder named after its platform, "
        f"e.g. landing/{candidates[0]}/<account>/, or add a column that only one of them has (Campaign, Ad set ID, Ad group name)."
    )
