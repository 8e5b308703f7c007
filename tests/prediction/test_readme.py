"""Every example of the room's README runs."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "within_pipelines" / "prediction" / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_example_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WITHIN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    exec(compile(BLOCKS[number], str(README), "exec"), {"__name__": "readme"})
    assert "Traceback" not in capsys.readouterr().out


def test_every_predictor_has_an_example() -> None:
    assert len(BLOCKS) >= 5
