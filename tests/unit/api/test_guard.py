"""Host headers and tokens, without a server."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.errors import ForbiddenHost
from orchestrator.api.guard import Asked, HostCheck, TokenCheck, asked, is_loopback
from orchestrator.errors import Unauthorized

TOKEN = "correct-horse-battery-staple"


def host(value: str) -> Asked:
    return asked([(b"host", value.encode("latin-1"))])


def test_only_the_whole_token_opens() -> None:
    check = TokenCheck(TOKEN)
    check.check(f"Bearer {TOKEN}".encode())
    check.check(f"bearer  {TOKEN} ".encode())
    for wrong in (None, b"", TOKEN.encode(), b"Bearer", f"Basic {TOKEN}".encode()):
        with pytest.raises(Unauthorized):
            check.check(wrong)


@given(st.binary(max_size=60))
def test_no_other_header_opens(header: bytes) -> None:
    with pytest.raises(Unauthorized):
        TokenCheck(TOKEN).check(header)
    with pytest.raises(Unauthorized):
        TokenCheck(TOKEN).check(b"Bearer " + header)


@pytest.mark.parametrize(
    "value", ["localhost", "LocalHost:8760", "127.0.0.1", "[::1]:1", "127.9.9.9"]
)
def test_a_loopback_service_answers_to_loopback_names(value: str) -> None:
    HostCheck("127.0.0.1").check(host(value))


@pytest.mark.parametrize(
    "value", ["10.0.0.1", "evil", "[::2]", "0", "127.1", "localhost@evil", ""]
)
def test_and_to_no_other(value: str) -> None:
    with pytest.raises(ForbiddenHost, match="--allowed-host"):
        HostCheck("127.0.0.1").check(host(value))


def test_a_service_for_others_answers_to_addresses_and_named_hosts() -> None:
    check = HostCheck("0.0.0.0", ["gpu-box.example"])
    for good in (
        "10.0.0.1",
        "gpu-box.example:80",
        "GPU-BOX.example.",
        "localhost",
        "[2001:db8::1]",
    ):
        check.check(host(good))
    for bad in ("evil.example", "gpu-box.example.evil.example"):
        with pytest.raises(ForbiddenHost):
            check.check(host(bad))


def test_one_host_header_is_needed() -> None:
    check = HostCheck("127.0.0.1")
    with pytest.raises(ForbiddenHost):
        check.check(asked([]))
    with pytest.raises(ForbiddenHost):
        check.check(asked([(b"host", b"localhost"), (b"host", b"localhost")]))


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_host_is_answered_or_refused(value: str) -> None:
    with suppress(ForbiddenHost):
        HostCheck("127.0.0.1").check(host(value))


@pytest.mark.parametrize(
    ("name", "is_local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback_addresses_are_known(name: str, is_local: bool) -> None:
    assert is_loopback(name) is is_local
