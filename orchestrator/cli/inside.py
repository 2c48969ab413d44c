"""How to get into a running job: its namespaces, its container, or only its directory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator_runtime import contract

from orchestrator.errors import InvalidState, NotFound, Unavailable

if TYPE_CHECKING:
    from orchestrator.spec.record import HostRecord, TrainingJobRecord

PROC = Path("/proc")
# nsenter's options for the kinds of namespaces; user comes first, it allows the others.
NAMESPACES = {
    "user": ("--user", "--preserve-credentials"),
    "mnt": ("--mount",),
    "pid": ("--pid",),
    "net": ("--net",),
    "ipc": ("--ipc",),
    "uts": ("--uts",),
}
SHELL = ("/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; else exec sh; fi")


_FOR_LOADER = frozenset(
    {"GCONV_PATH", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "NLSPATH", "NIS_PATH"}
    | {"RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR"}
)
"""With those that begin with LD_, GLIBC_ and MALLOC_: what glibc itself ignores in privileged programs."""


@dataclass(frozen=True)
class WayIn:
    """What is executed to get in.

    Attributes:
        argv: The command.
        environment: Its variables.
        cwd: Where it starts; None = here.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str | None = None


def way_in(
    record: TrainingJobRecord, host: str | None, words: tuple[str, ...], *, is_terminal: bool
) -> WayIn:
    """Return how to get to a job's program.

    Args:
        record: The job.
        host: Which host; None = the first.
        words: A command to run instead of a shell.
        is_terminal: Whether somebody types.

    Raises:
        InvalidState: Its program does not run.
        NotFound: It has no such host.
        Unavailable: It runs on another machine, or a program is missing here.
    """
    if record.status.is_terminal or not record.hosts:
        raise InvalidState(
            f"a shell needs a running job, {record.name} is {record.secondary_status.value}"
        )
    member = _member(record, host)
    handle = member.handle or {}
    if "container" in handle:
        return _into_container(str(handle["container"]), words, is_terminal=is_terminal)
    return into_process(record.name, Path(handle.get("directory", "")), words)


def _member(record: TrainingJobRecord, host: str | None) -> HostRecord:
    for member in record.hosts:
        if host in {None, member.host}:
            return member
    known = ", ".join(member.host for member in record.hosts)
    raise NotFound(f"--host must be one of {known}, got {host!r}")


def _into_container(container: str, words: tuple[str, ...], *, is_terminal: bool) -> WayIn:
    docker = _program("docker", "docker.io")
    tty = ["--tty"] if is_terminal else []
    argv = (docker, "exec", "--interactive", *tty, container, *(words or SHELL))
    return WayIn(argv, dict(os.environ))


def into_process(job: str, directory: Path, words: tuple[str, ...], *, proc: Path = PROC) -> WayIn:
    """Return how to get to a process tree of this machine.

    Args:
        job: The job's name.
        directory: Its host directory.
        words: A command to run instead of a shell.
        proc: The process table.

    Raises:
        InvalidState: The program does not run yet, or any more.
        Unavailable: The directory is on another machine, or nsenter is missing.
    """
    try:
        status = json.loads((directory / contract.STATUS_FILE).read_text(encoding="utf-8"))
        plan = json.loads((directory / contract.PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"a shell can be opened on the machine that runs {job}; its directory "
            f"{str(directory)!r} is not readable here"
        ) from error
    pid = status.get("program_pid")
    if not pid or not (proc / str(pid)).exists():
        raise InvalidState(f"the program of {job} does not run now; its log says more")
    environment = _environment(proc / str(pid), plan)
    differing = [options for kind, options in NAMESPACES.items() if _differs(proc, str(pid), kind)]
    if not differing:
        return WayIn(words or SHELL, environment, cwd=plan["cwd"])
    nsenter = _program("nsenter", "util-linux")
    flags = [word for options in differing for word in options]
    harmless = {name: value for name, value in environment.items() if not _is_for_loader(name)}
    inner = (*_without_rights(), *_given_inside(environment), *(words or SHELL))
    argv = (nsenter, "--target", str(pid), *flags, f"--wdns={plan['cwd']}", *inner)
    return WayIn(argv, harmless)


def _is_for_loader(name: str) -> bool:
    """Return whether a variable decides what code a program loads, before its own first line."""
    return name.startswith(("LD_", "GLIBC_", "MALLOC_")) or name in _FOR_LOADER


def _given_inside(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return what sets the loader's variables inside only: nsenter itself runs outside of the fence."""
    given = tuple(f"{n}={v}" for n, v in environment.items() if _is_for_loader(n))
    return ("/usr/bin/env", *given) if given else ()


def _without_rights() -> tuple[str, ...]:
    """Return what drops all capabilities, as the program itself runs; nothing where it is missing."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    return (setpriv, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


def _differs(proc: Path, pid: str, kind: str) -> bool:
    try:
        return (proc / pid / "ns" / kind).readlink() != (proc / "self" / "ns" / kind).readlink()
    except FileNotFoundError:
        return False  # a kind that this system does not have
    except PermissionError as error:
        raise Unavailable(
            f"process {pid} belongs to another user; open the shell as the user that runs the job"
        ) from error


def _environment(process: Path, plan: Mapping[str, object]) -> dict[str, str]:
    """Return the program's own variables, as far as it can be asked for them; TERM is ours.

    The first process of bubblewrap's fence has none: the program is its child.
    """
    candidates = (process, *(process.parent / child for child in _children(process)))
    found = next(filter(None, map(_variables, candidates)), {})
    planned = plan.get("environment")
    if not found and isinstance(planned, dict):
        found = dict(planned)
    return {**found, "TERM": os.environ.get("TERM", "dumb")}


def _variables(process: Path) -> dict[str, str]:
    try:
        words = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(word).partition("=") for word in words if b"=" in word)
    return {name: value for name, _, value in pairs}


def _children(process: Path) -> list[str]:
    try:
        return (process / "task" / process.name / "children").read_text(encoding="ascii").split()
    except OSError:
        return []


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(
            f"a shell into this job needs the program {name}; install it: apt-get install {package}"
        )
    return found
