"""Who drives tells what others ask for from what supervisors show."""

from __future__ import annotations

import queue
import socket
from pathlib import Path

from orchestrator.service.driving import WakeSocket
from orchestrator.service.sockets import poke


def test_an_empty_datagram_asks_and_one_that_says_something_shows(tmp_path: Path) -> None:
    heard: queue.Queue[str] = queue.Queue()
    path = tmp_path / "wake.sock"
    listener = WakeSocket(path, asked=lambda: heard.put("asked"), seen=lambda: heard.put("seen"))
    try:
        poke(path)
        assert heard.get(timeout=20) == "asked"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.sendto(b'{"phase": "ended"}', str(path))
        assert heard.get(timeout=20) == "seen"
    finally:
        listener.close()
    assert not path.exists()
