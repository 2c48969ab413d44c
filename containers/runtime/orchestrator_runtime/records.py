"""``report_metric``: a number from the user's program to the service, without slowing it.

One record is one write of at most 4,096 bytes to the job's FIFO: whole or not at all, also with
many ranks writing at once. It never waits. What does not fit now is kept in memory (up to
QUEUE_RECORDS) and sent with a later call or at exit.
"""

from __future__ import annotations

import atexit
import os
import stat
import time
from collections import deque

from orchestrator_runtime import contract, jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import SupportsFloat, SupportsIndex

NAME_MAX_CHARACTERS = 255  # as in MetricDefinition
QUEUE_RECORDS = 10_000
EXIT_FLUSH_SECONDS = 1.0
LAUNCHED_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Variables by which launchers tell a process which of them it is."""
_RANKS = (*LAUNCHED_RANKS, "SM_CURRENT_HOST_RANK")
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
on_metric: Callable[[str, float], None] | None = None
"""Is told of each metric: the debugger's record of the next step, while one is made."""


def report_metric(name: str, value: SupportsFloat, step: SupportsIndex | None = None) -> None:
    """Report one value of a metric.

    It may be called from any process and thread of a job. Outside of a job it checks its
    arguments and does nothing else. A value that is not finite is reported as such.

    Args:
        name: 1 to 255 printable characters, e.g. ``validation:accuracy``.
        value: Anything that ``float()`` takes but text: also NumPy and PyTorch scalars.
        step: Where on the x-axis it belongs; by default the service orders by time.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The name is empty, too long or unprintable; the step has more than 63 bits.
    """
    name = checked_name(name)
    number = checked_value(value)
    place = _checked_step(step)
    if on_metric is not None:
        on_metric(name, number)
    sink = _current_sink()
    if sink is not None:
        sink.send(_line(name, number, place, sink.rank))


def send_record(record: dict[str, object]) -> None:
    """Send a record of another kind, if there is a job to send it to.

    Args:
        record: JSON with a member ``kind``, of at most RECORD_MAX_BYTES.
    """
    sink = _current_sink()
    if sink is not None:
        sink.send(jsonlite.dumps({**record, "rank": sink.rank}).encode("utf-8") + b"\n")


def checked_name(name: str) -> str:
    """Return a name of a metric; raise what `report_metric` raises for a wrong one."""
    if not isinstance(name, str):
        raise TypeError(f"name must be text, got {type(name).__name__}")
    if not name or len(name) > NAME_MAX_CHARACTERS or not name.isprintable():
        raise ValueError(
            f"name must have 1 to {NAME_MAX_CHARACTERS} printable characters, got {name[:300]!r}"
        )
    return name


def checked_value(value: SupportsFloat) -> float:
    """Return a number of a metric; raise what `report_metric` raises for a wrong one."""
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"value must be a number, got {value!r}; convert it with float()")
    detach = getattr(value, "detach", None)
    try:
        return float(value if detach is None else detach())
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises RuntimeError
        raise TypeError(
            f"value must be a single number, got {type(value).__name__}: {error}"
        ) from error


def _checked_step(step: SupportsIndex | None) -> int | None:
    if step is None:
        return None
    try:
        place = step.__index__()
    except (AttributeError, TypeError) as error:
        raise TypeError(f"step must be a whole number, got {step!r}") from error
    if not -(2**63) <= place < 2**63:
        raise ValueError(f"step must fit into 64 bits, got {place}")
    return place


def _line(name: str, value: float, step: int | None, rank: int) -> bytes:
    text = repr(value)
    return (
        f'{{"kind":"metric","name":{jsonlite.dumps(name)},"value":{_NOT_FINITE.get(text, text)},'
        f'"step":{"null" if step is None else step},"time":{time.time():.6f},"rank":{rank}}}\n'
    ).encode("ascii")


class Sink:
    """The FIFO of the job, as one process sees it."""

    def __init__(self, path: str) -> None:
        self.rank = process_rank()
        self.dropped = 0
        self._queue: deque[bytes] = deque()
        self._descriptor = -1
        self._identity = (0, 0)
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            status = os.fstat(self._descriptor)
        except OSError:
            return  # the job has ended, or hides its FIFO: nobody is there to listen
        if stat.S_ISFIFO(status.st_mode):
            self._identity = (status.st_dev, status.st_ino)
        else:
            self.close()

    def send(self, line: bytes) -> None:
        """Write a line, or keep it for later."""
        if self._descriptor < 0:
            return
        if self._queue:
            self.flush()
        if self._queue or not self._write(line):
            self._keep(line)

    def flush(self) -> bool:
        """Write what was kept, as far as there is room; True when nothing is left."""
        while self._queue:
            try:
                line = self._queue.popleft()
            except IndexError:  # another thread took the last one
                break
            if not self._write(line):
                self._queue.appendleft(line)
                return False
        return True

    def flush_at_exit(self) -> None:
        """Write what was kept, waiting for a moment if need be."""
        deadline = time.monotonic() + EXIT_FLUSH_SECONDS
        while self._descriptor >= 0 and not self.flush() and time.monotonic() < deadline:
            time.sleep(0.005)

    def _keep(self, line: bytes) -> None:
        if len(self._queue) < QUEUE_RECORDS:
            self._queue.append(line)
        else:
            self.dropped += 1

    def _write(self, line: bytes) -> bool:
        """Write one line; False if there is no room now."""
        try:
            status = os.fstat(self._descriptor)
            if (status.st_dev, status.st_ino) != self._identity:
                self._descriptor = -1  # the program closed it, and the number is something else
                return True
            os.write(self._descriptor, line)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
        return True

    def close(self) -> None:
        """Let go of the pipe and of what was kept."""
        self._queue.clear()
        descriptor, self._descriptor = self._descriptor, -1
        try:
            os.close(descriptor)
        except OSError:
            return


_sinks: dict[int, Sink] = {}
"""The sink of this process by its pid. A fork has another pid: nothing is sent twice."""


def _current_sink() -> Sink | None:
    pid = os.getpid()
    sink = _sinks.get(pid)
    if sink is not None:
        return sink
    path = os.environ.get(contract.RECORDS_VARIABLE)
    if not path:
        return None
    if not _sinks:
        atexit.register(_at_exit)  # a forked child inherits the registration
    made = Sink(path)
    sink = _sinks.setdefault(pid, made)
    if sink is not made:  # another thread was faster
        made.close()
    for other in [known for known in _sinks if known != pid]:
        _sinks.pop(other, None)
    return sink


def _at_exit() -> None:
    sink = _sinks.get(os.getpid())
    if sink is not None:
        sink.flush_at_exit()


def process_rank(variables: Iterable[str] = _RANKS) -> int:
    """Return the rank of this process among those that train together, 0 if it is alone."""
    for variable in variables:
        text = os.environ.get(variable, "")
        if text.isdigit():
            return int(text)
    return 0
