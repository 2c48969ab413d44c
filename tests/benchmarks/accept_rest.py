"""Accepted submissions a second: a real service, a real specification, token, events, durable commits.

The load comes from `wrk` in a process of its own (32 connections), each request with a fresh name
and Idempotency-Key. Run `python -m tests.benchmarks.accept_rest --help`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS = 32

SPEC: dict[str, Any] = {
    "training_job_name": "NAME",
    "algorithm_specification": {
        "container_entrypoint": ["/bin/sleep", "3600"],
        "metric_definitions": [
            {"name": "train:loss", "regex": "loss=([0-9.]+)"},
            {"name": "validation:accuracy", "regex": "accuracy=([0-9.]+)"},
        ],
    },
    "hyper_parameters": {f"parameter_{n}": str(n * 0.5) for n in range(12)},
    "environment": {f"VARIABLE_{n}": f"value {n}" for n in range(6)},
    "stop_grace_seconds": 0,
    "stopping_condition": {"max_runtime_in_seconds": 3600, "max_pending_time_in_seconds": 86400},
    "retry_strategy": {"maximum_retry_attempts": 2},
    "tags": [{"key": "team", "value": "vision"}, {"key": "experiment", "value": "42"}],
}
"""About 1 kB, as a script-mode job with hyperparameters and tags has."""

LUA = """
local thread_count = 0
function setup(thread) thread:set("id", thread_count); thread_count = thread_count + 1 end
function init(args)
  count = 0
  local file = io.open("%(body)s"); body = file:read("*a"); file:close()
  start, stop = string.find(body, "NAME", 1, true)
end
function request()
  count = count + 1
  local name = "%(run)s-" .. id .. "-" .. count
  local text = string.sub(body, 1, start - 1) .. name .. string.sub(body, stop + 1)
  return wrk.format("POST", "/api/v1/training-jobs", {
    ["Authorization"] = "Bearer %(token)s", ["Content-Type"] = "application/json",
    ["Idempotency-Key"] = name }, text)
end
function response(status) if status ~= 201 then bad = (bad or 0) + 1 end end
function done(summary, latency)
  io.write(string.format("p50_ms=%%.2f p99_ms=%%.2f\\n", latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


@dataclass(frozen=True)
class Result:
    """One run of the load generator."""

    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int
    cpu_ms_each: float
    """CPU time of the server per accepted job."""


def fsync_ms(folder: Path) -> float:
    """The median time of a 4 KiB write with fsync, in milliseconds."""
    times = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


@contextmanager
def server(home: Path, slow_fsync_ms: float, occupied: bool) -> Iterator[dict[str, Any]]:
    """A service in its own process; `occupied` gives the machine to one job first."""
    command = [sys.executable, "-m", "tests.benchmarks.accept_rest", "--serve", str(home)]
    command += ["--slow-fsync-ms", str(slow_fsync_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            facts: dict[str, Any] = json.loads(process.stdout.readline())
            with client_of(facts) as client:
                if occupied:
                    occupy(client)
                yield facts
        finally:
            process.terminate()
            process.wait(60)
            end_supervisors(home)


def client_of(facts: dict[str, Any]) -> httpx.Client:
    return httpx.Client(
        base_url=f"{facts['url']}/api/v1/",
        headers={"Authorization": f"Bearer {facts['token']}"},
        timeout=120,
        trust_env=False,
    )


def occupy(client: httpx.Client) -> None:
    """Give all CPU slots to one job, so that the measured ones wait in the queue."""
    spec = {
        **SPEC,
        "training_job_name": "occupier",
        "priority": 1000,
        "resources": {"cpus": os.cpu_count()},
    }
    client.post("training-jobs", json={"spec": spec}).raise_for_status()
    wait_for(client, "occupier", "Training")


def wait_for(client: httpx.Client, name: str, status: str) -> None:
    revision = -1
    while True:
        job = client.get(f"training-jobs/{name}?after_revision={revision}").json()
        if job["secondary_status"] == status:
            return
        revision = job["revision"]


def end_supervisors(home: Path) -> None:
    """Stop what was started: the supervisors, which take their programs with them."""
    for claim in home.glob("jobs/*/attempts/*/*/claim.json"):
        os.kill(json.loads(claim.read_text())["pid"], signal.SIGTERM)


def load(facts: dict[str, Any], seconds: int, run: str, folder: Path) -> Result:
    """Send submissions from 32 connections."""
    body, script = folder / "body.json", folder / "load.lua"
    body.write_text(json.dumps({"spec": SPEC}))
    script.write_text(LUA % {"body": body, "run": run, "token": facts["token"]})
    before = cpu_seconds(facts["pid"])
    output = subprocess.run(
        ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "-s", str(script), facts["url"]],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = cpu_seconds(facts["pid"]) - before
    found = re.search(r"(\d+) requests in ([\d.]+)s", output)
    percentiles = re.search(r"p50_ms=([\d.]+) p99_ms=([\d.]+)", output)
    assert found, output
    assert percentiles, output
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    bad = int(refused[1]) if refused else 0
    accepted = int(found[1]) - bad
    return Result(
        per_second=accepted / float(found[2]),
        p50_ms=float(percentiles[1]),
        p99_ms=float(percentiles[2]),
        refused=bad,
        cpu_ms_each=used / max(accepted, 1) * 1000,
    )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(home: Path, slow_fsync_ms: float) -> None:
    """Be the service that is measured."""
    from orchestrator.server import ServeOptions, Server
    from orchestrator.settings import Settings

    settings = Settings(home=home)
    measured = Server(settings, ServeOptions(port=0))
    if slow_fsync_ms:
        database: Any = measured.service.store._database  # type: ignore[attr-defined]
        database._before_sync = lambda: time.sleep(slow_fsync_ms / 1000)

    def tell(ready: Server) -> None:
        print(json.dumps({"url": ready.url, "token": ready.token, "pid": os.getpid()}), flush=True)

    measured.run(tell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--slow-fsync-ms", type=float, default=0, help="sleep at each durable commit"
    )
    parser.add_argument(
        "--idle-driver", action="store_true", help="jobs start while others are accepted"
    )
    parser.add_argument("--folder", type=Path, help="where the home is put; its disk counts")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.slow_fsync_ms)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    folder = Path(tempfile.mkdtemp(prefix="accept-", dir=given.folder))
    try:
        print(f"fsync takes {fsync_ms(folder):.2f} ms here, {given.slow_fsync_ms} ms are added")
        with server(folder / "home", given.slow_fsync_ms, not given.idle_driver) as facts:
            for number in range(given.repeat):
                one = load(facts, given.seconds, f"job-{number}", folder)
                print(
                    f"{one.per_second:7.0f} accepted/s   p50 {one.p50_ms:6.2f} ms   "
                    f"p99 {one.p99_ms:6.2f} ms   CPU {one.cpu_ms_each:.3f} ms each   "
                    f"refused {one.refused}",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
