"""Hand out random generators by what they are for, so that one draw never shifts another."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

# Days are drawn in whole blocks, always from the block's first day, so the figures of a day do not depend on how many days
# are asked for, and numpy still works on many days at once.
BLOCK_DAYS = 28


class Stream(IntEnum):
    """What a generator is used for. Numbers are part of the determinism: never reuse one."""

    ACCOUNT = 1
    SLOT = 2
    AD = 3
    INCIDENTS = 4
    SPELLS = 5
    LEVELS = 6
    COUNTS = 7
    LAG = 8
    BREAKDOWN = 9
    WORDS = 10


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """The generator of one purpose and key (account, block, ...); equal arguments give equal draws in every process.

    >>> bool(generator(7, Stream.AD, 3).random() == generator(7, Stream.AD, 3).random())
    True
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(int(stream), *key))
    return np.random.Generator(np.random.PCG64(sequence))


def blocks(days: int) -> range:
    """The block numbers that cover the first `days` days."""
    return range(-(-days // BLOCK_DAYS))
