"""A promotion happens once, on evidence, or not at all."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from within_pipelines.database import Database, SqlRegistry
from within_pipelines.database import registry as registry_module
from within_pipelines.exceptions import ModelNotFoundError, PromotionRefusedError
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.stats import Estimate, Status, Verdict

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DATA = "d" * 64


def version(sha: str = "a" * 64, fingerprint: str = "f" * 64, model: str = "ad_score") -> ModelVersion:
    return ModelVersion(
        model=model, version=0, kind="stack", model_sha256=sha, artifact=f"{model}/{sha}", data_version=DATA, as_of=NOW,
        commit_seq=3, spec_sha256="s" * 64, training_fingerprint=fingerprint, seed=7, trained_at=NOW, code_version="c",
        metrics={"auc": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40, "level": 0.95}},
    )  # fmt: skip


def verdicts(sha: str = "a" * 64, *, data: str = DATA, policy: str = POLICY_VERSION, **statuses: Status) -> list[Verdict]:
    return [
        Verdict(gate, statuses.get(gate, Status.PASSED), Estimate(0.1, 0.05, 0.2, 40), 0.0, {"units": 40}, f"{gate} was looked at.").bind(
            model_sha256=sha, data_version=data, policy_version=policy, baseline_sha256="b" * 64
        )
        for gate in REQUIRED_GATES["ad_score"]
    ]


def promote(registry: SqlRegistry, number: int = 1, expected: int | None = None) -> None:
    registry.promote("ad_score", number, who="ada", why="better", now=NOW, expected_current=expected)


def test_the_same_training_is_registered_once(database: Database) -> None:
    registry = SqlRegistry(database)
    first, again = registry.register(version()), registry.register(version())
    other = registry.register(version(sha="e" * 64, fingerprint="0" * 64))
    assert first == again
    assert (first.version, other.version) == (1, 2)
    assert registry.get("ad_score", 1).trained_at == NOW
    assert registry.by_fingerprint("ad_score", "0" * 64) == other
    assert registry.by_fingerprint("ad_score", "unknown") is None
    with pytest.raises(ModelNotFoundError, match="no version 9"):
        registry.get("ad_score", 9)


def test_all_gates_passed_is_promoted_and_written_down(database: Database) -> None:
    registry = SqlRegistry(database)
    registry.register(version())
    registry.record_verdicts(verdicts())
    assert registry.alias("ad_score", "champion") is None
    promote(registry)
    champion = registry.alias("ad_score", "champion")
    assert champion is not None
    assert champion.version == 1
    assert registry.alias_history("ad_score").select("alias", "from_version", "to_version", "who", "why").rows() == [
        ("champion", None, 1, "ada", "better")
    ]


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ([], "performance: no verdict"),
        (verdicts(calibration=Status.FAILED), "calibration: failed"),
        (verdicts(performance=Status.INSUFFICIENT), "performance: insufficient evidence"),
        (verdicts(sha="e" * 64), "no verdict for this artifact"),
        (verdicts(data="0" * 64), "no verdict for this artifact, data"),
        (verdicts(policy="older"), "no verdict"),
        (verdicts()[:-1], f"{REQUIRED_GATES['ad_score'][-1]}: no verdict"),
        ([*verdicts(), *verdicts(performance=Status.FAILED)], "performance: failed"),
    ],
)
def test_anything_less_than_all_gates_is_refused_and_nothing_changes(database: Database, recorded: list[Verdict], reason: str) -> None:
    registry = SqlRegistry(database)
    registry.register(version())
    registry.record_verdicts(recorded)
    with pytest.raises(PromotionRefusedError, match=reason):
        promote(registry)
    assert registry.alias("ad_score", "champion") is None
    assert registry.alias_history("ad_score").is_empty()


def test_without_the_policy_check_the_refusal_is_gone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal above rests on `missing_gates` and on nothing else: with that check replaced by a constant, anything is promoted."""
    monkeypatch.setattr(registry_module, "missing_gates", lambda *_, **__: ())
    registry = SqlRegistry(database)
    registry.register(version())
    promote(registry)
    assert registry.alias("ad_score", "champion") is not None


