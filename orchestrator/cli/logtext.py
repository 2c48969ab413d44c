"""Reading whole logs and their ends through a transport."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

from orchestrator.cli.output import print_json
from orchestrator.cli.views import line_text
from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.sdk.lines import LineAssembler, OutputLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.sdk.transport import Transport
    from orchestrator.spec.record import TrainingJobRecord

FOLLOW_SECONDS = 10.0
TAIL_BYTES = 64 << 10
TAIL_GROWTH = 8


def hosts(record: TrainingJobRecord, host: str | None) -> tuple[str, ...]:
    """Return the hosts whose logs are meant.

    Raises:
        NotFound: The job has no such host.
    """
    known = tuple(name for name, _, _ in record.spec.hosts)
    if host is None:
        return known
    if host not in known:
        raise NotFound(f"--host must be one of {', '.join(known)}, got {host!r}")
    return (host,)


def check_follow(*, attempt: int | None, tail: int | None) -> None:
    """Refuse what does not go with following.

    Raises:
        InvalidSpec: It does not.
    """
    if attempt is not None or tail is not None:
        option = "--attempt" if attempt is not None else "--tail"
        raise InvalidSpec(f"--follow shows a whole job from its start, got {option}; leave it out")


def chunks(
    transport: Transport,
    name: str,
    host: str,
    *,
    attempt: int | None = None,
    offset: int = 0,
    follow: bool = False,
) -> Iterator[bytes]:
    """Yield the bytes of one stream.

    Args:
        transport: How the service is reached.
        name: The job.
        host: Whose stream.
        attempt: None = the present one.
        offset: Where to begin.
        follow: Wait for more until the stream has ended.
    """
    while True:
        chunk = transport.read_log(
            name,
            host=host,
            attempt=attempt,
            offset=offset,
            wait_seconds=FOLLOW_SECONDS if follow else 0,
        )
        if chunk["data"]:
            yield chunk["data"]
        offset = chunk["next_offset"]
        if chunk["finished"] or not (chunk["data"] or follow):
            return


def lines(host: str, blocks: Iterable[bytes]) -> Iterator[OutputLine]:
    """Yield the lines that blocks of bytes make."""
    assembler = LineAssembler(host)
    for block in blocks:
        yield from assembler.feed(block)
    yield from assembler.close()


def tail_lines(
    transport: Transport, name: str, host: str, count: int, *, attempt: int | None = None
) -> list[OutputLine]:
    """Return the last lines of one stream; reads no more of it than they need."""
    size = stream_size(transport, name, host, attempt)
    window = TAIL_BYTES
    while True:
        start = max(0, size - window)
        blocks = chunks(transport, name, host, attempt=attempt, offset=start)
        # One more than asked for: the first line of a window is a part of one.
        found = deque(lines(host, blocks), maxlen=count + 1)
        if start == 0 or len(found) > count:
            return list(found)[len(found) - count :] if len(found) > count else list(found)
        window *= TAIL_GROWTH


def stream_size(transport: Transport, name: str, host: str, attempt: int | None) -> int:
    """Return how many bytes a stream has; 0 for one that does not exist yet."""
    streams = [s for s in transport.log_streams(name) if s["host"] == host]
    if attempt is not None:
        streams = [s for s in streams if s["attempt"] == attempt]
    return int(streams[-1]["size_bytes"]) if streams else 0


def print_lines(
    transport: Transport,
    record: TrainingJobRecord,
    of_hosts: Iterable[str],
    *,
    attempt: int | None,
    tail: int | None,
    as_json: bool,
) -> None:
    """Print lines, one host after the other; with their host where the job has several."""
    several = len(record.spec.hosts) > 1
    for host in of_hosts:
        if tail is None:
            found: Iterable[OutputLine] = lines(
                host, chunks(transport, record.name, host, attempt=attempt)
            )
        else:
            found = tail_lines(transport, record.name, host, tail, attempt=attempt)
        for line in found:
            if as_json:
                print_json({"event": "log", "host": line.host, "text": line.text})
            else:
                sys.stdout.write(f"{line_text(line, with_host=several)}\n")
    sys.stdout.flush()


def print_raw(
    transport: Transport,
    record: TrainingJobRecord,
    of_hosts: tuple[str, ...],
    *,
    attempt: int | None,
    follow: bool,
) -> None:
    """Write one host's bytes as they are.

    Raises:
        InvalidSpec: Several hosts are meant.
    """
    if len(of_hosts) > 1:
        raise InvalidSpec(
            f"--raw shows one host, {record.name} has {len(of_hosts)}; add --host {of_hosts[0]}"
        )
    sys.stdout.flush()
    for block in chunks(transport, record.name, of_hosts[0], attempt=attempt, follow=follow):
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
