"""Which gates a version must have passed before it may serve.

Bootstrap rules, so that a fresh deployment ends with something that serves:

- Without a champion the baseline (a registrable model like any other) may be the first. Its `performance` gate asks only that its main
  metric does not lie below no skill; a challenger must beat the baseline, and beside a champion must not be worse than it.
- `golden_sample` records a version's answers when it is first judged and compares later answers with them, so the first time checks that
  the artifact answers at all: finite, of the right shape, twice the same. It also asks every case of the golden set (hard cases, replays
  of incidents), whose expectations, of cases and of slices, hold for the first version as for any later one; only that no more cases are
  lost to the champion than a slice allows needs a champion.
- `robustness` has no discount: the baseline is asked the same faults as a challenger. It needs no champion to compare with, so it holds on
  the first day as on any other.
- `drift_baseline` and `model_card` have none either: what a version was trained on is kept with the first one as with any.
- The anomaly model has no labels; its `performance` is an incident backtest, its `false_alarms` the realised alarms on quiet days.
- `fairness` without a champion asks that no gap between groups is shown and that flipping a declared attribute moves nothing, because a
  young deployment cannot show the absence of a gap; beside a champion, the absence or a gap not wider than the champion's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from within_pipelines.stats import Status, Verdict

REQUIRED_GATES: Mapping[str, tuple[str, ...]] = {
    "ad_score": ("performance", "calibration", "golden_sample", "model_card", "fairness", "robustness", "drift_baseline"),
    "account_health": ("performance", "calibration", "golden_sample", "model_card", "fairness", "robustness", "drift_baseline"),
    "anomaly": ("performance", "false_alarms", "golden_sample", "model_card", "fairness", "robustness", "drift_baseline"),
}

# Verdicts count only for the policy that they were made under. Raise the number when a gate's rule changes.
RULES_VERSION = 2
POLICY_VERSION: str = hashlib.sha256(json.dumps({"gates": REQUIRED_GATES, "rules": RULES_VERSION}, sort_keys=True).encode()).hexdigest()[
    :12
]


# A version that answers beside, or waits for its evidence, serves nobody: it must only answer at all.
BESIDE: Mapping[str, tuple[str, ...]] = {"challenger": ("golden_sample",), "shadow": ("golden_sample",)}


def missing_gates(
    model: str, verdicts: Iterable[Verdict], *, policy_version: str = POLICY_VERSION, alias: str = "champion"
) -> tuple[str, ...]:
    """What keeps a version from an alias (default: from serving), one sentence a gate; empty when every required gate passed.

    `verdicts` are those of one model hash and data version, oldest first; the newest of a gate counts. Insufficient evidence is not a
    pass, and neither is a verdict made under another policy. An unknown model requires a gate that nothing can pass."""
    newest = {verdict.gate: verdict for verdict in verdicts if verdict.policy_version == policy_version}
    missing = []
    required = REQUIRED_GATES.get(model, ("a declared policy",))
    for gate in BESIDE.get(alias, required) if model in REQUIRED_GATES else required:
        verdict = newest.get(gate)
        if verdict is None:
            missing.append(f"{gate}: no verdict for this artifact, data and policy")
        elif verdict.status is not Status.PASSED:
            missing.append(f"{gate}: {verdict.status.value.replace('_', ' ')}: {verdict.reason}")
    return tuple(missing)
