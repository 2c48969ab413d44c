"""Accepted jobs per second: real specifications, durable, 32 clients in one process.

Run: python tests/benchmarks/store_accept.py [--jobs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.clock import SystemClock
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.store.sql import open_store

CLIENTS = 32


def real_spec(name: str) -> TrainingJobSpec:
    """Return a specification as people submit them: 30 hyperparameters, 3 channels, 5 tags."""
    return TrainingJobSpec.parse(
        {
            "training_job_name": name,
            "algorithm_specification": {
                "training_image": "pytorch-training:2.13-cpu-py311",
                "metric_definitions": [
                    {"name": f"m{n}", "regex": rf"metric{n}=([0-9.]+)"} for n in range(4)
                ],
            },
            "source_code": {"digest": "0" * 64, "entry_script": "train.py"},
            "hyper_parameters": {f"parameter-{n}": str(n / 7) for n in range(30)},
            "environment": {f"VARIABLE_{n}": "value" for n in range(5)},
            "input_data_config": [
                {"channel_name": name, "uri": f"s3://bucket/data/{name}"}
                for name in ("train", "validation", "test")
            ],
            "tags": [{"key": f"tag-{n}", "value": "value"} for n in range(5)],
        }
    )


@dataclass(frozen=True)
class Result:
    """One measurement."""

    label: str
    jobs_per_second: float
    cpu_us_per_job: float
    p50_ms: float
    p99_ms: float


def fsync_ms(directory: Path, rounds: int = 200) -> float:
    """Return the median time of a 4 KiB append with fsync here."""
    times = []
    with (directory / "probe").open("wb") as file:
        for _ in range(rounds):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def accept(label: str, directory: Path, jobs: int, delay_seconds: float) -> Result:
    """Measure with a slower disk: ``delay_seconds`` are added to each durable commit."""
    before_sync: Callable[[], None] | None = None
    if delay_seconds:

        def before_sync() -> None:
            time.sleep(delay_seconds)

    store = open_store(directory / f"{label.replace(' ', '-')}.sqlite3", before_sync=before_sync)
    clock = SystemClock()
    specs = [real_spec(f"accept-{n:06d}") for n in range(jobs)]
    latencies: list[float] = []
    ready = threading.Barrier(CLIENTS + 1)

    def client(index: int) -> None:
        ready.wait()
        for spec in specs[index::CLIENTS]:
            start = time.perf_counter()
            store.create_job(spec, arn=f"arn:{spec.training_job_name}", now=clock.now())
            latencies.append((time.perf_counter() - start) * 1e3)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    ready.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert sum(store.count_by_status().values()) == jobs
    store.close()
    latencies.sort()
    return Result(
        label,
        jobs / wall,
        cpu / jobs * 1e6,
        latencies[len(latencies) // 2],
        latencies[int(len(latencies) * 0.99)],
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        print(f"fsync of this disk: median {fsync_ms(directory):.2f} ms")
        for label, delay in (("this disk", 0.0), ("+0.25 ms", 0.00025), ("+4 ms", 0.004)):
            result = accept(label, directory, options.jobs, delay)
            print(
                f"{result.label:10s} {result.jobs_per_second:7.0f} jobs/s   "
                f"{result.cpu_us_per_job:5.0f} us CPU/job   "
                f"p50 {result.p50_ms:5.1f} ms  p99 {result.p99_ms:6.1f} ms"
            )


if __name__ == "__main__":
    main()
