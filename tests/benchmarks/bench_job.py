"""One line of Python, from the call that trains it to its end as the client sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from orchestrator.sdk.transport import Transport
from tests.benchmarks import peer
from tests.benchmarks.measure import Contender, Line, Options, Row, take_turns, timed
from tests.benchmarks.world import World, clean_variables, driven, fresh, served

BARE = "python"
BWRAP = "bwrap python"
SANDBOX = (
    *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
    *("--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session"),
)
TARGET_SECONDS = 0.10


def bare(world: World) -> Contender:
    """Return a contender that runs the script as anybody would."""
    return _process([sys.executable, str(world.script)])


def sandboxed(world: World) -> Contender:
    """Return a contender that runs the script in bubblewrap."""
    # The environment is bound again: it may be below /tmp.
    binds = [("--ro-bind", sys.prefix, sys.prefix), ("--ro-bind", world.script, "/tmp/hello.py")]
    inside = ["bwrap", *SANDBOX, *(str(word) for bind in binds for word in bind)]
    return _process([*inside, sys.executable, "/tmp/hello.py"])


def _process(argv: list[str]) -> Contender:
    variables = clean_variables()

    def run() -> None:
        subprocess.run(argv, stdout=subprocess.DEVNULL, env=variables, check=True)

    return timed(run)


def trained(world: World, transport: Transport) -> Contender:
    """Return a contender that trains the script and waits for its end."""
    trainer = world.trainer(transport)

    def run() -> None:
        job = trainer.train(wait=True, logs=False)
        assert job.status == "Completed", job.status

    return timed(run)


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    with ExitStack() as stack:
        local, remote = (stack.enter_context(fresh(options.folder)) for _ in range(2))
        contenders = {
            "socket": trained(local, stack.enter_context(driven(local))),
            "http": trained(remote, stack.enter_context(served(remote))[0]),
            BARE: bare(local),
        }
        if shutil.which("bwrap"):
            contenders[BWRAP] = sandboxed(local)
        contenders |= _torchx(local, stack)
        found = take_turns(contenders, options.of(31, 3))
        ours = {"socket": found.pop("socket"), "http": found.pop("http")}
        for way, series in ours.items():
            yield Row(
                f"one-line script, process, service by {way}",
                "s",
                series,
                found,
                TARGET_SECONDS,
                note="submit -> end seen; sandboxed",
            )


def _torchx(world: World, stack: ExitStack) -> dict[str, Callable[[], float]]:
    if not peer.is_there():
        return {}
    process = stack.enter_context(peer.library(world.folder))
    return {
        "TorchX API": peer.through_library(process, world, "local_cwd"),
        "torchx run": peer.command(world, "-s", "local_cwd", "utils.python"),
    }
