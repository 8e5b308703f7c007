"""Drift detectors: rows x features per CPU second beside alibi-detect, evidently and scipy loops; false alarms and power by simulation.

All libraries get the same numbers in the same process in the layout that they ask for (ours a polars frame, theirs a matrix or pandas
frame), and CPU seconds count all threads. `table_drift` measures Kolmogorov-Smirnov, Wasserstein, Jensen-Shannon, stability index and
missing shares of every feature;
the rivals measure Kolmogorov-Smirnov. `binned_drift` compares with a stored profile and states its error.

A call of evidently costs a hundred times what the others cost, and alibi-detect's kernels grow with the square of the rows, so each has a
number of runs of its own: evidently is asked in the first `--evidently-runs` of the same data sets, the tests of all features together
have smaller windows and a table of their own. Every line says its runs and its standard error."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from _common import arguments, child, show, write_json
from scipy import stats as scipy_stats

from within_pipelines.monitoring import (
    binned_drift,
    classifier_two_sample,
    correlation_drift,
    loss_change,
    maximum_mean_discrepancy,
    reference_profile,
    relation_change,
    table_drift,
)

# Benchmarks tell nobody that they run.
os.environ.setdefault("DO_NOT_TRACK", "1")
FEATURES = 40
ALPHA = 0.05
MEMORY = """
import numpy as np, polars as pl, resource
from within_pipelines.monitoring import table_drift
n, features = int(sys.argv[1]), int(sys.argv[2])
def frame(seed):
    rng = np.random.default_rng(seed)
    return pl.DataFrame({f"f{k}": rng.standard_normal(n, dtype=np.float32) for k in range(features)})
