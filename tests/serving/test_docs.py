"""What docs/serve.md says exists."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY
from within_pipelines.serving import SCOPES, ServeSettings
from within_pipelines.serving.app import open_routes, v1
from within_pipelines.serving.problems import TITLES

PAGE = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_the_other_way_round() -> None:
    named = {name.lower() for name in re.findall(r"WITHIN_SERVE_(\w+)", PAGE)}
    assert named == set(ServeSettings.model_fields)


def test_every_route_scope_and_status_is_documented() -> None:
    paths = {route.path for route in [*v1.routes, *open_routes.routes]}  # type: ignore[attr-defined]
    for path in paths:
        assert path in PAGE or (path.endswith("/batch") and f"{path.removesuffix('/batch')}`, `.../batch`" in PAGE), path
    for scope in SCOPES:
        assert f"`{scope}`" in PAGE
    refused = set(map(int, re.findall(r"\b([45]\d\d)\b", PAGE.split("## What is refused")[1].split("## Which")[0])))
    assert refused <= set(TITLES)
