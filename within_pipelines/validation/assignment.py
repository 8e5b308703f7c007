"""Which arm a unit belongs to: the same in every process, on every machine, for as long as the key stays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from within_pipelines.exceptions import SampleError

# A double holds 53 bits exactly, so the fraction is the hash's first 53 bits and never rounds up to 1.
_BITS = 53


def stable_fraction(unit: str, *, experiment: str, key: str) -> float:
    """A number in [0, 1) that depends on the unit, the experiment and the key alone: the first 53 bits of a keyed BLAKE2b hash.

    Over units it is uniform; for one unit it is independent between experiments and between keys. Without the key nobody can choose a
    unit's name so that it lands in a wanted arm.

    Raises `SampleError` for an empty unit, experiment or key.

    >>> stable_fraction("account-1", experiment="headline", key="k") == stable_fraction("account-1", experiment="headline", key="k")
    True
    >>> round(stable_fraction("account-1", experiment="headline", key="k"), 6)
    0.254602
    """
    for name, given in (("unit", unit), ("experiment", experiment), ("key", key)):
        if not given:
            raise SampleError(f"{name} is empty; a stable assignment needs the unit's id, the experiment's name and a key.")
    # BLAKE2b takes keys of up to 64 bytes; a longer one is hashed first.
    secret = key.encode()
    if len(secret) > hashlib.blake2b.MAX_KEY_SIZE:
        secret = hashlib.blake2b(secret).digest()
    prefix = experiment.encode()
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    message = len(prefix).to_bytes(8, "big") + prefix + unit.encode()
    digest = hashlib.blake2b(message, key=secret, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _BITS)) / (1 << _BITS)


def assign(unit: str, *, experiment: str, shares: Mapping[str, float], key: str) -> str:
    """The unit's arm. Arms lie side by side on [0, 1) in the order of `shares`; the unit's `stable_fraction` says where it falls.

    The arm named first keeps every unit when its share grows: name the canary first, and who is in it at 5 % is in it at 25 %.

    Raises `SampleError` when there is no arm, a share is not in [0, 1], or the shares do not sum to 1.

    >>> assign("account-1", experiment="headline", shares={"treatment": 0.5, "control": 0.5}, key="k")
    'treatment'
    >>> assign("account-1", experiment="headline", shares={"treatment": 0.05, "control": 0.95}, key="k")
    'control'
    """
    outside = {arm: share for arm, share in shares.items() if not 0 <= share <= 1}
    if not shares or outside or not math.isclose(math.fsum(shares.values()), 1.0, abs_tol=1e-9):
        raise SampleError(f"shares are {dict(shares)}; give each arm a share between 0 and 1 so that they sum to 1.")
    fraction = stable_fraction(unit, experiment=experiment, key=key)
    reached = 0.0
    last = ""
    for arm, share in shares.items():
        reached += share
        if share > 0:
            if fraction < reached:
                return arm
            last = arm
    # Rounding can leave the sum just below 1; what lies beyond belongs to the last arm that has a share.
    return last
