"""Starts the driver while this process still loads and packs: both take about as long."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.home import home_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

URL_VARIABLE = "ORCHESTRATOR_URL"


def start_driver_early(home: Path | None, url: str | None) -> Callable[[], None]:
    """Begin to start a driver where none answers; return what waits until that is over.

    Whatever goes wrong is told by the call that needs the driver.

    Args:
        home: The home directory; None = as the environment says.
        url: Address of a service, which then drives.
    """
    if url or os.environ.get(URL_VARIABLE):
        return lambda: None
    from orchestrator.embedded import connect_driver

    place = home.expanduser().absolute() if home else home_directory()
    connection = connect_driver(place)
    if connection is not None:
        connection.close()
        return lambda: None
    thread = threading.Thread(target=_start, args=(place,), name="driver start", daemon=True)
    thread.start()
    return thread.join


def _start(home: Path) -> None:
    from orchestrator.embedded import start_driver

    with suppress(OrchestratorError, OSError):
        start_driver(home)
