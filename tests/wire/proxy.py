"""A TCP proxy in front of a service that can lose what the service answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class LosingProxy:
    """Passes requests on; while `lose` is above 0, closes the connection instead of answering.

    The service has heard and answered the request then; only the client does not know. With
    `cut_after`, the connection on which that many bytes of answers have passed is cut, once.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.lose = 0
        self.lost: list[bytes] = []
        self.cut_after: int | None = None
        self.cuts = 0
        self.answered_bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            service = socket.create_connection(self._target)
            for source, target, loses in ((client, service, False), (service, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, target, loses), daemon=True
                ).start()

    def _pump(self, source: socket.socket, target: socket.socket, loses: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if loses and self._loses(data):
                    break
                target.sendall(data)
                if loses and self._cuts(len(data)):
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _cuts(self, size: int) -> bool:
        with self._lock:
            self.answered_bytes += size
            if self.cut_after is None or self.answered_bytes < self.cut_after:
                return False
            self.cut_after = None
            self.cuts += 1
            return True

    def _loses(self, data: bytes) -> bool:
        with self._lock:
            if self.lose <= 0:
                return False
            self.lose -= 1
            self.lost.append(data)
            return True
