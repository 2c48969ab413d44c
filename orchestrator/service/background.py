"""The life of a detached driver: serves the socket, drives, ends itself when nothing is left."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from orchestrator.service.methods import methods
from orchestrator.service.rpc import RpcServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from orchestrator.service.assemble import Service

IDLE_CHECK_SECONDS = 0.5


def run_driver(service: Service, socket: Path, on_ready: Callable[[], None]) -> int:
    """Drive until idle for the settings' linger time, or until SIGTERM. Running jobs go on.

    Returns at once, with success, when another process drives already.
    """
    if not service.driving.try_start():
        service.close()
        return 0
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    server = RpcServer(socket, methods(service))
    on_ready()
    linger = service.settings.driver_linger_seconds
    try:
        while not stop.wait(min(IDLE_CHECK_SECONDS, linger or 0.05)):
            if not service.driving.is_driving:
                return 1
            if server.is_quiet(linger) and _may_end(service, server, linger):
                return 0
    finally:
        server.close()
        service.close()
    return 0


def _may_end(service: Service, server: RpcServer, linger: float) -> bool:
    """Return whether nothing is left to do; then nothing more is accepted either.

    Requests are refused first, so that no job is accepted and then forgotten.
    """
    if not _is_idle(service, linger) or not server.pause():
        return False
    if _is_idle(service, linger):
        return True
    server.resume()
    return False


def _is_idle(service: Service, linger: float) -> bool:
    has_work = service.notifier.has_work() or service.tuner.has_work()
    return service.driving.is_idle(linger) and not has_work
