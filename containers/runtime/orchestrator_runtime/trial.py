"""``try-namespaces``: whether this system lets a sandbox of namespaces be entered."""

from __future__ import annotations

import os
import sys

from orchestrator_runtime import sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.contract import NamespacePlan


def try_namespaces() -> int:
    """Enter a sandbox as jobs do and end at once; return 0 if that works, else say why not."""
    plan: NamespacePlan = {
        "binds": [],
        "tmpfs": ["/opt", "/run"],
        "hide": [],
        "network": True,
        "hostname": "algo-1",
    }
    report, info = os.pipe()[1], os.pipe()[1]
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.enter(plan, report=report, info=info, parent=supervisor)
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return 0 if os.waitpid(pid, 0)[1] == 0 else 1
