"""The machine's pip settings, and what of them a job or an image build gets."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.errors import InvalidSpec

CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PASSED = frozenset({*CERTIFICATES, "SSL_CERT_DIR", *PROXIES, *(name.lower() for name in PROXIES)})
_LISTS = ("extra-index-url", "find-links", "trusted-host", "constraint")
_KEPT = (
    *("index-url", *_LISTS, "no-index", "pre", "prefer-binary"),
    *("default-timeout", "timeout", "retries"),
)
_PLACES = ("index-url", "extra-index-url", "find-links")


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What pip needs to find packages."""

    options: Mapping[str, str] = field(default_factory=dict)
    """Options of pip.conf, by name; lists are separated by blanks."""
    certificates: Path | None = None
    """File of trusted certificates."""
    proxies: Mapping[str, str] = field(default_factory=dict)

    def local_places(self) -> list[Path]:
        """Return the directories of this machine that packages come from."""
        words = [word for name in _PLACES for word in self.options.get(name, "").split()]
        return [path for word in words if (path := local_path(word)) is not None]

    def with_places(self, translate: Callable[[Path], str]) -> PipSettings:
        """Return settings in which each directory of this machine is named differently."""

        def word(text: str) -> str:
            path = local_path(text)
            return text if path is None else translate(path)

        changed = {
            name: " ".join(map(word, self.options[name].split()))
            for name in _PLACES
            if name in self.options
        }
        return replace(self, options={**self.options, **changed})

    def pip_conf(self, **more: str) -> str:
        """Return them as a pip.conf. It may hold passwords of package indexes.

        Args:
            more: Options to add or replace; an underscore stands for a hyphen.
        """
        options = {**self.options, **{name.replace("_", "-"): v for name, v in more.items()}}
        lines = []
        for name, value in options.items():
            separator = "\n    " if name in _LISTS else " "
            lines.append(f"{name} = {separator.join(value.split())}")
        return "\n".join(["[global]", *lines, ""])


def local_path(word: str) -> Path | None:
    """Return the path that a ``file:`` URL or a path names; None for other URLs."""
    parts = urlsplit(word)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(word).absolute()


def pip_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that pip needs to reach its packages.

    They may hold passwords of package indexes: show them only redacted.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.startswith("PIP_")
    }


def host_settings(environment: Mapping[str, str] | None = None) -> PipSettings:
    """Return the settings of this machine: pip's configuration files and the environment.

    Raises:
        InvalidSpec: pip cannot say them.
    """
    environment = os.environ if environment is None else environment
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=dict(environment)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InvalidSpec(
            f"pip's settings are needed, `{' '.join(command)}` failed: {error}; install pip or "
            "build without the settings of this machine"
        ) from None
    return parse_settings(done.stdout, environment)


def parse_settings(listing: str, environment: Mapping[str, str]) -> PipSettings:
    """Read the output of ``pip config list``; the environment wins over the files. Pure."""
    options: dict[str, str] = {}
    found = [line.partition("=") for line in listing.splitlines()]
    ranks = {"global": 0, "install": 1, ":env:": 2}
    for rank in range(len(ranks)):
        for name, _, value in found:
            section, _, option = name.rpartition(".")
            if ranks.get(section) == rank:
                options[option] = " ".join(_unquoted(value).split())
    certificates = options.get("cert") or next(
        (environment[name] for name in CERTIFICATES if environment.get(name)), None
    )
    proxies = {name: value for name, value in environment.items() if name.upper() in PROXIES}
    if "proxy" in options:
        proxies.setdefault("HTTP_PROXY", options["proxy"])
        proxies.setdefault("HTTPS_PROXY", options["proxy"])
    return PipSettings(
        {name: options[name] for name in _KEPT if options.get(name)},
        Path(certificates) if certificates else None,
        proxies,
    )


def _unquoted(value: str) -> str:
    try:
        text = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value
    return text if isinstance(text, str) else value
