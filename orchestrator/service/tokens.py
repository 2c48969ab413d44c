"""Page tokens of lists that are no list of the store: opaque, signed, good for one query only."""

from __future__ import annotations

import json
import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.store import cursor

if TYPE_CHECKING:
    from orchestrator.store.base import Store

KEY = "page_token_key"


class PageTokens:
    """Makes tokens and reads them; the secret is the store's, so that they outlive a restart.

    Args:
        store: Keeps the secret.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _key(self) -> bytes:
        return bytes.fromhex(self._store.meta(KEY, secrets.token_hex(32)))

    def seal(self, query: Any, position: cursor.Position) -> str:
        """Return the token of the page that follows a position.

        Args:
            query: All that decides which list it is, as JSON can say it; times as their texts.
            position: Where this page ended.
        """
        return cursor.seal(self._key, _text(query), position)

    def open(self, query: Any, token: str) -> cursor.Position:
        """Return the position in a token.

        Raises:
            InvalidSpec: It is damaged, or was given for another query.
        """
        return cursor.unseal(self._key, _text(query), token)


def _text(query: Any) -> str:
    return json.dumps(query, sort_keys=True, default=str)
