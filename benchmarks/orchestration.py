"""What Dagster costs: the whole job under Dagster against the same core functions in one bare process, on equal landing folders.

Also the CPU of loading the definitions and of `import within_pipelines`."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from datetime import date
from pathlib import Path

from _common import arguments, child, middle, show, write_json

from within_pipelines.simulation import AgencySpec, write_agency

UNDER_DAGSTER = """
from datetime import datetime, UTC
from pathlib import Path
from within_pipelines.defs.launch import run_main_job
from within_pipelines.settings import Settings
outcome = run_main_job(Settings(home=Path(sys.argv[1])), now=datetime(2026, 7, 1, 12, tzinfo=UTC), on_step=lambda *_: None)
assert outcome.success, outcome.message
"""
BARE = """
from datetime import datetime, UTC
from pathlib import Path
from within_pipelines import pipeline as p
from within_pipelines.reporting import evaluation_plots
from within_pipelines.settings import Settings
now = datetime(2026, 7, 1, 12, tzinfo=UTC)
with p.Workspace.open(Settings(home=Path(sys.argv[1]))) as ws:
    p.ingest_landing(ws, now=now)
    pin = ws.pin()
    p.check_quality(ws, commit_seq=pin.commit_seq, today=now.date())
    p.build_creative_features(ws, pin), p.build_account_features(ws, pin), p.build_metric_series(ws, pin)
    for model in p.MODELS:
        p.build_training_set(ws, pin, model)
        for kind in p.KINDS[model]:
            p.train(ws, pin, model, kind, now=now)
        evaluation_plots(p.judge(ws, pin, model).evaluation)
        p.judge(ws, pin, model, is_baseline=True)
        p.release(ws, pin, model, now=now, who="benchmark")
    p.audit_fairness(ws, pin), p.audit_robustness(ws, pin)
    p.score_day(ws, pin=pin)
    p.validate_golden_sets(ws, now=now)
    p.golden_check(ws)
"""
HEAVY = "('torch','xgboost','shap','great_expectations','alibi_detect','sklearn')"
LOAD = f"import within_pipelines.definitions\nresult['heavy'] = sum(m in sys.modules for m in {HEAVY})"
IMPORT = """
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
import within_pipelines
result['cpu'] = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before
"""


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--accounts", type=int, default=24)
    parser.add_argument("--days", type=int, default=200)
    options = parser.parse_args()
    dagster, bare, peak = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source" / "landing"
        spec = AgencySpec(accounts=options.accounts, days=options.days, seed=options.seed, end=date(2026, 6, 30))
        write_agency(source, spec)
        for repeat in range(options.repeats):
            for code, found in ((UNDER_DAGSTER, dagster), (BARE, bare)):
                home = Path(scratch) / f"{repeat}-{id(found)}"
                shutil.copytree(source, home / "landing")
                result = child(code, str(home))
                found.append(result["cpu"])
                peak.append(result["peak_gb"])
                shutil.rmtree(home)
    loads = [child(LOAD) for _ in range(options.repeats)]
    imports = [child(IMPORT)["cpu"] for _ in range(options.repeats)]
    ratios = [a / b for a, b in zip(dagster, bare, strict=True)]
    show(
        f"Orchestration, {options.accounts} accounts x {options.days} days, CPU seconds: median [range]",
        ["what", "measured", "wanted"],
        [
            ["whole job under Dagster", middle(dagster), ""],
            ["same functions in a bare process", middle(bare), ""],
            ["ratio, pair by pair", middle(ratios), "<= 1.3"],
            ["peak resident GB", f"{max(peak):.2f}", "<= 2"],
            ["loading the definitions", middle([x["cpu"] for x in loads]), "<= 4"],
            ["heavy modules loaded by that", f"{max(x['heavy'] for x in loads):.0f}", "0"],
            ["import within_pipelines", middle(imports), "<= 0.3"],
        ],
    )
    write_json(
        options.json,
        {
            "dagster_cpu": statistics.median(dagster),
            "bare_cpu": statistics.median(bare),
            "ratio": statistics.median(ratios),
            "peak_gb": max(peak),
            "definitions_cpu": statistics.median([x["cpu"] for x in loads]),
            "import_cpu": statistics.median(imports),
        },
    )


if __name__ == "__main__":
    main()
