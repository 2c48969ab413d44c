"""Hides the values of secrets in a stream of bytes."""

from __future__ import annotations

from orchestrator_runtime import jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = b"***"
MIN_BYTES = 4
"""Shorter values are left alone: hiding "1" or "on" would make a log unreadable."""


class Masker:
    """Replaces every secret by ``***``, also where it spans two chunks.

    A tail that may be the beginning of a secret is held back until the next chunk, or ``end``.
    """

    def __init__(self, values: Iterable[str]) -> None:
        texts = list(values)
        texts += [jsonlite.dumps(text)[1:-1] for text in texts]  # as records have them
        secrets = {text.encode("utf-8", "surrogateescape") for text in texts}
        for value in list(secrets):  # a key file printed line by line is as secret as the whole
            secrets.update(
                line.strip() for line in value.splitlines() if len(line) >= 2 * MIN_BYTES
            )
        self._secrets = sorted((s for s in secrets if len(s) >= MIN_BYTES), key=len, reverse=True)
        self._longest = len(self._secrets[0]) if self._secrets else 0
        self._held = b""

    def __bool__(self) -> bool:
        """Return whether there is anything to hide."""
        return bool(self._secrets)

    def feed(self, chunk: bytes) -> bytes:
        """Return what may be shown now."""
        data = self.hide(self._held + chunk)
        keep = self._possible_beginning(data)
        cut = len(data) - keep
        self._held = data[cut:]
        return data[:cut]

    def end(self) -> bytes:
        """Return what was held back."""
        data, self._held = self._held, b""
        return data

    def hide(self, data: bytes) -> bytes:
        """Return ``data`` with each whole secret replaced."""
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, MASK)
        return data

    def text(self, data: str) -> str:
        """Return ``data`` with each whole secret replaced."""
        return self.hide(data.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def _possible_beginning(self, data: bytes) -> int:
        for length in range(min(self._longest - 1, len(data)), 0, -1):
            tail = data[-length:]
            if any(secret.startswith(tail) for secret in self._secrets):
                return length
        return 0