old, new = frame(1), frame(2)
table_drift(old.head(1000), new.head(1000), rng=np.random.default_rng(3))
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
result["before"] = resident() / 1e9
result["data"] = (old.estimated_size() + new.estimated_size()) / 1e9
table_drift(old, new, rng=np.random.default_rng(3))
# Of this process alone: what getrusage reports begins with the parent's peak.
result["peak"] = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9
"""


def cpu(function: Callable[[], Any], repeats: int) -> float:
    """Least CPU seconds of this process over `repeats` calls."""
    best = math.inf
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def windows(rows: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Two windows of `rows` / 2 rows of float32 features, half of them skewed."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(2):
        columns = {f"f{k}": rng.standard_normal(rows // 2, dtype=np.float32) for k in range(FEATURES)}
        for k in range(0, FEATURES, 2):
            np.exp(columns[f"f{k}"], out=columns[f"f{k}"])
        made.append(columns)
    return made[0], made[1]


def speed(sizes: list[int], seed: int, repeats: int) -> tuple[list[list[str]], dict[str, float]]:
    """CPU seconds by size; rivals at up to 1M rows."""
    table, metrics = [], {}
    ours: dict[str, list[float]] = {"table_drift": [], "binned_drift": []}
    for rows in sizes:
        old, new = windows(rows, seed)
        frames = pl.DataFrame(old), pl.DataFrame(new)
        profile = reference_profile(frames[0])
        timed = {
            "table_drift": cpu(lambda f=frames: table_drift(*f, rng=np.random.default_rng(1)), 1 if rows > 1_000_000 else repeats),
            "binned_drift": cpu(lambda f=frames, p=profile: binned_drift(p, f[1]), repeats),
        }
        error = max(shift.error for shift in binned_drift(profile, frames[1]))
        for name, seconds in timed.items():
            ours[name].append(seconds)
        if rows <= 1_000_000:
            timed["scipy ks_2samp loop"] = cpu(
                lambda o=old, n=new: [scipy_stats.ks_2samp(o[name], n[name], method="asymp") for name in o], repeats
            )
            timed |= _rivals(old, new, repeats)
        for name, seconds in timed.items():
            rate = rows * FEATURES / seconds / 1e6
            table.append([f"{rows:,}", name, f"{seconds:.3f}", f"{rate:.1f}", f"{seconds / timed['table_drift']:.2f}"])
            metrics[f"{name.split(' ')[0]}_{rows}_cpu"] = seconds
        metrics[f"binned_error_{rows}"] = error
        if rows == 1_000_000 and "alibi-detect TabularDrift" in timed:
            metrics["exact_times_faster_than_alibi"] = timed["alibi-detect TabularDrift"] / timed["table_drift"]
            metrics["binned_times_faster_than_alibi"] = timed["alibi-detect TabularDrift"] / timed["binned_drift"]
        if rows == 1_000_000:
            metrics["exact_times_faster_than_scipy"] = timed["scipy ks_2samp loop"] / timed["table_drift"]
    for name, seconds in ours.items():
        if len(seconds) > 1:
            metrics[f"{name}_exponent"] = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    return table, metrics


def _rivals(old: dict[str, np.ndarray], new: dict[str, np.ndarray], repeats: int) -> dict[str, float]:
    found = {}
    if importlib.util.find_spec("alibi_detect"):
        from alibi_detect.cd import TabularDrift

        matrices = [np.ascontiguousarray(np.column_stack(list(columns.values()))) for columns in (old, new)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector = TabularDrift(matrices[0], p_val=ALPHA)
            found["alibi-detect TabularDrift"] = cpu(lambda: detector.predict(matrices[1]), repeats)
    if importlib.util.find_spec("evidently"):
        import pandas as pd
        from evidently import Report
        from evidently.presets import DataDriftPreset

        frames = [pd.DataFrame(columns) for columns in (old, new)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = Report([DataDriftPreset(num_method="ks")])
            found["evidently DataDriftPreset"] = cpu(lambda: report.run(frames[1], frames[0]), 1)
    return found


# Simulation: five features, or what the scenario needs; each returns whether it alarmed.

ACCOUNTS, ROWS, ICC = 40, 12, 0.3


def _rows(rng: np.random.Generator, clustered: bool, accounts: np.ndarray) -> np.ndarray:
    n = len(accounts) * ROWS
    if not clustered:
        return rng.normal(size=(n, 5))
    level = rng.normal(size=(len(accounts), 5))[np.repeat(np.arange(len(accounts)), ROWS)]
    return math.sqrt(ICC) * level + math.sqrt(1 - ICC) * rng.normal(size=(n, 5))


def _alarms(old: np.ndarray, new: np.ndarray, clusters: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> dict[str, bool]:
    names = [f"f{k}" for k in range(old.shape[1])]
    frames = [pl.DataFrame(x, schema=names).with_columns(account=pl.Series(c)) for x, c in zip((old, new), clusters, strict=True)]
    options = {"rng": rng, "features": names, "alpha": ALPHA, "minimum_effect": 0.0, "n_permutations": 499}
    by_account, by_row = table_drift(*frames, clusters="account", **options), table_drift(*frames, **options)
    p = [scipy_stats.ks_2samp(old[:, k], new[:, k], method="asymp").pvalue for k in range(old.shape[1])]
    return {
        "table_drift by account": (by_account.p_value or 1.0) <= ALPHA,
        "table_drift by row": (by_row.p_value or 1.0) <= ALPHA,
        # This is what alibi-detect's TabularDrift computes: the same asymptotic p-values, Bonferroni over the features.
        "KS, Bonferroni (alibi-detect)": min(p) <= ALPHA / len(p),
        "KS, any feature (scipy loop)": min(p) <= ALPHA,
    }


def _evidently(old: np.ndarray, new: np.ndarray, names: list[str]) -> dict[str, bool]:
    """What evidently's preset says of the same rows, by its own call: its KS test of each column at the stated level, and the two ways to
    read it (any column; half of the columns, which is its default for a data set). Empty where it is not installed."""
    if not importlib.util.find_spec("evidently"):
        return {}
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    frames = [pd.DataFrame(rows, columns=names) for rows in (old, new)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = Report([DataDriftPreset(num_method="ks", num_threshold=ALPHA)]).run(frames[1], frames[0]).dict()
    count = next(metric["value"] for metric in told["metrics"] if "DriftedColumnsCount" in str(metric))
    return {"evidently, any column": count["count"] > 0, "evidently, half of the columns": count["share"] >= 0.5}


Hits = dict[str, list[bool]]


def simulate(seed: int, runs: int, evidently_runs: int) -> tuple[list[list[str]], dict[str, float]]:
    """Share of runs with an alarm, by scenario and detector, with its Monte Carlo standard error; evidently in the first runs alone."""
    rng = np.random.default_rng(seed)
    scenarios: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "identical": lambda x: x,
        **{f"mean shift {d} sd": (lambda x, d=d: x + np.array([d, 0, 0, 0, 0])) for d in (0.1, 0.2, 0.3, 0.5)},
        "variance x 1.5": lambda x: x * np.array([math.sqrt(1.5), 1, 1, 1, 1]),
        "slow drift to .5 sd": lambda x: x + np.linspace(0, 0.5, len(x))[rng.permutation(len(x)), None] * np.array([1, 0, 0, 0, 0]),
    }
    table, metrics = [], {}
    first, second = np.arange(ACCOUNTS), np.arange(ACCOUNTS) + ACCOUNTS
    by_account = np.repeat(first, ROWS), np.repeat(second, ROWS)
    by_row = np.arange(ACCOUNTS * ROWS), np.arange(ACCOUNTS * ROWS, 2 * ACCOUNTS * ROWS)
    for clustered in (False, True):
        for name, change in scenarios.items():
            hits: Hits = {}
            for run in range(runs):
                old, new = _rows(rng, clustered, first), change(_rows(rng, clustered, second))
                _note(hits, _alarms(old, new, by_account if clustered else by_row, rng))
                if run < evidently_runs:
                    _note(hits, _evidently(old, new, [f"f{k}" for k in range(old.shape[1])]))
            _tell(table, metrics, f"accounts of {ROWS} rows, ICC {ICC}" if clustered else "independent rows", name, hits)
    _special(table, metrics, rng, runs, evidently_runs)
    return table, metrics


def _note(hits: Hits, alarms: dict[str, bool]) -> None:
    for detector, alarm in alarms.items():
        hits.setdefault(detector, []).append(bool(alarm))


def _tell(table: list[list[str]], metrics: dict[str, float], kind: str, name: str, hits: Hits, prefix: str = "") -> None:
    """A line per detector. Where none or all of the runs alarmed the standard error is that of one that did otherwise."""
    for detector, alarms in hits.items():
        share, runs = sum(alarms) / len(alarms), len(alarms)
        error = math.sqrt(max(share * (1 - share), 1 / runs) / runs)
        table.append([kind, name, detector, str(runs), f"{share:.3f}", f"{error:.3f}"])
        rows = "iid" if "independent" in kind else "clustered"
        key = "_".join((*([prefix] if prefix else []), rows, *name.replace(".", "").split(), *detector.split()[:4]))
        metrics[key.replace(",", "").replace("(", "").replace(")", "")] = share


# Windows of the tests of all features together.
JOINT_ACCOUNTS = 20


def _alibi_joint(old: np.ndarray, new: np.ndarray, *, seed: int) -> dict[str, bool]:
    """alibi-detect's multivariate detectors, which take rows for independent. Empty where it is not installed."""
    if not importlib.util.find_spec("alibi_detect"):
        return {}
    import torch
    from alibi_detect.cd import ClassifierDrift, MMDDrift
    from sklearn.ensemble import GradientBoostingClassifier

    logging.getLogger("alibi_detect").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - alibi-detect takes no generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rival = GradientBoostingClassifier(n_estimators=50, random_state=seed)
        detectors = {
            "MMD (alibi-detect)": MMDDrift(old, backend="pytorch", p_val=ALPHA, n_permutations=200, device="cpu"),
            "classifier, trees (alibi-detect)": ClassifierDrift(old, rival, backend="sklearn", p_val=ALPHA, n_folds=2, seed=seed),
        }
        return {name: bool(detector.predict(new)["data"]["is_drift"]) for name, detector in detectors.items()}


