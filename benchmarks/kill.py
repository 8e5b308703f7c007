"""kill -9 at random moments of the main job, then run it again: is the end state that of an undisturbed run?"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from _common import REPOSITORY, arguments, show, write_json

from within_pipelines.files import TEMPORARY_PREFIX
from within_pipelines.pipeline import MODELS, Workspace
from within_pipelines.settings import Settings
from within_pipelines.simulation import AgencySpec, write_agency

JOB = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from within_pipelines.defs.launch import run_main_job
from within_pipelines.settings import Settings
def heard(step, state):
    print(step, state, flush=True)
outcome = run_main_job(Settings(home=Path(sys.argv[1])), now=datetime(2026, 7, 1, 12, tzinfo=UTC), on_step=heard)
print("DONE" if outcome.success else outcome.message, flush=True)
"""


def start(home: Path) -> subprocess.Popen[str]:
    """The main job as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(home)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY, env=os.environ
    )


def end_state(home: Path) -> dict[str, object]:
    """What must not depend on being killed: rows, data, versions, champions, leftovers, runs that never end."""
    import dagster as dg

    with Workspace.open(Settings(home=home)) as ws:
        log = ws.lake.ingest_log()
        state: dict[str, object] = {
            "rows": log.select("rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined").sum().row(0),
            "data_version": ws.lake.data_version(),
            "history": ws.lake.history(grain=None).height,
            "versions": [(v.model, v.version, v.kind, v.model_sha256) for m in MODELS for v in ws.registry.versions(m)],
            "champions": [getattr(ws.registry.alias(m, "champion"), "version", None) for m in MODELS],
        }
    state["temporaries"] = sorted(p.name for p in home.rglob(f"{TEMPORARY_PREFIX}*"))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        state["started"] = len(instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))
    return state


def main() -> None:
    """Kill, rerun, compare."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--accounts", type=int, default=12)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    rows, equal = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        spec = AgencySpec(accounts=options.accounts, days=200, seed=options.seed, end=date(2026, 6, 30), daily_days=14)
        write_agency(source / "landing", spec)
        calm = Path(scratch) / "calm"
        shutil.copytree(source, calm)
        began = time.monotonic()
        start(calm).communicate()
        length = time.monotonic() - began
        wanted = end_state(calm)
        for moment in np.sort(rng.uniform(0.05, 0.98, options.moments)):
            home = Path(scratch) / "killed"
            shutil.copytree(source, home)
            process = start(home)
            time.sleep(moment * length)
            process.send_signal(signal.SIGKILL)
            heard, _ = process.communicate()
            last = heard.splitlines()[-1] if heard else "before the first step"
            start(home).communicate()
            found = end_state(home)
            differs = [name for name, value in wanted.items() if found[name] != value]
            equal += not differs
            rows.append([f"{moment * length:.1f} s", last, "equal" if not differs else "differs: " + ", ".join(differs)])
            print(*rows[-1], sep=" | ", flush=True)
            shutil.rmtree(home)
    show(f"kill -9 during a job of {length:.0f} s, then once more", ["killed after", "last heard", "end state"], rows)
    write_json(options.json, {"moments": options.moments, "equal": equal})
    if equal < options.moments:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
