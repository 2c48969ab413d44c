"""A sandbox of Linux namespaces, entered after a fork: what bubblewrap does, where it is missing.

The calling process becomes a guard outside of the new pid namespace; its child is the first
process inside, which reaps orphans and ends with the program, and everything else with it; and
the program is that one's child. The guard dies with the supervisor, the first process with the
guard.
"""

from __future__ import annotations

import os
import struct

from orchestrator_runtime import files, jsonlite, mounts, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from orchestrator_runtime.contract import NamespacePlan

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
# What a program of root keeps: it may own, change and read files and become another user, but
# not mount, load modules, make devices or change the network.
_KEPT_CAPABILITIES = frozenset(
    {0, 1, 2, 3, 4, 5, 6, 7, 10}  # CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL
)  # SETGID SETUID NET_BIND_SERVICE
_LAST_CAPABILITY = 63


def enter(plan: NamespacePlan, *, report: int, info: int, parent: int) -> None:
    """Put this process into new namespaces; returns only in the process that becomes the program.

    Args:
        plan: What to unshare and mount.
        report: Descriptor for errors, kept open until the program is executed.
        info: Descriptor for JSON lines: ``child-pid``, and ``status`` at the end.
        parent: The supervisor's pid.

    Raises:
        OSError: The system refused a step; the text names it.
    """
    native.die_with_parent(parent)
    files.close_all_but(frozenset({0, 1, 2, report, info}))
    _unshare(plan)
    mounts.apply(plan)
    native.call("sethostname", plan["hostname"].encode(), len(plan["hostname"].encode()))
    listen, tell = os.pipe()
    pid = os.fork()
    if pid:
        _guard(pid, report, info, tell)
    os.close(tell)
    # The guard is outside of our pid namespace: its pid reads 0 here, so it has to say that it
    # lives. Should it die in between, the supervisor adopts us and finds us in its tree.
    native.die_with_parent(0)
    if not os.read(listen, 1):
        os._exit(1)
    os.close(listen)
    mounts.fresh_proc()
    pid = os.fork()
    if pid:
        _first_process(pid, report, info)
    os.setsid()
    _drop_privileges()


def _guard(pid: int, report: int, info: int, tell: int) -> NoReturn:
    """Outside: tell the first process's pid, and wait for its end."""
    os.write(info, jsonlite.dumps({"child-pid": pid}).encode() + b"\n")
    os.write(tell, b"1")
    _leave_only_devnull(report, info)
    _, status = os.waitpid(pid, 0)
    os._exit(0 if status == 0 else 1)


def _first_process(program: int, report: int, info: int) -> NoReturn:
    """Inside: reap whatever ends, and end with the program. Signals to it have no effect."""
    _leave_only_devnull(report)
    while True:
        pid, status = os.wait()
        if pid == program:
            os.write(info, jsonlite.dumps({"status": status}).encode() + b"\n")
            os._exit(0)


def _leave_only_devnull(*descriptors: int) -> None:
    """Let go of the program's output and of ``descriptors``."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for number in (null, *descriptors):
        os.close(number)


def _unshare(plan: NamespacePlan) -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEWNS | _NEWPID | _NEWUTS | _NEWIPC
    if not plan["network"]:
        flags |= _NEWNET
    if uid != 0:
        flags |= _NEWUSER
    native.call("unshare", flags)
    if uid != 0:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    if not plan["network"]:
        _raise_loopback()


def _raise_loopback() -> None:
    import fcntl  # noqa: PLC0415 -- one way of two
    import socket  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", b"lo", 0)
        _, flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _drop_privileges() -> None:
    """Give up what the program must not have.

    The first process keeps all its capabilities: so the kernel lets no program look into its
    memory or reach its descriptors, one of which tells how the program ended.
    """
    for capability in range(_LAST_CAPABILITY + 1):
        if capability in _KEPT_CAPABILITIES:
            continue
        try:
            native.call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:
            break  # the kernel knows no more of them, or we have none to give
    native.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
