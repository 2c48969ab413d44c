r"""What a debugger rule's action says: the text in ``RuleParameters.action_json``. Pure.

``smdebug_rulesconfig`` writes a list of objects whose quotation marks are escaped once more, for a
rule container that pastes the text into a program: ``[{\"name\": \"stoptraining\"}]``. Both forms
are read here, one object as well as a list, and parameters beside the name or below ``parameters``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ACTION = "action_json"
_ADDRESSES = {"email": "mailto", "sms": "tel"}
_STOP = "stoptraining"


class NoAction(ValueError):
    """A text that says no action; the message tells why."""


@dataclass(frozen=True)
class Actions:
    """What follows a finding.

    Attributes:
        stops: Whether the job is stopped.
        notify: Who is told, as ``mailto:`` and ``tel:`` addresses.
    """

    stops: bool = False
    notify: tuple[str, ...] = ()


def actions_of(text: str, job_name: str) -> Actions:
    """Return what a text asks for.

    Args:
        text: Of the parameter.
        job_name: StopTraining stops the job whose name its prefix is a part of.

    Raises:
        NoAction: It is no action, or one for another job.
    """
    stops = False
    notify: list[str] = []
    for name, given in _parsed(text):
        if name == _STOP:
            _check_prefix(given.get("training_job_prefix"), job_name)
            stops = True
        elif name in _ADDRESSES:
            notify.append(f"{_ADDRESSES[name]}:{_endpoint(name, given)}")
        else:
            raise NoAction(f"action must be StopTraining, Email or SMS, got {name!r}")
    return Actions(stops, tuple(dict.fromkeys(notify)))


def action_text(stops: bool, notify: Iterable[str], job_name: str) -> str:
    """Return the text that asks for some actions; empty for none."""
    found = [{"name": _STOP, "training_job_prefix": job_name}] if stops else []
    for address in notify:
        kind, _, endpoint = address.partition(":")
        name = next(name for name, scheme in _ADDRESSES.items() if scheme == kind)
        found.append({"name": name, "endpoint": endpoint})
    return json.dumps(found).replace('"', '\\"') if found else ""


def _parsed(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    value = _json(text)
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise NoAction(f"action must be an object with a name, got {each!r:.100}")
        inner = each.get("parameters")
        yield each["name"].lower(), each | inner if isinstance(inner, dict) else each


def _json(text: str) -> Any:
    for form in (text, text.replace('\\"', '"')):
        try:
            return json.loads(form)
        except (ValueError, RecursionError):
            continue
    raise NoAction(f"{ACTION} must be JSON, got {text!r:.100}")


def _check_prefix(prefix: Any, job_name: str) -> None:
    if prefix is not None and str(prefix).lower() not in job_name.lower():
        raise NoAction(
            f"training_job_prefix must be a part of this job's name, got {prefix!r:.100}: a rule "
            "can stop no other job here; leave it out"
        )


def _endpoint(name: str, given: Mapping[str, Any]) -> str:
    for key in ("endpoint", "email_address", "phone_number"):
        if isinstance(given.get(key), str) and given[key]:
            return str(given[key])
    raise NoAction(f"action {name} must have an endpoint, got none")
