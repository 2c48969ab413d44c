"""Secrets are hidden also where JSON writes them in another way."""

from __future__ import annotations

import pytest
from orchestrator_runtime import jsonlite
from orchestrator_runtime.mask import Masker


@pytest.mark.parametrize(
    "secret", ["plain-secret", 'with"quote', "back\\slash", "tab\there", "ünïcode"]
)
def test_a_secret_inside_json_is_hidden(secret: str) -> None:
    masker = Masker([secret])
    line = jsonlite.dumps({"message": f"the key is {secret}!"}).encode()
    hidden = masker.hide(line)
    assert jsonlite.loads(hidden)["message"] == "the key is ***!"
