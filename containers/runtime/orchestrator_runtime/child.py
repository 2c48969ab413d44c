"""Starts a program: fork, enter the sandbox, exec. Errors come back over a pipe."""

from __future__ import annotations

import os
import sys

from orchestrator_runtime import jsonlite, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from orchestrator_runtime.cgroups import Group
    from orchestrator_runtime.contract import SandboxPlan


OOM_SCORE = 200


class Launch:
    """What to start: argv, environment and directory as the program sees them, and its fence."""

    def __init__(
        self,
        argv: list[str],
        environment: dict[str, str],
        cwd: str,
        sandbox: SandboxPlan,
        group: Group | None = None,
    ) -> None:
        self.argv = argv
        self.environment = environment
        self.cwd = cwd
        self.sandbox = sandbox
        self.group = group

    @property
    def kind(self) -> str:
        """The kind of sandbox."""
        return str(self.sandbox["kind"])


class Child:
    """A started program. ``report`` and ``info`` are descriptors to watch, -1 when closed."""

    def __init__(self, pid: int, report: int, info: int) -> None:
        self.pid = pid
        self.report = report
        self.info = info
        self.status: int | None = None
        self.error: str | None = None
        self.program_pid: int | None = None
        self.inner_exit: int | None = None
        self.inner_status: int | None = None
        self._report_bytes = b""
        self._info_bytes = b""

    @property
    def ended(self) -> bool:
        """Whether the program has ended and its status is known."""
        return self.status is not None

    def read_report(self) -> None:
        """Read the error of a start; end of file means that the program was executed."""
        data = os.read(self.report, 65536)
        if data:
            self._report_bytes += data
            return
        os.close(self.report)
        self.report = -1
        if self._report_bytes:
            self.error = self._report_bytes.decode("utf-8", "replace")

    def read_info(self) -> bool:
        """Read what the sandbox says of its program; True when its pid became known."""
        data = os.read(self.info, 65536)
        if not data:
            os.close(self.info)
            self.info = -1
            return False
        self._info_bytes += data
        *lines, self._info_bytes = self._info_bytes.split(b"\n")
        known = self.program_pid
        for line in lines:
            self._learn(line)
        return self.program_pid != known

    def _learn(self, line: bytes) -> None:
        if not line.strip():
            return
        said = jsonlite.loads(line)
        self.program_pid = said.get("child-pid", self.program_pid)
        self.inner_exit = said.get("exit-code", self.inner_exit)
        self.inner_status = said.get("status", self.inner_status)

    def close(self) -> None:
        """Read what is left and let go of the descriptors."""
        for name, read in (("report", self.read_report), ("info", self.read_info)):
            descriptor = getattr(self, name)
            if descriptor < 0:
                continue
            os.set_blocking(descriptor, False)
            try:
                while getattr(self, name) >= 0:
                    read()
            except BlockingIOError:
                os.close(descriptor)
                setattr(self, name, -1)


def spawn(launch: Launch, output: int) -> Child:
    """Start a program with its output on a descriptor. Must run on the main thread.

    A sandbox dies with the thread that started it, so that nothing outlives its supervisor.

    Raises:
        OSError: No process or descriptor could be made.
    """
    report_reader, report_writer = os.pipe()
    info_reader = info_writer = -1
    if launch.kind in ("bubblewrap", "namespaces"):
        info_reader, info_writer = os.pipe()
    signals.block()
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(launch, output, report_writer, info_writer, parent)
    finally:
        signals.unblock()
        os.close(report_writer)
        if info_writer >= 0:
            os.close(info_writer)
    return Child(pid, report_reader, info_reader)


def _become(launch: Launch, output: int, report: int, info: int, parent: int) -> NoReturn:
    """Turn this forked process into the program."""
    try:
        os.setsid()
        signals.restore_defaults()
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        if launch.group is not None:
            launch.group.enter()
        _volunteer()
        _execute(launch, report, info, parent)
    except BaseException as error:
        os.write(report, _explain(error).encode("utf-8", "replace"))
        raise
    finally:
        os._exit(127)


def _volunteer() -> None:
    """Let the kernel, when the whole machine is short of memory, end programs before supervisors."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            score = int(file.read() or b"0")
            file.write(b"%d" % min(score + OOM_SCORE, 1000))
    except (OSError, ValueError):
        return  # no Linux, or a masked /proc: the kernel chooses by size alone


def _explain(error: BaseException) -> str:
    """Say in one line why a program could not be executed."""
    if not isinstance(error, OSError):  # NUL in an argument, a broken plan
        return f"{type(error).__name__}: {error}"
    if error.strerror is None:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename else error.strerror


def _execute(launch: Launch, report: int, info: int, parent: int) -> None:
    kind = launch.kind
    if kind == "bubblewrap":
        os.set_inheritable(info, True)
        os.chdir("/")
        tool, *options = launch.sandbox["prefix"]
        given = _environment_options(launch.environment)
        argv = [tool, "--json-status-fd", str(info), "--args", str(given), *options, *launch.argv]
        os.execve(tool, argv, {})  # noqa: S606
    if kind == "namespaces":
        from orchestrator_runtime import sandbox  # noqa: PLC0415 -- only where bubblewrap lacks

        plan = launch.sandbox["namespaces"]
        assert plan is not None
        sandbox.enter(plan, report=report, info=info, parent=parent)
    elif sys.platform.startswith("linux"):
        from orchestrator_runtime import native  # noqa: PLC0415

        native.die_with_parent(parent)
    os.chdir(launch.cwd)
    try:
        os.execvpe(launch.argv[0], launch.argv, launch.environment)  # noqa: S606
    except OSError as error:  # it names the last place of PATH that was tried
        raise OSError(error.errno, error.strerror) from error


def _environment_options(environment: dict[str, str]) -> int:
    """Return a descriptor from which bubblewrap reads the program's variables.

    bubblewrap itself runs outside of the fence and must not be told by a job what to load
    (``LD_PRELOAD``) or where from (``PATH``): it gets no variable, and sets these for the program.

    Raises:
        ValueError: A variable has a NUL, which would end its option and begin another.
    """
    options = ["--clearenv"]
    for name, value in environment.items():
        if "\0" in name or "\0" in value:
            raise ValueError(f"the environment must not have NUL bytes, {name!r} has one")
        options += ["--setenv", name, value]
    descriptor = os.memfd_create("environment", 0)
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(b"".join(os.fsencode(option) + b"\0" for option in options))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
