"""Insufficient evidence is never a pass, and an unknown model can pass nothing."""

from __future__ import annotations

import pytest

from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, missing_gates
from within_pipelines.stats import Status, Verdict


def verdict(gate: str, status: Status, policy: str = POLICY_VERSION) -> Verdict:
    bound = Verdict(gate, status, None, None, {}, "looked at")
    return bound.bind(model_sha256="a", data_version="d", policy_version=policy)


@pytest.mark.parametrize("model", list(REQUIRED_GATES))
def test_every_required_gate_can_stop_a_version(model: str) -> None:
    full = [verdict(gate, Status.PASSED) for gate in REQUIRED_GATES[model]]
    assert missing_gates(model, full) == ()
    for index, gate in enumerate(REQUIRED_GATES[model]):
        for status in (Status.FAILED, Status.INSUFFICIENT):
            changed = [*full[:index], verdict(gate, status), *full[index + 1 :]]
            assert [m.split(":")[0] for m in missing_gates(model, changed)] == [gate]
        assert missing_gates(model, full[:index] + full[index + 1 :])[0].startswith(f"{gate}: no verdict")


def test_the_newest_verdict_of_a_gate_counts() -> None:
    gates = [verdict(gate, Status.PASSED) for gate in REQUIRED_GATES["anomaly"]]
    assert missing_gates("anomaly", [verdict("performance", Status.FAILED), *gates]) == ()
    assert missing_gates("anomaly", [*gates, verdict("performance", Status.FAILED)]) != ()


def test_verdicts_of_another_policy_do_not_count() -> None:
    old = [verdict(gate, Status.PASSED, policy="old") for gate in REQUIRED_GATES["ad_score"]]
    assert len(missing_gates("ad_score", old)) == len(REQUIRED_GATES["ad_score"])


def test_a_model_without_a_policy_cannot_pass() -> None:
    assert missing_gates("unheard_of", [verdict("performance", Status.PASSED)]) != ()
