"""Access keys: made of a token, known only while the token is."""

from __future__ import annotations

import base64
import string

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.keys import Keys, issue

TOKENS = st.text(string.ascii_letters + string.digits + "-_", min_size=20, max_size=60)


@given(TOKENS)
def test_a_token_gives_one_key_of_awss_form(token):
    key = issue(token)
    assert key == issue(token)
    assert len(key.id) == 20
    assert set(key.id) <= set(string.ascii_uppercase + string.digits)
    assert len(key.secret) == 40
    assert set(key.secret) <= set(string.ascii_letters + string.digits + "./")


@given(TOKENS, TOKENS)
def test_another_token_gives_another_key(first, second):
    if first != second:
        assert issue(first).id != issue(second).id
        assert issue(first).secret != issue(second).secret


@given(TOKENS)
def test_the_id_says_nothing_of_the_secret(token):
    key = issue(token)
    shown = base64.b32decode(key.id.removeprefix("ORCH"))
    assert base64.b64decode(key.secret, b"./")[: len(shown)] != shown


@given(TOKENS)
def test_neither_shows_the_token_or_the_secret(token):
    key = issue(token)
    assert token[:12] not in key.id + key.secret
    assert key.secret not in repr(key)


def test_only_keys_of_known_tokens_are_known():
    first, second, stranger = (issue(f"token-of-twenty-characters-{n}") for n in range(3))
    keys = Keys([f"token-of-twenty-characters-{n}" for n in range(2)])
    assert keys.lookup(first.id) == first.secret
    assert keys.lookup(second.id) == second.secret
    for other in (stranger.id, "", first.id[:-1], first.id.lower(), "é", "\ud800"):
        assert keys.lookup(other) is None
