"""Which gates a version must have passed before it may serve.

Bootstrap rules, so that a fresh deployment ends with something that serves:

- Without a champion the baseline (a registrable model like any other) may be the first. Its `performance` gate asks only that its main
  metric does not lie below no skill; a challenger must beat the baseline, and beside a champion must not be worse than it.
- `golden_sample` records a version's answers when it is first judged and compares later answers with them, so the first time checks that
  the artifact answers at all: finite, of the right shape, twice the same.
- `robustness` has no discount: the baseline is asked the same faults as a challenger. It needs no champion to compare with, so it holds on
  the first day as on any other.
- The anomaly model has no labels; its `performance` is an incident backtest, its `false_alarms` the realised alarms on quiet days."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from within_pipelines.stats import Status, Verdict

REQUIRED_GATES: Mapping[str, tuple[str, ...]] = {
    "ad_score": ("performance", "calibration", "golden_sample", "robustness"),
    "account_health": ("performance", "calibration", "golden_sample", "robustness"),
    "anomaly": ("performance", "false_alarms", "golden_sample", "robustness"),
}

# Verdicts count only for the policy that they were made under. Raise the number when a gate's rule changes.
RULES_VERSION = 1
POLICY_VERSION: str = hashlib.sha256(json.dumps({"gates": REQUIRED_GATES, "rules": RULES_VERSION}, sort_keys=True).encode()).hexdigest()[
    :12
]


def missing_gates(model: str, verdicts: Iterable[Verdict], *, policy_version: str = POLICY_VERSION) -> tuple[str, ...]:
    """What keeps a version from serving, one sentence a gate; empty when every required gate passed.

    `verdicts` are those of one model hash and data version, oldest first; the newest of a gate counts. Insufficient evidence is not a
    pass, and neither is a verdict made under another policy. An unknown model requires a gate that nothing can pass."""
    newest = {verdict.gate: verdict for verdict in verdicts if verdict.policy_version == policy_version}
    missing = []
    for gate in REQUIRED_GATES.get(model, ("a declared policy",)):
        verdict = newest.get(gate)
        if verdict is None:
            missing.append(f"{gate}: no verdict for this artifact, data and policy")
        elif verdict.status is not Status.PASSED:
            missing.append(f"{gate}: {verdict.status.value.replace('_', ' ')}: {verdict.reason}")
    return tuple(missing)
