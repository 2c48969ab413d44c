"""Which settings of a shell have no effect, because the home's driver was started with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.home import SETTINGS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_CLIENTS = frozenset({"home", "url", "token"})
_SWITCHES = dict.fromkeys(("true", "yes", "on"), "1") | dict.fromkeys(("false", "no", "off"), "0")
_HIDDEN = "***"  # stands for a password, or for an address that lets others post


def settings_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what an environment sets for a service, by the settings' names."""
    given = {
        name.removeprefix(SETTINGS_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(SETTINGS_PREFIX)
    }
    return {name: value for name, value in given.items() if name not in _OF_CLIENTS}


def without_effect(given: Mapping[str, str], info: Mapping[str, Any]) -> list[str]:
    """Return, in words, which of the given settings a service does not follow.

    Args:
        given: ``settings_of`` this process.
        info: What the service says of itself; one from before an upgrade tells no settings.
    """
    used: dict[str, str] = info.get("settings", {})
    return [
        f"{SETTINGS_PREFIX}{name.upper()}={given[name]} has no effect: the driver of {info['home']} was "
        f"started with {used[name] or 'its default'}; end it with `kill {info['pid']}` (running "
        "jobs go on), or wait until it has been without work for a while (`serve` stays)"
        for name in sorted(used.keys() & given.keys())
        if not _is_same(given[name], used[name])
    ]


def _is_same(wanted: str, used: str) -> bool:
    """Return whether a variable says what a setting is; one that is hidden counts as the same."""
    return _HIDDEN in used or _plain(wanted) == _plain(used)


def _plain(text: str) -> str | float:
    text = text.strip().lower()
    try:
        return float(_SWITCHES.get(text, text))
    except ValueError:
        return text
