"""In every Python that a test starts as a user's: a connection that leaves this machine is refused, and said.

The test looks for the sentence in the standard error, because telemetry hides its own failures.
"""

from __future__ import annotations

import sys
from typing import Any

LOCAL = ("127.", "::1", "localhost")


def refuse_the_internet(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook over connections and questions for names."""
    if event == "socket.connect":
        address = arguments[1]
        host = str(address[0]) if isinstance(address, tuple) else "localhost"
    elif event == "socket.getaddrinfo":
        host = str(arguments[0])
    else:
        return
    if not host.startswith(LOCAL):
        sys.stderr.write(f"LEFT THIS MACHINE: {host}\n")
        raise ConnectionRefusedError(f"only this machine may be reached, got {host}")


sys.addaudithook(refuse_the_internet)
