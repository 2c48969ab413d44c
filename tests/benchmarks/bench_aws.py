"""SageMaker's API: jobs created and described a second, beside moto's server, which only keeps them in memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.api.aws.keys import issue
from tests.benchmarks import accept_rest
from tests.benchmarks.aws_load import creations, per_second, signed
from tests.benchmarks.bench_accept import no_wrk
from tests.benchmarks.measure import Line, Options, Row, Series, Skipped, one
from tests.benchmarks.processes import cpu_seconds, status_mb
from tests.benchmarks.s3_servers import commands, serving

NAME = "SageMaker's API, signed, 32 clients"
MEMORY_TARGET_MB = 170
MOST_PER_SECOND = 4000


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    if (why := no_wrk()) is not None:
        yield Skipped(NAME, why)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        yield from _rows(options, Path(name))


def _rows(options: Options, folder: Path) -> Iterator[Line]:
    seconds, rounds = options.of(5, 1), options.of(3, 1)
    moto = commands(folder)["moto server"]
    with (
        accept_rest.server(folder / "home", 0, occupied=True) as facts,
        serving("moto server", moto, folder) as other,
    ):
        key = issue(facts["token"])
        before = cpu_seconds([facts["pid"]])
        ours: dict[str, list[float]] = {"CreateTrainingJob": [], "DescribeTrainingJob": []}
        theirs: dict[str, list[float]] = {name: [] for name in ours}
        for number in range(rounds):
            for url, found in ((facts["url"], ours), (other.url, theirs)):
                jobs = creations(f"run-{number}", MOST_PER_SECOND * seconds)
                create = signed(url, key, "CreateTrainingJob", jobs)
                found["CreateTrainingJob"].append(per_second(url, create, seconds, folder))
                # the load generator takes the first few for itself
                body = json.dumps({"TrainingJobName": f"run-{number}-9"}).encode()
                describe = signed(url, key, "DescribeTrainingJob", [body])
                found["DescribeTrainingJob"].append(per_second(url, describe, seconds, folder))
        used = cpu_seconds([facts["pid"]]) - before
        load = f"{used:.0f} s of processor time in all, {os.cpu_count()} processors"
        for operation, values in ours.items():
            yield Row(
                f"{operation}, signed, 32 clients",
                "/s",
                Series(tuple(values)),
                {"moto server, nothing durable": Series(tuple(theirs[operation]))},
                at_least=True,
                note=load,
            )
        peak = one(status_mb(facts["pid"], "VmHWM"))
        yield Row("SageMaker's API: memory", "MB", peak, target=MEMORY_TARGET_MB)
