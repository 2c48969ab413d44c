"""What an image or machine offers to the runtime."""

from __future__ import annotations

import os
import sys

from orchestrator_runtime import jsonlite


def probe() -> str:
    """Return a JSON object: interpreter, its version, whether it has pip, machine architecture."""
    import site  # noqa: PLC0415 -- isolated starts come without site-packages
    from importlib import machinery  # noqa: PLC0415 -- only this verb needs it

    site.main()
    machine = os.uname()
    return jsonlite.dumps(
        {
            "python": list(sys.version_info[:3]),
            "executable": sys.executable,
            "pip": machinery.PathFinder.find_spec("pip") is not None,
            "system": machine.sysname,
            "architecture": machine.machine,
            "uid": os.getuid(),
        }
    )
