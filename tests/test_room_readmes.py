"""Every Python example in the rooms' READMEs runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("room", ["stats", "monitoring", "validation", "fairness", "robustness", "serving"])
def test_the_examples_run(room: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = REPOSITORY / "within_pipelines" / room / "README.md"
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks
    monkeypatch.chdir(REPOSITORY)
    for block in blocks:
        exec(compile(block, str(path), "exec"), {"__name__": "readme"})
    assert "Traceback" not in capsys.readouterr().out
