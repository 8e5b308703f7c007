"""One row a model says who serves, since when, why, and what comes next."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.test_canary import NOW, registered
from within_pipelines.pipeline import Workspace, serving_table
from within_pipelines.settings import Settings


def test_the_table_names_every_alias_and_the_rule(tmp_path: Path) -> None:
    with Workspace.open(Settings(home=tmp_path / "home")) as ws:
        assert serving_table(ws)["champion"].to_list() == [None, None, None]
        for number in (1, 2):
            registered(ws, number)
        ws.registry.promote("ad_score", 1, who="ada", why="first", now=NOW, expected_current=None)
        ws.registry.promote("ad_score", 2, alias="shadow", who="run", why="beside", now=NOW, expected_current=None)
        ws.settings.releases.write_text("ad_score: {through: canary, outcomes: replay}\n")
        row = serving_table(ws).filter(model="ad_score").row(0, named=True)
    assert {name: row[name] for name in ("champion", "challenger", "shadow", "canary")} == {
        "champion": 1, "challenger": None, "shadow": 2, "canary": None,
    }  # fmt: skip
    assert (row["moved_at"], row["who"], row["why"], row["next_version"]) == (NOW, "ada", "first", "canary")
