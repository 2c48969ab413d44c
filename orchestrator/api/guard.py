"""Who may ask: the Host header, the bearer token, the size of the body. Pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.api.errors import ForbiddenHost
from orchestrator.errors import Unauthorized

Headers = Iterable[tuple[bytes, bytes]]

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_SEEN_MAX = 256


@dataclass(frozen=True)
class Asked:
    """What the guard needs of a request's headers."""

    host: bytes | None = None
    authorization: bytes | None = None
    content_length: bytes | None = None
    hosts: int = 0


def asked(headers: Headers) -> Asked:
    """Return the headers that matter here; names are in lower case, as ASGI gives them."""
    host = authorization = length = None
    hosts = 0
    for name, value in headers:
        if name == b"host":
            host = value
            hosts += 1
        elif name == b"authorization":
            authorization = value
        elif name == b"content-length":
            length = value
    return Asked(host, authorization, length, hosts)


class TokenCheck:
    """Compares bearer tokens in constant time."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token.encode())

    def check(self, authorization: bytes | None) -> None:
        """Check an Authorization header.

        Raises:
            Unauthorized: It is missing or wrong.
        """
        scheme, _, token = (authorization or b"").partition(b" ")
        matches = hmac.compare_digest(_digest(token.strip()), self._digest)
        if scheme.lower() != b"bearer" or not matches:
            raise Unauthorized(
                "every call needs the header `Authorization: Bearer TOKEN`, got "
                f"{'a wrong one' if authorization else 'none'}; the token is in the file "
                "`token` of the service's home directory (SDK and CLI read it, or take "
                "ORCHESTRATOR_TOKEN)"
            )


class HostCheck:
    """Knows the names this service answers to, so that no web page can reach it by another.

    Args:
        bound: The address that is listened on.
        allowed: Further names.
    """

    def __init__(self, bound: str, allowed: Iterable[str] = ()) -> None:
        self._any_address = not is_loopback(bound)
        names = set(LOOPBACK_NAMES) | {name.lower().rstrip(".") for name in allowed}
        if self._any_address:
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self._names = names
        self._good: set[bytes] = set()

    def check(self, given: Asked) -> None:
        """Check a Host header; the port does not matter.

        Raises:
            ForbiddenHost: It is missing, doubled or names somebody else.
        """
        host = given.host
        if given.hosts == 1 and host is not None:
            if host in self._good:
                return
            if self._is_ours(_name_of(host)):
                if len(self._good) < _SEEN_MAX:
                    self._good.add(host)
                return
        shown = "none" if host is None else repr(host.decode("latin-1"))
        raise ForbiddenHost(
            f"the Host header must be one of {', '.join(sorted(self._names))}, got {shown}; start "
            "the service with --allowed-host to allow another name"
        )

    def _is_ours(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An attacker's page has a name; where we listen on addresses, these are safe.
        return self._any_address or address.is_loopback


def is_loopback(host: str) -> bool:
    """Return whether an address or name can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(host: bytes) -> str:
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, separator, port = text.rpartition(":")
    return (name if separator and port.isdigit() else text).rstrip(".")


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