def joint(seed: int, runs: int) -> tuple[list[list[str]], dict[str, float]]:
    """Tests of five features together on the same rows: ours by account or by row, alibi-detect's by row."""
    rng = np.random.default_rng(seed)
    table, metrics = [], {}
    accounts = np.arange(JOINT_ACCOUNTS)
    labels = np.repeat(accounts, ROWS)
    for clustered in (False, True):
        clusters = {"reference_clusters": labels, "current_clusters": labels + JOINT_ACCOUNTS} if clustered else {}
        for name in ("identical", "mean shift 0.5 sd", "correlation flip"):
            hits: Hits = {}
            for _ in range(runs):
                old, new = _rows(rng, clustered, accounts), _rows(rng, clustered, accounts)
                old[:, 1] = 0.6 * old[:, 0] + 0.8 * old[:, 1]
                new[:, 1] = (-0.6 if name == "correlation flip" else 0.6) * new[:, 0] + 0.8 * new[:, 1]
                new[:, 0] += 0.5 if name == "mean shift 0.5 sd" else 0.0
                options = {"rng": rng, "n_permutations": 499, **clusters}
                found = {
                    "maximum_mean_discrepancy": maximum_mean_discrepancy(old, new, **options).p_value <= ALPHA,
                    "classifier_two_sample, trees": classifier_two_sample(old, new, boosted=True, **options).p_value <= ALPHA,
                }
                _note(hits, found | _alibi_joint(old, new, seed=int(rng.integers(2**31))))
            kind = f"accounts of {ROWS} rows, ICC {ICC}" if clustered else "independent rows"
            _tell(table, metrics, kind, name, hits, prefix="joint")
    return table, metrics


