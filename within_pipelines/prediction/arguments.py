"""Tell numbers from what merely looks like one, before a setting of another kind fails somewhere inside."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, TypeGuard

from within_pipelines.exceptions import SettingsError


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is one number, Python's or numpy's; text, True and False are none.

    >>> is_number(0.9), is_number("0.9"), is_number(True)
    (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether `value` is one whole number; 7.0 is none, because it came from a computation that may give 7.5 next time.

    >>> is_whole(7), is_whole(7.0), is_whole("7")
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_fit(*, seed: Any, threads: Any) -> None:
    """Raise `SettingsError` for a `seed` that is no whole number of at least 0, and for `threads` that are none of at least 1."""
    if not (is_whole(seed) and seed >= 0):
        raise SettingsError(f"seed={seed!r} starts no randomness; give a whole number of at least 0.")
    if not (is_whole(threads) and threads >= 1):
        raise SettingsError(f"threads={threads!r} is no number of threads; give a whole number of at least 1.")
