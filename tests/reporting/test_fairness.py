"""The page of a fairness report says what was found, what to do and what it cannot say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import SchemaError
from within_pipelines.fairness import audit_fairness, mean_measure
from within_pipelines.reporting import fairness_html, frontier_plot, gap_plot


def found(gap: float, n: int = 200):
    rng = np.random.default_rng(3)
    group = np.repeat(["<b>women</b>", "men"], n // 2)
    values = rng.normal(size=n) + gap * (group == "men")
    return audit_fairness([mean_measure("score", values, threshold=1.0)], {"gender": group}, clusters=range(n), rng=rng)


def page(audit, **options) -> str:
    return fairness_html("Fairness of m v1", audit.verdict(), gaps=audit.to_frame(), groups=audit.groups(), notes=("a <note>",), **options)


def test_each_outcome_has_its_advice_and_texts_are_escaped() -> None:
    failed = page(found(3.0))
    assert "do not serve this version" in failed
    assert "<b>women</b>" not in failed
    assert "a &lt;note&gt;" in failed
    assert "Kleinberg" in failed
    assert "Nothing: every required gap is small" in page(found(0.0))
    assert "collect more accounts" in page(found(0.0, n=30))
    assert "Data before training" in page(found(0.0), bias=pl.DataFrame({"x": [1.0]}))


def test_plots_are_pictures_and_refuse_other_tables() -> None:
    gaps = found(3.0).to_frame()
    assert gap_plot(gaps).startswith(b"\x89PNG")
    assert gap_plot(gaps) == gap_plot(gaps)
    assert gap_plot(gaps) != gap_plot(found(0.0).to_frame())
    assert frontier_plot({"a": [(0.1, 0.6), (0.2, 0.7)], "b": [(0.1, 0.5)]}, gap="gap").startswith(b"\x89PNG")
    with pytest.raises(SchemaError, match="A plot of gaps needs"):
        gap_plot(pl.DataFrame({"x": [1]}))


def test_a_report_without_groups_is_still_a_page() -> None:
    from within_pipelines.stats import Status, Verdict

    verdict = Verdict("fairness", Status.INSUFFICIENT, None, None, {}, "too few rows")
    assert "too few rows" in fairness_html("t", verdict, gaps=pl.DataFrame(), groups=pl.DataFrame(), notes=())
