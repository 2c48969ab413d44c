"""Mounts of a sandbox of namespaces. Nothing is changed outside of the mount namespace."""

from __future__ import annotations

import errno
import os
import stat

from orchestrator_runtime import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.contract import NamespacePlan

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_NOATIME, _NODIRATIME, _BIND, _REC, _PRIVATE, _RELATIME = (
    1024,
    2048,
    4096,
    16384,
    1 << 18,
    1 << 21,
)
_FLAGS = {
    "nosuid": _NOSUID,
    "nodev": _NODEV,
    "noexec": _NOEXEC,
    "noatime": _NOATIME,
    "nodiratime": _NODIRATIME,
    "relatime": _RELATIME,
}
_NEVER_READ_ONLY = ("/dev", "/proc")
"""Device nodes and the process table are no place where a program could leave anything."""


def apply(plan: NamespacePlan) -> None:
    """Mount what the plan says. The calling process must be in a mount namespace of its own.

    A bind of ``/`` on ``/`` makes all that is not bound otherwise read-only. Sources are looked
    up before anything is covered.

    Raises:
        OSError: A step was refused.
    """
    _mount(None, "/", None, _REC | _PRIVATE)
    modes: dict[str, str] = {}
    opened: list[tuple[int, str]] = []
    targets = _Targets()
    for source, target, mode in plan["binds"]:
        modes[target.rstrip("/") or "/"] = mode
        if target != "/":
            opened.append((os.open(source, os.O_PATH | os.O_CLOEXEC), target))
    for target in plan["hide"]:
        _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, "mode=0755")
        targets.own(target)
        modes[target] = "ro"
    for target in plan["tmpfs"]:
        targets.make(target, stat.S_IFDIR)
        _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, "mode=1777")
        targets.own(target)
        modes[target] = "rw"
    for descriptor, target in opened:
        targets.make(target, os.fstat(descriptor).st_mode)
        _mount(f"/proc/self/fd/{descriptor}", target, None, _BIND | _REC)
        os.close(descriptor)
    _set_modes(modes)


def fresh_proc() -> None:
    """Show only the processes of this pid namespace in /proc, where the system permits it."""
    try:
        _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY):  # /proc is masked: inside a container
            raise


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind)]
    try:
        native.call("mount", *texts, flags, data.encode() if data is not None else None)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OSError(error.errno, f"mount of {source} on {target} failed: {reason}") from error


class _Targets:
    """Makes mount points where there are none, in tmpfs laid over what is there."""

    def __init__(self) -> None:
        self._ours: set[str] = set()

    def own(self, directory: str) -> None:
        """Note a tmpfs of ours: mount points in it are simply made."""
        self._ours.add(directory)

    def make(self, target: str, mode: int) -> None:
        """Make one mount point: a directory, or an empty file for anything else."""
        if os.path.lexists(target):
            return
        above = os.path.dirname(target)
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        if above == "/":
            raise OSError(
                errno.ENOENT, f"{target} cannot be served: its directory is missing in /"
            )
        if not any(above == top or above.startswith(top + "/") for top in self._ours):
            _cover(above)
            self._ours.add(above)
        if stat.S_ISDIR(mode):
            os.makedirs(target, mode=0o755)
            return
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644))


def _cover(directory: str) -> None:
    """Lay a tmpfs over a directory and bind back what it holds."""
    inside = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    names = os.listdir(directory)
    _mount("tmpfs", directory, "tmpfs", _NOSUID | _NODEV, "mode=0755")
    for name in names:
        old, new = f"/proc/self/fd/{inside}/{name}", f"{directory}/{name}"
        mode = os.lstat(old).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(old), new)
            continue
        if stat.S_ISDIR(mode):
            os.mkdir(new)
        else:
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT, 0o644))
        _mount(old, new, None, _BIND | _REC)
    os.close(inside)


def _set_modes(modes: dict[str, str]) -> None:
    """Give every mount the mode of the nearest target above it."""
    for point, flags, read_only in list_mounts():
        wanted = _mode_of(point, modes)
        if wanted is None or (wanted == "ro") == read_only:
            continue
        try:
            new = flags | (_RDONLY if wanted == "ro" else 0)
            _mount(None, point, None, _BIND | _REMOUNT | new)
        except OSError as error:
            # Hidden below another mount, not for our eyes, or locked: beyond the program's reach,
            # unless it was to be writable.
            if error.errno not in (errno.ENOENT, errno.EACCES, errno.EINVAL):
                raise


def _mode_of(point: str, modes: dict[str, str]) -> str | None:
    """Return the mode a mount point should have, None if it stays as it is."""
    where = point
    while True:
        if where in modes:
            break
        if where == "/":
            return None
        where = os.path.dirname(where)
    if where == "/" and any(
        point == top or point.startswith(top + "/") for top in _NEVER_READ_ONLY
    ):
        return None
    return modes[where]


def list_mounts() -> list[tuple[str, int, bool]]:
    """Return (mount point, flags to keep, read-only?) of every mount, in the order of mounting."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            options = fields[5].split(",")
            flags = 0
            for option in options:
                flags |= _FLAGS.get(option, 0)
            found.append((_unescape(fields[4]), flags, "ro" in options))
    return found


def _unescape(path: str) -> str:
    """Undo the octal escapes of blanks and backslashes in /proc."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
