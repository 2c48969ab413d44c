"""What this shell, the home and a job would see, as values and as shell code."""

from __future__ import annotations

import json
import os
import shlex
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.backends.environment import inherited_environment
from orchestrator.embedded import LocalTransport
from orchestrator.errors import OrchestratorError
from orchestrator.home import DRIVER_SOCKET, SETTINGS_PREFIX, home_directory
from orchestrator.sdk.transport import URL_VARIABLE
from orchestrator.settings import Settings, set_by_environment, without_password
from orchestrator.spec.redact import redacted_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_FILE = "server.json"
CONNECT_SECONDS = 2.0
JOB_SCRATCH = "/tmp"  # noqa: S108  # as a job sees it
# What the runtime adds for every job; facts of the SageMaker contract.
JOB_VARIABLES = (
    "SM_MODEL_DIR, SM_OUTPUT_DATA_DIR, SM_CHANNEL_<NAME>, SM_HPS, SM_HP_<NAME>, SM_HOSTS, "
    "SM_CURRENT_HOST, SM_NUM_GPUS, SM_NUM_CPUS, TRAINING_JOB_NAME and the rest of SageMaker's"
)


def look(home: Path | None) -> dict[str, Any]:
    """Return settings, the running service, and a job's inherited environment; nothing secret."""
    place = home.expanduser().absolute() if home else home_directory()
    settings = Settings(home=place)
    inherited = inherited_environment(os.environ, settings.job_python, scratch=JOB_SCRATCH)
    return {
        "home": str(place),
        "service": running_service(place),
        "settings": {name: _shown(name, settings) for name in type(settings).model_fields},
        "set_by_environment": sorted(
            SETTINGS_PREFIX + name.upper() for name in set_by_environment()
        ),
        "without_effect": _without_effect(place),
        "url": os.environ.get(URL_VARIABLE),
        "job_environment": {
            name: without_password(value)
            for name, value in redacted_environment(inherited).items()
        },
    }


def running_service(home: Path) -> str | None:
    """Return the address of the service that serves this home; None when none runs."""
    note = service_note(home)
    return note[0] if note is not None and _answers(note[0]) else None


def service_note(home: Path) -> tuple[str, int] | None:
    """Return address and process id of the service that this home was served by last, if it lives."""
    try:
        facts = json.loads((home / SERVER_FILE).read_text(encoding="utf-8"))
        url, pid = str(facts["url"]), int(facts["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return url, pid


def _answers(url: str) -> bool:
    """Return whether somebody listens there: a process id may be somebody else's by now."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), CONNECT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _without_effect(home: Path) -> list[str]:
    """Return which settings of this shell the home's driver does not follow, in words."""
    if (home / DRIVER_SOCKET).exists():
        with closing(LocalTransport(home)) as transport, suppress(OrchestratorError):
            return transport.ignored_settings()
    return []


def _shown(name: str, settings: Settings) -> Any:
    found = getattr(settings, name)
    if isinstance(found, str):
        return without_password(found)
    return str(found) if isinstance(found, Path) else found


def variables(found: dict[str, Any]) -> dict[str, str]:
    """Return what our own SDK and command need in their environment."""
    url = found["url"] or found["service"]
    return {"ORCHESTRATOR_HOME": found["home"], **({URL_VARIABLE: url} if url else {})}


def shell_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield shell code: what is worth exporting, and the rest as comments."""
    yield f"export ORCHESTRATOR_HOME={shlex.quote(found['home'])}"
    if found["url"]:
        yield f"export ORCHESTRATOR_URL={shlex.quote(found['url'])}  # as this shell has it"
    elif found["service"]:
        yield f"export ORCHESTRATOR_URL={shlex.quote(found['service'])}"
    else:
        yield "# no service runs on this home: SDK and command use it directly (orchestrator serve)"
    yield ""
    yield "# settings (variables ORCHESTRATOR_*; a * is set by this shell)"
    for name, value in found["settings"].items():
        variable = SETTINGS_PREFIX + name.upper()
        mark = "*" if variable in found["set_by_environment"] else " "
        yield f"# {mark} {variable:36} {'' if value is None else _comment(value)}".rstrip()
    yield from (f"# ! {_comment(text)}" for text in found["without_effect"])
    yield ""
    yield "# a job of the process back end sees, besides what it is given itself:"
    for name, value in sorted(found["job_environment"].items()):
        yield f"#   {_comment(name)}={_comment(value)}"
    yield f"#   {JOB_VARIABLES}"


def _comment(value: object) -> str:
    """Return a value on one line: a line end in it would end the comment."""
    return "".join(c if c.isprintable() else "?" for c in str(value))
