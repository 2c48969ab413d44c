"""``start-supervisors HOME``: forks a supervisor for every host directory that it is told.

A fresh interpreter takes fifteen milliseconds to become a supervisor, and whoever spawns one
stands still for half of them; one that has loaded all of it forks in two. Supervisors are the
same either way, and outlive this process as they outlive their driver.

Each line of standard input is an object: ``directory``, ``errors`` (a file for what the supervisor
itself has to say), ``title`` (its name in lists of processes). It is answered on standard output
when the directory was claimed (``{"claimed": true}``), or when the supervisor has ended without
(false). HOME only says in lists of processes whose this is.
"""

from __future__ import annotations

import gc
import os
import select

from orchestrator_runtime import jsonlite
from orchestrator_runtime.supervise import supervise

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # as in `signals`

IDLE_SECONDS = 60.0
_CLAIMED = b"1"


def start_supervisors(idle_seconds: float = IDLE_SECONDS) -> int:
    """Serve until input ends, or nobody has asked for ``idle_seconds`` and no supervisor is left.

    Returns the exit code of this process, and in every fork that of its supervisor.
    """
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the system reaps
    gc.freeze()  # what is there now stays shared with all supervisors
    unread = b""
    while True:
        if not select.select([0], [], [], idle_seconds)[0]:
            if _has_supervisors():
                continue  # somebody has to be there who reaps them
            break
        data = os.read(0, 65536)
        if not data:
            break
        *lines, unread = (unread + data).split(b"\n")
        for line in lines:
            wish = jsonlite.loads(line)
            told, tell = os.pipe()
            if os.fork() == 0:
                os.close(told)
                return _become_supervisor(wish, tell)
            os.close(tell)
            answer = {"claimed": os.read(told, 1) == _CLAIMED}
            os.close(told)
            os.write(1, jsonlite.dumps(answer).encode() + b"\n")
    return 0


def _has_supervisors() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _become_supervisor(wish: dict[str, str], tell: int) -> int:
    """Be what `supervise` in a process of its own would be; return its exit code."""
    os.setsid()
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    null, errors = os.open(os.devnull, os.O_RDONLY), os.open(wish["errors"], append, 0o600)
    for source, target in ((null, 0), (errors, 1), (errors, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(errors)
    _call_self(wish["title"])

    def claimed() -> None:
        try:
            os.write(tell, _CLAIMED)
        except OSError:
            return  # who forked this one has ended; the directory is this one's all the same
        finally:
            os.close(tell)

    return supervise(wish["directory"], claimed)


def _call_self(title: str) -> None:
    """Show in lists of processes which job this is for; the system keeps fifteen characters."""
    try:
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(title.encode()[:15])
    except OSError:
        return  # a masked /proc: it keeps the interpreter's name
