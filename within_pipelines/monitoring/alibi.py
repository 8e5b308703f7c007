"""The detectors of alibi-detect, where it is installed, behind one call and one result."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.state import DriftState


@dataclass(frozen=True, slots=True)
class AlibiAnswer:
    """What one detector said of one window. `statistic` and `p_value` hold one number per feature, or one for the window; p-values are as
    the detector gives them, before its correction over features. Rows count as independent: for rows of accounts use `table_drift`."""

    detector: str
    state: DriftState
    statistic: tuple[float, ...]
    p_value: tuple[float, ...]
    threshold: float
    n_reference: int
    n_current: int


def alibi_installed() -> bool:
    """Whether the extra `alibi` is there."""
    return importlib.util.find_spec("alibi_detect") is not None


def _kernel_network(width: int) -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(width, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))


def _batch(name: str) -> Callable[[NDArray[Any], float, Mapping[str, Any]], Any]:
    """How a batch detector is made of a reference, a level and options."""
    from alibi_detect import cd

    def kernels(kind: Any) -> Callable[[NDArray[Any], float, Mapping[str, Any]], Any]:
        return lambda x, alpha, options: kind(x, backend="pytorch", p_val=alpha, **options)

    def classifier(x: NDArray[Any], alpha: float, options: Mapping[str, Any]) -> Any:
        from sklearn.linear_model import LogisticRegression

        return cd.ClassifierDrift(x, LogisticRegression(), backend="sklearn", p_val=alpha, preds_type="probs", **options)

    def learned(x: NDArray[Any], alpha: float, options: Mapping[str, Any]) -> Any:
        from alibi_detect.utils.pytorch import DeepKernel

        return cd.LearnedKernelDrift(x, DeepKernel(_kernel_network(x.shape[1])), backend="pytorch", p_val=alpha, verbose=0, **options)

    makers: dict[str, Callable[[NDArray[Any], float, Mapping[str, Any]], Any]] = {
        "ks": lambda x, alpha, options: cd.KSDrift(x, p_val=alpha, **options),
        "cvm": lambda x, alpha, options: cd.CVMDrift(x, p_val=alpha, **options),
        "chi_square": lambda x, alpha, options: cd.ChiSquareDrift(x, p_val=alpha, **options),
        "fisher": lambda x, alpha, options: cd.FETDrift(x, p_val=alpha, **options),
        "mmd": kernels(cd.MMDDrift),
        "lsdd": kernels(cd.LSDDDrift),
        "classifier": classifier,
        "learned_kernel": learned,
        "spot_the_diff": lambda x, alpha, options: cd.SpotTheDiffDrift(x, backend="pytorch", p_val=alpha, verbose=0, **options),
    }
    if name not in makers:
        raise SampleError(f"{name!r} is no batch detector; there are {', '.join(makers)}.")
    return makers[name]


def alibi_drift(detector: str, reference: ArrayLike, current: ArrayLike, *, alpha: float = 0.05, **options: Any) -> AlibiAnswer:
    """Ask a batch detector of alibi-detect: ks, cvm, chi_square, fisher, mmd, lsdd, classifier, learned_kernel or spot_the_diff.

    `options` go to the detector's class (`n_permutations`, `sigma`, `epochs`, ...). Its random numbers are its own: set numpy's and torch's
    seeds for a repeatable answer.

    Raises `SampleError` when alibi-detect is not installed, the detector is unknown, or a window is no matrix with rows."""
    x, y = _matrices(reference, current)
    with warnings.catch_warnings():
        # TensorFlow's absence and others' deprecations are not ours to report.
        warnings.simplefilter("ignore")
        found = _batch(detector)(x, alpha, options).predict(y)["data"]
    numbers = [tuple(np.atleast_1d(np.asarray(found[name], dtype=np.float64)).tolist()) for name in ("distance", "p_val")]
    state = DriftState.DRIFTED if found["is_drift"] else DriftState.STABLE
    return AlibiAnswer(detector, state, numbers[0], numbers[1], float(np.min(found["threshold"])), len(x), len(y))


def alibi_online(
    detector: str, reference: ArrayLike, stream: ArrayLike, *, expected_run_time: float, window: int, n_bootstraps: int = 1000
) -> tuple[int, ...]:
    """Positions (from 0) at which an online detector of alibi-detect signals on a stream: mmd, lsdd or cvm; it begins anew after each.

    `expected_run_time` is the mean number of rows between false alarms. Raises `SampleError` like `alibi_drift`."""
    x, rows = _matrices(reference, stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from alibi_detect import cd

        makers: dict[str, Callable[[], Any]] = {
            "mmd": lambda: cd.MMDDriftOnline(x, expected_run_time, window, backend="pytorch", n_bootstraps=n_bootstraps, verbose=False),
            "lsdd": lambda: cd.LSDDDriftOnline(x, expected_run_time, window, backend="pytorch", n_bootstraps=n_bootstraps, verbose=False),
            "cvm": lambda: cd.CVMDriftOnline(x, expected_run_time, [window], n_bootstraps=n_bootstraps, verbose=False),
        }
        if detector not in makers:
            raise SampleError(f"{detector!r} is no online detector; there are {', '.join(makers)}.")
        made = makers[detector]()
        signals = []
        for i, row in enumerate(rows):
            if made.predict(row)["data"]["is_drift"]:
                signals.append(i)
                made.reset_state()
    return tuple(signals)


def _matrices(reference: ArrayLike, current: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    if not alibi_installed():
        raise SampleError("alibi-detect is not installed; install the extra `alibi`, or use this package's own detectors.")
    made = [np.asarray(values) for values in (reference, current)]
    made = [values[:, None] if values.ndim == 1 else values for values in made]
    x, y = (values.astype(np.float32) if values.dtype.kind == "f" else values for values in made)
    if x.ndim != 2 or y.shape[1:] != x.shape[1:] or not len(x) or not len(y):
        raise SampleError(f"The windows have shapes {x.shape} and {y.shape}; give rows of the same features in both.")
    return x, y
