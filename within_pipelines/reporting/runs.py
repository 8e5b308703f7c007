"""A training run as lines of text, so that two can stand side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from within_pipelines.reporting.text import interval_text, number_text

if TYPE_CHECKING:
    from within_pipelines.database import TrainingRun
    from within_pipelines.registry import ModelVersion


def run_lines(run: TrainingRun, version: ModelVersion) -> dict[str, str]:
    """Text by name: what went in, then the metrics of the version that the run trained, the main one first."""
    names = sorted(version.metrics, key=lambda name: (name != version.main_metric, name))
    return {
        "model": run.model,
        "version": f"v{run.version}",
        "kind": run.kind,
        "started (UTC)": f"{run.started_at:%Y-%m-%d %H:%M}",
        "CPU s": f"{run.cpu_seconds:.1f}",
        "data version": run.data_version[:12],
        "data as of (UTC)": f"{version.as_of:%Y-%m-%d %H:%M}",
        "code version": run.code_version[:12],
        "artifact": version.model_sha256[:12],
        **{name: number_text(value) for name, value in run.params.items() if name != "kind"},
        **{name: interval_text(version.metrics[name]) for name in names},
    }


def run_comparison(first: tuple[TrainingRun, ModelVersion], second: tuple[TrainingRun, ModelVersion]) -> list[tuple[str, str, str, str]]:
    """Rows of name, first, second, and "differs" where they do."""
    left, right = run_lines(*first), run_lines(*second)
    names = list(dict.fromkeys([*left, *right]))
    return [(name, left.get(name, ""), right.get(name, ""), "" if left.get(name) == right.get(name) else "differs") for name in names]
