"""What the documentation says is what the code does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from within_pipelines import ingest
from within_pipelines.ingest.layout import REPORT_EDITORS
from within_pipelines.lake import ASSUMED_LAG
from within_pipelines.pipeline.release import (
    FALSE_ALARM_FACTOR,
    MINIMUM_UNITS,
    NO_SKILL,
    NON_INFERIORITY_MARGIN,
    SLOPE_TOLERANCE,
    SLOPE_TOO_WIDE,
)
from within_pipelines.registry import REQUIRED_GATES

REPOSITORY = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 6, 10, tzinfo=UTC)


def page(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_every_reason_in_the_readers_is_documented_and_the_other_way_round() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page("docs/ingest-your-exports.md"), flags=re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    source = "\n".join(path.read_text() for path in sorted((REPOSITORY / "within_pipelines" / "ingest").glob("*.py")))
    # Reasons of rows and files as the readers write them; negative_* are composed from the measures' names.
    used = set(re.findall(r'(?:Fault|RefusedFileError|BadRow|BrokenRow|blame)\([^()]*?"([a-z]+_[a-z_]+)"', source))
    assert not {reason for reason in used - documented if not reason.startswith(("range_start", "range_end"))}
    unknown = {reason for reason in documented if not reason.startswith("negative_") and f'"{reason}"' not in source}
    assert not unknown


def test_the_documented_columns_are_the_ones_that_the_readers_advise() -> None:
    text = page("docs/ingest-your-exports.md")
    for platform, title in (
        ("google_ads", "Google Ads report editor"),
        ("meta_ads", "Meta Ads reporting"),
        ("tiktok_ads", "TikTok custom report"),
    ):
        row = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
        for what, advice in REPORT_EDITORS[platform].items():
            named = re.findall(r'"([^"]+)"', advice) or ["By time > Day"]
            assert any(name in row for name in named), (platform, what)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Day,Customer ID,Currency code,Campaign ID,Ad group ID,Ad ID,Impr.,Clicks,Cost", "2026-06-01,123-456-7890,EUR,1,2,3,90,4,1.5"),
        ("Day,Account ID,Campaign ID,Ad set ID,Ad ID,Impressions,Link clicks,Amount spent (EUR)", "2026-06-01,42,1,2,3,90,4,1.5"),
        (
            "By Day,Advertiser ID,Currency,Campaign ID,Ad group ID,Ad ID,Impressions,Clicks (destination),Cost",
            "2026-06-01,42,EUR,1,2,3,90,4,1.5",
        ),
    ],
)
def test_an_export_with_the_documented_columns_is_accepted(header: str, row: str, tmp_path: Path) -> None:
    export = tmp_path / "report.csv"
    export.write_text(f"{header}\n{row}\n")
    result = ingest.read_export(export, landing=tmp_path, ingested_at=NOW)
    assert (result.status, result.rows_in, result.rows_accepted) == ("ingested", 1, 1), result.reason


def test_the_documented_accounts_file_and_mapping_are_valid(tmp_path: Path) -> None:
    accounts, mapping = re.findall(r"```yaml\n(.*?)```", page("docs/ingest-your-exports.md"), flags=re.DOTALL)
    (tmp_path / "accounts.yaml").write_text(accounts)
    known = ingest.load_accounts(tmp_path / "accounts.yaml")
    assert {known.get("1234567890").currency, known.get("act_42").currency} == {"EUR", "USD"}  # type: ignore[union-attr]
    (tmp_path / "mapping.yaml").write_text(mapping)
    assert ingest.load_mapping(tmp_path / "mapping.yaml").platform == "display"


def test_the_documented_lag_and_gates_are_those_in_force() -> None:
    assert f"{ASSUMED_LAG.total_seconds() / 3600:g} hours after" in page("docs/ingest-your-exports.md")
    text = page("docs/read-a-verdict.md")
    for model, gates in REQUIRED_GATES.items():
        assert f"| `{model}` | {', '.join(f'`{gate}`' for gate in gates)} |" in text
    low, high = SLOPE_TOLERANCE
    for part in (
        f"Fewer than {MINIMUM_UNITS} units",
        f"-{NON_INFERIORITY_MARGIN:g}.",
        f"between {low:g} and {high:g}",
        f"{SLOPE_TOO_WIDE[0]:g} to {SLOPE_TOO_WIDE[1]:g}",
        f"at most {FALSE_ALARM_FACTOR:g}",
    ):
        assert part in text, part
    assert NO_SKILL == {"ad_score": 0.5, "account_health": 0.0, "anomaly": 0.0}


def test_the_production_settings_exist() -> None:
    from within_pipelines.settings import Settings

    named = set(re.findall(r"`WITHIN_(\w+)`", page("docs/go-to-production.md"))) - {"DAGSTER_POSTGRES_URL"}
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    dagster = yaml.safe_load(page("deploy/postgres/dagster.yaml"))
    assert dagster["storage"]["postgres"]["postgres_url"]["env"] == "WITHIN_DAGSTER_POSTGRES_URL"
    assert dagster["concurrency"]["runs"]["max_concurrent_runs"] == 4