def _special(table: list[list[str]], metrics: dict[str, float], rng: np.random.Generator, runs: int, evidently_runs: int) -> None:
    """Category swap, correlation flip and label flip, with accounts of one level each."""
    labels = np.repeat(np.arange(ACCOUNTS), ROWS)
    for name in ("identical", "category swap", "correlation flip", "label flip"):
        hits: Hits = {}
        for run in range(runs):
            frames, losses, features, residuals = [], [], [], []
            for window in range(2):
                moved = window == 1
                tilt = 0.8 * rng.normal(size=ACCOUNTS)[labels]
                category = rng.random(len(labels)) < 1 / (1 + np.exp(-tilt + (1.5 if moved and name == "category swap" else 0.0)))
                x, z = rng.normal(size=(2, len(labels)))
                y = (-0.6 if moved and name == "correlation flip" else 0.6) * x + 0.8 * z
                p = 1 / (1 + np.exp(-1.5 * x))
                outcome = (rng.random(len(labels)) < (1 - p if moved and name == "label flip" else p)).astype(float)
                account = labels + window * ACCOUNTS
                frames.append(pl.DataFrame({"kind": np.where(category, "image", "video"), "x": x, "y": y, "account": account}))
                losses.append((outcome - p) ** 2)
                features.append(np.column_stack([x, y]))
                residuals.append(outcome - p)
            clusters = {"reference_clusters": labels, "current_clusters": labels + ACCOUNTS}
            table_p = table_drift(*frames, rng=rng, clusters="account", features=["kind"], n_permutations=499).p_value or 1.0
            pairs = correlation_drift(*frames, rng=rng, features=["x", "y"], clusters="account", n_permutations=499)
            risen = loss_change(*losses, rng=rng, n_permutations=499, **clusters)
            turned = relation_change(
                features[0], residuals[0], features[1], residuals[1], ["x", "y"], rng=rng, n_permutations=499, **clusters
            )
            told = classifier_two_sample(*features, rng=rng, names=["x", "y"], boosted=True, n_permutations=499, **clusters)
            by_row = _evidently(features[0], features[1], ["x", "y"]) if run < evidently_runs else {}
            counts = [f["kind"].value_counts(sort=True).sort("kind")["count"].to_list() for f in frames]
            found = {
                "table_drift, category by account": table_p <= ALPHA,
                "chi-square (alibi-detect, scipy)": len(counts[0]) == len(counts[1]) > 1
                and scipy_stats.chi2_contingency(counts).pvalue <= ALPHA,
                "correlation_drift": pairs.p_value <= ALPHA,
                "loss_change": risen.p_value <= ALPHA,
                "relation_change": turned.p_value <= ALPHA,
                "classifier_two_sample, trees by account": told.p_value <= ALPHA,
                **{f"{name} of x and y": alarm for name, alarm in by_row.items()},
            }
            _note(hits, found)
        _tell(table, metrics, f"accounts of {ROWS} rows", name, hits)


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", action="store_true", help="also 10M rows")
    parser.add_argument("--runs", type=int, default=200, help="simulated data sets per scenario; 0 leaves them out")
    parser.add_argument("--evidently-runs", type=int, default=40, help="in so many of them evidently is asked as well")
    parser.add_argument("--joint-runs", type=int, default=60, help="data sets per scenario for tests of all features together; 0: none")
    options = parser.parse_args()
    sizes = [100_000, 1_000_000, *([10_000_000] if options.large else [])]
    rows, metrics = speed(sizes, options.seed, options.repeats)
    show(f"{FEATURES} features, CPU seconds of one call", ["rows", "what", "CPU s", "M values / CPU s", "x table_drift"], rows)
    for name in ("alibi_detect", "evidently"):
        if not importlib.util.find_spec(name):
            print(f"{name}: not installed")
    held = child(MEMORY, "500000", str(FEATURES))
    metrics["peak_over_data"] = (held["peak"] - held["before"] + held["data"]) / held["data"]
    print(f"peak memory {metrics['peak_over_data']:.2f} times the data; binned error {metrics['binned_error_1000000']:.4f}")
    grown = ", ".join(f"{name} {metrics[f'{name}_exponent']:.2f}" for name in ("table_drift", "binned_drift"))
    print(f"growth of CPU seconds with rows, as a power: {grown}")
    columns = ["rows", "scenario", "detector", "runs", "alarms", "s.e."]
    if options.runs:
        table, found = simulate(options.seed, options.runs, options.evidently_runs)
        metrics |= found
        show(f"Share of runs with an alarm at a stated {ALPHA}, windows of {ACCOUNTS * ROWS} rows", columns, table)
    if options.joint_runs:
        table, found = joint(options.seed, options.joint_runs)
        metrics |= found
        show(f"All features together, the same at a stated {ALPHA}, windows of {JOINT_ACCOUNTS * ROWS} rows", columns, table)
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
