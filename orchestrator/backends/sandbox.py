"""How a process-back-end job is fenced in, as pure values.

``bubblewrap_prefix`` gives the argv prefix of a cold start. ``namespaces`` gives the same fence
for machines without bubblewrap: the runtime's own ``sandbox.enter`` builds it after fork.
"""

from __future__ import annotations

import shutil
import subprocess  # argv lists only
from dataclasses import dataclass
from pathlib import Path

from orchestrator_runtime import contract

Bind = tuple[str, str]


@dataclass(frozen=True)
class Fence:
    """What a host sees of the machine.

    Attributes:
        hostname: Its own name, ``algo-1``.
        writable: (source, target) pairs it may change.
        read_only: (source, target) pairs it may read.
        hidden: Directories that appear empty.
        devices: Device nodes of its leased GPUs.
        network: Whether it reaches the network; otherwise only its own loopback.
        cwd: Working directory inside.
        opt_entries: What the machine keeps in /opt: bound back, since /opt itself is covered.
    """

    hostname: str
    writable: tuple[Bind, ...]
    read_only: tuple[Bind, ...]
    hidden: tuple[str, ...]
    devices: tuple[str, ...]
    network: bool
    cwd: str
    opt_entries: tuple[str, ...]


def bubblewrap_prefix(fence: Fence, program: str) -> list[str]:
    """Return the argv that is put before the program's own (bubblewrap 0.8 or newer).

    Args:
        fence: What the host sees.
        program: Absolute path of bwrap: it must not be looked for where a job says.
    """
    argv = [program, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--hostname", fence.hostname]
    if not fence.network:
        argv.append("--unshare-net")
    argv += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run"]
    for device in fence.devices:
        argv += ["--dev-bind", device, device]
    for path in ("/opt", *fence.hidden):
        argv += ["--tmpfs", path]
    for entry in fence.opt_entries:
        argv += ["--ro-bind", entry, entry]
    for source, target in fence.writable:
        argv += ["--bind", source, target]
    for source, target in fence.read_only:
        argv += ["--ro-bind", source, target]
    return [*argv, "--cap-drop", "ALL", "--chdir", fence.cwd, "--"]


def namespaces(fence: Fence) -> contract.NamespacePlan:
    """Return the same fence in the form that the runtime's ``sandbox.enter`` reads."""
    binds = [["/", "/", "ro"]]  # what is not bound otherwise cannot be changed
    binds += [[entry, entry, "ro"] for entry in fence.opt_entries]
    binds += [[source, target, "rw"] for source, target in fence.writable]
    binds += [[source, target, "ro"] for source, target in fence.read_only]
    return {
        "binds": binds,
        "tmpfs": ["/opt", "/run"],
        "hide": list(fence.hidden),
        "network": fence.network,
        "hostname": fence.hostname,
    }


def opt_entries(directory: Path = Path("/opt")) -> tuple[str, ...]:
    """Return what this machine keeps in /opt, less the names that jobs use themselves."""
    own = {Path(contract.ML).name, Path(contract.RUNTIME).name}
    if not directory.is_dir():
        return ()
    return tuple(str(p) for p in sorted(directory.iterdir()) if p.name not in own)


def bubblewrap_program() -> str:
    """Return the absolute path of bwrap by this process's own PATH; where it belongs if it is missing."""
    return str(Path(shutil.which("bwrap") or "/usr/bin/bwrap").absolute())


def bubblewrap_works(program: str | None = None) -> bool:
    """Try bubblewrap once, the way jobs use it (about 10 ms)."""
    program = program or bubblewrap_program()
    fence = Fence("algo-1", (), (), (), (), network=True, cwd="/", opt_entries=())
    argv = [*bubblewrap_prefix(fence, program), "/bin/sh", "-c", ":"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def hosts_file(addresses: dict[str, str]) -> str:
    """Return the text of /etc/hosts for host names with their addresses."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    return "\n".join(lines + [f"{address} {name}" for name, address in addresses.items()]) + "\n"


def loopback_addresses(number: int, hosts: tuple[str, ...]) -> dict[str, str]:
    """Return an address per host that no other job on this machine has (within 127/8).

    Args:
        number: The job's number; two jobs less than 64,516 apart never share an address.
        hosts: Host names in rank order.
    """
    high, low = 1 + (number // 254) % 254, 1 + number % 254
    return {host: f"127.{high}.{low}.{rank % 254 + 1}" for rank, host in enumerate(hosts)}
