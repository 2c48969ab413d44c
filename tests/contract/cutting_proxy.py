"""A TCP proxy on loopback that counts what passes and can cut connections short."""

import contextlib
import socket
import threading


class CuttingProxy:
    """Forwards to one address.

    Attributes:
        address: Where it listens, as an ``http://`` URL.
        downstream_bytes: What the clients got so far.
        cuts: Values of ``downstream_bytes`` at which the connection in use is cut, in order.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.downstream_bytes = 0
        self.cuts: list[int] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop listening and wait for all connections to end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for work in (self._up, self._down):
                    thread = threading.Thread(target=work, args=(client, server))
                    self._threads.append(thread)
                    thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
                with self._lock:
                    self.downstream_bytes += len(data)
                    cut = bool(self.cuts) and self.downstream_bytes >= self.cuts[0]
                    if cut:
                        del self.cuts[0]
                if cut:
                    break
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)