def test_a_promotion_on_a_stale_view_is_refused(database: Database) -> None:
    registry = SqlRegistry(database)
    registry.register(version())
    registry.register(version(sha="e" * 64, fingerprint="0" * 64))
    registry.record_verdicts([*verdicts(), *verdicts(sha="e" * 64)])
    promote(registry, 1)
    with pytest.raises(PromotionRefusedError, match="champion of ad_score is v1, not vNone"):
        promote(registry, 2)
    promote(registry, 2, expected=1)
    promote(registry, 1, expected=2)  # a rollback is a promotion of an earlier version
    assert registry.alias_history("ad_score")["to_version"].to_list() == [1, 2, 1]


def test_an_alias_is_withdrawn_from_the_version_it_points_to_and_the_champion_never(database: Database) -> None:
    registry = SqlRegistry(database)
    registry.register(version())
    registry.record_verdicts(verdicts())
    promote(registry)
    registry.promote("ad_score", 1, alias="canary", who="ada", why="try", now=NOW, expected_current=None)
    withdraw = {"who": "ada", "why": "bad", "now": NOW}
    assert not registry.withdraw("ad_score", "canary", version=2, **withdraw)
    assert registry.withdraw("ad_score", "canary", version=1, **withdraw)
    assert not registry.withdraw("ad_score", "canary", version=1, **withdraw)
    assert registry.alias("ad_score", "canary") is None
    assert registry.alias_history("ad_score")["to_version"].to_list() == [1, 1, 0]
    with pytest.raises(PromotionRefusedError, match="cannot be withdrawn"):
        registry.withdraw("ad_score", "champion", version=1, **withdraw)


def test_verdicts_come_back_as_they_were_and_repeats_are_not_added(database: Database) -> None:
    registry = SqlRegistry(database)
    registry.record_verdicts(verdicts())
    registry.record_verdicts(verdicts())
    found = registry.verdicts("a" * 64, DATA)
    assert [(v.gate, v.status, v.estimate, v.reason) for v in found] == [(v.gate, v.status, v.estimate, v.reason) for v in verdicts()]


def test_an_unbound_verdict_is_refused(database: Database) -> None:
    unbound = Verdict("performance", Status.PASSED, None, None, {}, "Fine.")
    with pytest.raises(PromotionRefusedError, match="bound to no artifact"):
        SqlRegistry(database).record_verdicts([unbound])


def _race(url: str, number: int, barrier: object) -> str:
    opened = Database(url)
    registry = SqlRegistry(opened)
    barrier.wait()  # type: ignore[attr-defined]
    try:
        promote(registry, number)
    except PromotionRefusedError as refusal:
        return f"refused: {refusal}"
    finally:
        opened.dispose()
    return "won"


def test_of_two_racing_promoters_exactly_one_wins(database: Database) -> None:
    registry = SqlRegistry(database)
    for number, sha in enumerate(("a" * 64, "e" * 64)):
        registry.register(version(sha=sha, fingerprint=str(number) * 64))
        registry.record_verdicts(verdicts(sha=sha))
    url = database.url.render_as_string(hide_password=False)
    with multiprocessing.get_context("spawn").Manager() as manager, multiprocessing.get_context("spawn").Pool(2) as pool:
        barrier = manager.Barrier(2)
        results = pool.starmap(_race, [(url, 1, barrier), (url, 2, barrier)])
        # Left to itself the pool kills its processes, and one that is just ending may then never end.
        pool.close()
        pool.join()
    assert sorted(result.split(":")[0] for result in results) == ["refused", "won"]
    assert registry.alias_history("ad_score").height == 1


def _die_in_the_middle(url: str) -> None:
    opened = Database(url)
    original: Callable[..., object] = registry_module.AliasHistoryModel

    def dying(**_: object) -> object:
        os._exit(9)
        return original

    registry_module.AliasHistoryModel = dying  # type: ignore[assignment,misc]
    promote(SqlRegistry(opened))


def test_a_promoter_killed_in_the_middle_leaves_the_old_state(tmp_path: Path) -> None:
    opened = Database(f"sqlite:///{tmp_path / 'within.db'}")
    opened.upgrade()
    registry = SqlRegistry(opened)
    registry.register(version())
    registry.record_verdicts(verdicts())
    process = multiprocessing.get_context("spawn").Process(target=_die_in_the_middle, args=(str(opened.url),))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert registry.alias("ad_score", "champion") is None
    promote(registry)
    opened.dispose()
