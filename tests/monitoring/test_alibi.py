"""Where the definition is the same, our statistics equal alibi-detect's on the same data to 1e-6."""

from __future__ import annotations

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring import DriftState, compare_counts, fisher_exact_p_value, maximum_mean_discrepancy, two_sample
from within_pipelines.monitoring.alibi import alibi_drift, alibi_installed, alibi_online

pytestmark = pytest.mark.skipif(not alibi_installed(), reason="the extra `alibi` is not installed")
RNG = np.random.default_rng(11)
OLD, NEW = RNG.normal(size=(150, 2)).astype(np.float32), (RNG.normal(size=(120, 2)) * 1.2 + 0.3).astype(np.float32)


def test_kolmogorov_smirnov_and_cramer_von_mises_agree() -> None:
    ours = [two_sample(OLD[:, k], NEW[:, k]) for k in range(2)]
    ks, cvm = alibi_drift("ks", OLD, NEW), alibi_drift("cvm", OLD, NEW)
    assert ks.statistic == pytest.approx([found.ks for found in ours], abs=1e-6)
    assert ks.p_value == pytest.approx([found.ks_p_value for found in ours], abs=1e-6)
    assert cvm.statistic == pytest.approx([found.cvm for found in ours], abs=1e-6)
    assert cvm.p_value == pytest.approx([found.cvm_p_value for found in ours], abs=1e-6)


def test_chi_square_and_fisher_agree() -> None:
    old, new = RNG.integers(0, 3, size=(200, 1)), np.minimum(RNG.integers(0, 4, size=(150, 1)), 2)
    theirs = alibi_drift("chi_square", old, new)
    counts = [dict(zip(("0", "1", "2"), np.bincount(x[:, 0], minlength=3).tolist(), strict=True)) for x in (old, new)]
    ours = compare_counts(counts[0], counts[1])
    assert theirs.statistic[0] == pytest.approx(ours.statistic, rel=1e-6)
    assert theirs.p_value[0] == pytest.approx(ours.p_value, abs=1e-6)
    flags = (old > 0).astype(int), (new > 0).astype(int)
    k, n, j, m = (int(v) for x in flags for v in (x.sum(), len(x)))
    exact = alibi_drift("fisher", *flags, alternative="two-sided")
    assert exact.p_value[0] == pytest.approx(fisher_exact_p_value(j, k, m - j, n - k), abs=1e-6)


def test_the_maximum_mean_discrepancy_agrees_for_one_bandwidth() -> None:
    theirs = alibi_drift("mmd", OLD, NEW, sigma=np.array([0.9], dtype=np.float32), n_permutations=20)
    ours = maximum_mean_discrepancy(OLD, NEW, rng=np.random.default_rng(1), sigma=0.9, n_permutations=20)
    assert theirs.statistic[0] == pytest.approx(ours.statistic, abs=1e-6)
    assert theirs.state is ours.state is DriftState.DRIFTED


OPTIONS = {"lsdd": {"n_permutations": 50}, "classifier": {}, "spot_the_diff": {"epochs": 1, "n_diffs": 1}}


@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
def test_the_other_detectors_answer(name: str, options: dict[str, int]) -> None:
    assert alibi_drift(name, OLD, OLD + 5, **options).state is DriftState.DRIFTED


def test_a_learned_kernel_and_an_online_detector_answer() -> None:
    assert alibi_drift("learned_kernel", OLD, OLD + 5, epochs=2, n_permutations=50).state is DriftState.DRIFTED
    stream = np.concatenate([OLD[:20, :1], OLD[:20, :1] + 8])
    signals = alibi_online("mmd", OLD[:, :1], stream, expected_run_time=100, window=5, n_bootstraps=200)
    assert signals
    assert any(20 <= at < 26 for at in signals)


def test_unknown_detectors_and_shapes_are_refused() -> None:
    with pytest.raises(SampleError, match="'weather' is no batch detector"):
        alibi_drift("weather", OLD, NEW)
    with pytest.raises(SampleError, match="give rows of the same features"):
        alibi_drift("ks", OLD, NEW[:, :1])
    with pytest.raises(SampleError, match="no online detector"):
        alibi_online("ks", OLD, NEW, expected_run_time=100, window=5)
