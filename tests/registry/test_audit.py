"""The audit trail refuses changes, whoever asks."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.database.test_registry import promote, verdicts, version
from within_pipelines.database import Database, SqlRegistry
from within_pipelines.exceptions import DatabaseError, PromotionRefusedError
from within_pipelines.registry import BESIDE, REQUIRED_GATES, missing_gates
from within_pipelines.stats import Status


@pytest.mark.parametrize("table", ["alias_history", "verdicts"])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id + 1000", "DELETE FROM {}"])
def test_what_was_decided_cannot_be_changed(database: Database, table: str, change: str) -> None:
    registry = SqlRegistry(database)
    registry.register(version())
    registry.record_verdicts(verdicts())
    promote(registry)
    with pytest.raises(Exception, match=r"audit trail"), database.writing() as session:
        session.execute(text(change.format(table)))
    assert registry.alias_history("ad_score").height == 1
    assert len(registry.verdicts("a" * 64, "d" * 64)) == len(REQUIRED_GATES["ad_score"])


def test_postgresql_refuses_to_truncate_too(postgres_url: str) -> None:
    opened = Database(postgres_url)
    opened.upgrade()
    with pytest.raises(DatabaseError, match="audit trail"), opened.writing() as session:
        session.execute(text("TRUNCATE alias_history"))
    opened.dispose()


def test_going_back_needs_no_new_verdict_but_a_past(database: Database) -> None:
    registry = SqlRegistry(database)
    for number, sha in enumerate(("a" * 64, "e" * 64, "c" * 64)):
        registry.register(version(sha=sha, fingerprint=str(number) * 64))
        registry.record_verdicts(verdicts(sha=sha, **({"performance": Status.FAILED} if number == 2 else {})))
    promote(registry, 1)
    promote(registry, 2, expected=1)
    # Since then its gate has failed, say because the rules became stricter.
    registry.record_verdicts(verdicts(calibration=Status.FAILED))
    with pytest.raises(PromotionRefusedError, match="calibration"):
        promote(registry, 1, expected=2)
    now = version().trained_at
    registry.promote("ad_score", 1, who="ada", why="rollback: off", now=now, expected_current=2, back=True)
    with pytest.raises(PromotionRefusedError, match="v3 was never champion"):
        registry.promote("ad_score", 3, who="ada", why="rollback: off", now=now, expected_current=1, back=True)
    assert registry.alias_history("ad_score")["to_version"].to_list() == [1, 2, 1]


def test_answering_beside_asks_less_and_serving_a_canary_asks_all() -> None:
    failed = verdicts(performance=Status.FAILED)
    for alias in ("champion", "canary", "unheard of"):
        assert missing_gates("ad_score", failed, alias=alias), alias
    for alias in BESIDE:
        assert missing_gates("ad_score", failed, alias=alias) == ()
        assert missing_gates("ad_score", verdicts(golden_sample=Status.FAILED), alias=alias)
        assert missing_gates("no such model", failed, alias=alias)
