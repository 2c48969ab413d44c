"""``aws-chunked`` bodies: chunks with or without signatures, and trailing headers. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from orchestrator.api.aws.caller import ChunkSigner
from orchestrator.api.aws.errors import AwsError

MAX_LINE_BYTES = 8192
MAX_TRAILER_BYTES = 64 * 1024
SIGNATURE = "x-amz-trailer-signature"


class ChunkedDecoder:
    """Takes a body as it comes and gives the bytes that it carries.

    Args:
        signer: Verifies the chunks; None = they are not signed.
        signed_trailer: The trailing headers are signed, too.
    """

    def __init__(self, signer: ChunkSigner | None = None, *, signed_trailer: bool = False) -> None:
        self._signer = signer
        self._signed_trailer = signed_trailer
        self._rest = bytearray()
        self._left = 0
        self._signature = ""
        self._hasher = hashlib.sha256()
        self._state: Callable[[list[bytes]], bool] = self._size_line
        self.trailers: dict[str, str] = {}
        self.is_complete = False

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take bytes of the body; return those that it carries.

        Raises:
            AwsError: IncompleteBody, InvalidRequest or SignatureDoesNotMatch.
        """
        self._rest += data
        out: list[bytes] = []
        while self._state(out):
            pass
        return b"".join(out)

    def end(self) -> None:
        """Check that the body was whole.

        Raises:
            AwsError: IncompleteBody.
        """
        if not self.is_complete:
            raise _broken("it ended early")

    # Each state takes what it can and says whether it can be asked again.

    def _size_line(self, _out: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        size, _, extension = line.partition(b";")
        try:
            self._left = int(size.strip(), 16)
        except ValueError:
            raise _broken("a chunk has no size") from None
        if self._left < 0 or len(size) > 16:
            raise _broken("a chunk has no size")
        name, _, value = extension.partition(b"=")
        if self._signer is not None and name.strip() != b"chunk-signature":
            raise _broken("a chunk has no signature")
        self._signature = value.strip().decode("ascii", "replace")
        self._hasher = hashlib.sha256()
        if self._left:
            self._state = self._chunk
        else:
            self._verify()
            self._state = self._trailer
        return True

    def _chunk(self, out: list[bytes]) -> bool:
        piece = bytes(self._rest[: self._left])
        del self._rest[: len(piece)]
        self._left -= len(piece)
        if self._signer is not None:
            self._hasher.update(piece)
        out.append(piece)
        if self._left:
            return False
        self._state = self._chunk_end
        return True

    def _chunk_end(self, _out: list[bytes]) -> bool:
        if len(self._rest) < 2:
            return False
        if self._rest[:2] != b"\r\n":
            raise _broken("a chunk is longer than it says")
        del self._rest[:2]
        self._verify()
        self._state = self._size_line
        return True

    def _trailer(self, _out: list[bytes]) -> bool:
        if not self._rest and not self._signed_trailer:
            self.is_complete = True  # some clients leave out the last empty line
        line = self._line()
        if line is None:
            return False
        if line:
            name, _, value = line.partition(b":")
            self.trailers[_text(name).lower()] = _text(value)
            if len(self.trailers) > 32:
                raise _broken("it has too many trailing headers")
            return True
        if self._signed_trailer and self._signer is not None:
            self._verify_trailer(self._signer)
        self.is_complete = True
        self._state = self._nothing
        return True

    def _nothing(self, _out: list[bytes]) -> bool:
        if self._rest:
            raise _broken("it goes on after its end")
        return False

    def _line(self) -> bytes | None:
        at = self._rest.find(b"\n")
        if at < 0:
            if len(self._rest) > MAX_LINE_BYTES:
                raise _broken("a line is too long")
            return None
        line = bytes(self._rest[:at]).removesuffix(b"\r")
        del self._rest[: at + 1]
        return line

    def _verify(self) -> None:
        if self._signer is not None:
            self._signer.verify(self._signature, self._hasher.hexdigest())

    def _verify_trailer(self, signer: ChunkSigner) -> None:
        signature = self.trailers.pop(SIGNATURE, "")
        lines = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
        signer.verify_trailer(signature, lines.encode())


def _text(data: bytes) -> str:
    return data.strip().decode("latin-1")


def _broken(reason: str) -> AwsError:
    return AwsError(
        "IncompleteBody",
        f"The aws-chunked body must be what its headers say: {reason}",
    )
