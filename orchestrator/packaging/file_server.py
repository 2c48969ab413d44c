"""Serves directories of packages to an image build on this machine.

A build sees nothing of the machine's disk, and wheels of frameworks are too large to be copied
into each build context. Only loopback is listened on, below an address that cannot be guessed,
and only while the build runs.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self


class PackageServer:
    """Use as a context manager; ``url`` then names each directory for the build."""

    def __init__(self, directories: Iterable[Path]) -> None:
        """Prepare to serve; nothing is started when there is nothing to serve.

        The directory above each one is served, because the pages of a package index name the
        files beside it (``../../files``).
        """
        self._token = secrets.token_urlsafe(16)
        self._roots: dict[str, Path] = {}
        self._names: dict[Path, str] = {}
        for directory in directories:
            if directory.is_dir():
                number = str(len(self._roots))
                self._roots[number] = directory.parent
                self._names[directory] = f"{number}/{directory.name}/"
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start."""
        if self._roots:
            handler = partial(_Handler, self._token, self._roots)
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            self._server.daemon_threads = True
            self._thread = threading.Thread(target=self._server.serve_forever, name="packages")
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @property
    def serves(self) -> bool:
        """Whether anything is served, so that the build needs the machine's network."""
        return self._server is not None

    def url(self, directory: Path) -> str:
        """Return the address of a directory; of one that does not exist, the path itself."""
        name = self._names.get(directory)
        if name is None or self._server is None:
            return str(directory)
        return f"http://127.0.0.1:{self._server.server_port}/{self._token}/{name}"


class _Handler(SimpleHTTPRequestHandler):
    def __init__(
        self, token: str, roots: dict[str, Path], request: object, address: object, server: object
    ) -> None:
        self._token = token
        self._roots = roots
        super().__init__(request, address, server)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """Return the file of a request; one that does not exist if it may not be had."""
        _, token, number, *rest = [*path.split("/", 3), "", "", ""][:4]
        root = self._roots.get(number)
        if not secrets.compare_digest(token.encode(), self._token.encode()) or root is None:
            return "/nonexistent"
        self.directory = str(root)
        return super().translate_path("/" + "".join(rest))

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the build prints what it fetches."""
