"""Score detections on labelled windows by the rules of the Numenta Anomaly Benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.anomaly.series import Bools, Floats, Ints

# The first rows of a series are for learning only: 15 %, of at most 5,000 rows.
PROBATION, _PROBATION_ROWS = 0.15, 5000
_OUTSIDE, _PROBATIONARY = -1, -2
_STEEPNESS, _FAR = 5.0, 3.0


@dataclass(frozen=True, slots=True)
class NabProfile:
    """What a window found, a false alarm and a window missed weigh."""

    true_positive: float
    false_positive: float
    false_negative: float


STANDARD = NabProfile(1.0, 0.11, 1.0)
LOW_FALSE_POSITIVE = NabProfile(1.0, 0.22, 1.0)


def scaled_sigmoid(position: float) -> float:
    """Worth of a detection at `position` of its window: -1 is the left edge, 0 the right edge, beyond 0 behind it.

    2 / (1 + exp(5 position)) - 1, and -1 from three window lengths on.

    >>> round(scaled_sigmoid(-1.0), 5), scaled_sigmoid(0.0), round(scaled_sigmoid(1.0), 5), scaled_sigmoid(3.0)
    (0.98661, 0.0, -0.98661, -1.0)
    """
    return -1.0 if position >= _FAR else 2.0 / (1.0 + float(np.exp(_STEEPNESS * position))) - 1.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a detection at each row of one series is worth.

    `worth` lies in [-1, 1]: within a window relative to a detection at its first row, outside one the penalty of a false alarm, which is
    milder just behind a window. `window` is the number of the row's window, -1 outside, -2 on probation. `n_windows` counts the windows
    with rows after the probation."""

    worth: Floats
    window: Ints
    n_windows: int

    def raw(self, detected: Bools, profile: NabProfile) -> float:
        """Sum over windows of the best detection's worth (minus the weight of a miss), and over false alarms of their penalty.

        Raises `SampleError` when `detected` has another length."""
        if len(detected) != len(self.worth):
            raise SampleError(f"The detections have {len(detected)} rows and the series {len(self.worth)}; give one truth value per row.")
        total = profile.false_positive * float(self.worth[detected & (self.window == _OUTSIDE)].sum())
        for number in np.unique(self.window[self.window >= 0]):
            hits = self.worth[detected & (self.window == number)]
            total += profile.true_positive * float(hits.max()) if len(hits) else -profile.false_negative
        return total

    def bounds(self, profile: NabProfile) -> tuple[float, float]:
        """Raw scores of the detector that raises no alarm and of the perfect one."""
        return -profile.false_negative * self.n_windows, profile.true_positive * self.n_windows


def sweep(n_rows: int, windows: Sequence[tuple[int, int]]) -> Sweep:
    """Worth of every row of a series with labelled `windows` (first and last row, both inside), in time order and apart.

    Raises `SampleError` for windows that overlap, are out of order or lie outside the series.

    Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (ICMLA 2015), and the code of NAB 1.1, whose positions
    within a window count from the row after its right edge.

    >>> marked = sweep(20, [(10, 13)])
    >>> [round(float(w), 3) for w in marked.worth[9:16]]
    [-1.0, 1.0, 0.967, 0.86, 0.562, -0.682, -0.931]
    >>> marked.window[:4].tolist()
    [-2, -2, -2, -1]
    """
    edges = [0, *(edge for first, last in windows for edge in (first, last + 1)), n_rows]
    if any(last < first for first, last in windows) or any(after < before for before, after in pairwise(edges)):
        raise SampleError(f"The windows {list(windows)} overlap, are out of order or leave the {n_rows} rows; give rows (first, last).")
    worth, member = np.full(n_rows, -1.0), np.full(n_rows, _OUTSIDE)
    best = scaled_sigmoid(-1.0)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        for i in range(first, last + 1):
            worth[i], member[i] = scaled_sigmoid(-(last - i + 1) / width) / best, number
        behind = windows[number + 1][0] if number + 1 < len(windows) else n_rows
        for i in range(last + 1, behind):
            # A window of one row has no width to measure the distance by: everything behind it is far.
            worth[i] = scaled_sigmoid((i - last) / (width - 1) if width > 1 else _FAR)
    probation = min(int(np.floor(PROBATION * n_rows)), int(PROBATION * _PROBATION_ROWS))
    member[:probation] = _PROBATIONARY
    return Sweep(worth, member, len(np.unique(member[member >= 0])))


def nab_score(raw: Iterable[float], sweeps: Iterable[Sweep], profile: NabProfile) -> float:
    """100 x (raw - null) / (perfect - null), summed over series: 0 for silence, 100 for every window found at its first row.

    Raises `SampleError` when no window is left after the probation.

    >>> marked = sweep(20, [(10, 13)])
    >>> nab_score([marked.raw(np.arange(20) == 10, STANDARD)], [marked], STANDARD)
    100.0
    """
    bounds = [swept.bounds(profile) for swept in sweeps]
    null, perfect = sum(low for low, _ in bounds), sum(high for _, high in bounds)
    if perfect <= null:
        raise SampleError("No labelled window is left after the probation, so there is nothing to score; give series with windows.")
    return 100.0 * (sum(raw) - null) / (perfect - null)
