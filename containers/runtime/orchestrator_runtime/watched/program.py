"""One command from its start to the end of its last process, with its records read meanwhile."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from orchestrator_runtime import contract, tree
from orchestrator_runtime.watched.family import Family
from orchestrator_runtime.watched.keys import KEYS, MESSAGES, Keys, has_terminal
from orchestrator_runtime.watched.pipe import RecordPipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from orchestrator_runtime.watched.account import Account

LINGER_SECONDS = 2.0
"""How long helpers of a program may take to end after it, before they are killed."""
KILL_SECONDS = 20.0
"""How long processes may take to disappear after SIGKILL before they are given up."""
POLL_SECONDS = 0.02
SIGNAL_BASE = 128
# What Python ignores and no other program does.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


class CannotStart(OSError):
    """The command cannot be executed; number and text are the system's."""


class Ending(NamedTuple):
    """How the command itself ended.

    Attributes:
        code: As a shell has it: its exit code, or 128 and the number of a signal.
        stopped: Whether a rule had it asked to end before it had ended.
    """

    code: int
    stopped: bool = False


def code_of(status: int) -> int:
    """Return what a shell makes of a wait status."""
    if os.WIFSIGNALED(status):
        return SIGNAL_BASE + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def run(
    command: Sequence[str],
    plan: Mapping[str, Any],
    account: Account,
    *,
    grace_seconds: float,
    environment: Mapping[str, str] | None = None,
    family: Family | None = None,
) -> Ending:
    """Run a command with the debugger's hook in its Pythons, and leave nothing behind.

    Its input and output are ours, and on a terminal its process group too, so that it is asked by
    the same keys. A finding whose rule stops the run has its programs asked to end; after the
    grace all of it is killed. Must be called on the main thread.

    Args:
        command: Program and arguments.
        plan: See `hook.plan.DebugPlan`; places must be absolute.
        account: Takes what the hook says.
        grace_seconds: From the request to end to the kill.
        environment: What the command gets beside ours; by default that of this process.
        family: How its processes are found; by default as this system can.

    Raises:
        CannotStart: The command cannot be executed.
        OSError: No temporary files can be made.
    """
    base = os.environ if environment is None else environment
    directory = tempfile.mkdtemp(prefix="orchestrator-debug-")
    keys = Keys()
    try:
        pipe = RecordPipe(directory, base.get(contract.RECORDS_VARIABLE))
        try:
            given = prepare(directory, plan, base)
            running = _Run(keys, pipe, account, grace_seconds, family or Family())
            return running.watch(command, given)
        finally:
            pipe.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        keys.close()


def prepare(
    directory: str, plan: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, str]:
    """Write the plan, and return the environment in which a Python finds it and the hook."""
    path = os.path.join(directory, contract.DEBUG_PLAN_FILE)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(plan, file)
    # The runtime alone: beside it may lie packages that are none of the program's.
    runtime = os.path.join(directory, "runtime")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.mkdir(runtime)
    os.symlink(package, os.path.join(runtime, os.path.basename(package)))
    given = environment.get("PYTHONPATH")
    places = [os.path.join(runtime, contract.DEBUG_SITE), *([given] if given else []), runtime]
    return {
        **environment,
        contract.RECORDS_VARIABLE: os.path.join(directory, contract.RECORDS_FIFO),
        contract.DEBUG_VARIABLE: path,
        "PYTHONPATH": os.pathsep.join(places),
    }


class _Run:
    """The loop. ``watch`` is called once."""

    def __init__(
        self, keys: Keys, pipe: RecordPipe, account: Account, grace: float, family: Family
    ) -> None:
        self._keys = keys
        self._pipe = pipe
        self._account = account
        self._grace = grace
        self._family = family
        self._shares_keys = has_terminal()
        self._child = 0
        self._status: int | None = None
        self._stopped = False

    def watch(self, command: Sequence[str], environment: Mapping[str, str]) -> Ending:
        """Run the command; return when nothing of it is left."""
        # Without a terminal it gets a group of its own, so that a signal to ours reaches it once.
        group: dict[str, Any] = {} if self._shares_keys else {"setpgroup": 0}
        try:
            self._child = os.posix_spawnp(
                command[0], list(command), environment, setsigdef=_RESTORED, **group
            )
        except OSError as error:
            raise CannotStart(error.errno, error.strerror) from error
        while self._status is None:
            self._turn()
        self._clear()
        self._read()
        return Ending(code_of(self._status), self._stopped)

    def _turn(self) -> None:
        wake_at = self._family.wake_at
        self._wait(None if wake_at is None else max(wake_at - time.monotonic(), 0.0))
        if self._family.outcome is None or self._status is not None:
            return
        self._stopped = True
        if self._family.tick(self._child):
            self._family.kill(self._child)
            self._wait(POLL_SECONDS)

    def _wait(self, seconds: float | None) -> None:
        """Wait for records and signals, and act on them."""
        ready, _, _ = select.select(
            (self._pipe.descriptor, self._keys.descriptor), (), (), seconds
        )
        if self._pipe.descriptor in ready:
            self._read()
        if self._keys.descriptor in ready:
            for number in self._keys.take():
                self._pass_on(number)
            self._reap()

    def _read(self) -> None:
        for record in self._pipe.read():
            self._account.take(record)
        if self._account.stop is not None and self._status is None:
            self._family.ask("stopped", "rule_stop", self._grace)

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGTERM:
            self._family.ask_once(self._child)
        elif number in KEYS and not self._shares_keys:
            tree.send_to_group(self._child, number)
        elif number in MESSAGES:
            tree.send((self._child,), number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._status = status

    def _clear(self) -> None:
        """Give what the program left a moment to end, then kill it."""
        kill_at = time.monotonic() + LINGER_SECONDS
        while self._family.members(self._child):
            moment = time.monotonic()
            if moment > kill_at + KILL_SECONDS:
                return
            if moment >= kill_at:
                self._family.kill(self._child)
            self._wait(POLL_SECONDS)
            self._reap()
