"""Which findings were told to whom: kept in the job's folder, so that a restart loses nothing.

A message is sent, then noted: after a crash in between it is sent again, with the same id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.backends.staging import read_json, write_json
from orchestrator.spec.findings import Delivery
from orchestrator.spec.redact import shown_address

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.spec.debug import Debugger
    from orchestrator.spec.findings import Finding

DELIVERIES_FILE = "deliveries.json"
MOST_DELIVERIES = 100
"""Of one job: a program that finds more finds nothing."""


@dataclass(frozen=True)
class Message:
    """A finding that is to be told to somebody.

    Attributes:
        key: The same for the same finding and addressee, in every process.
        to: ``webhook``, or a ``mailto:`` or ``tel:`` address.
    """

    key: str
    to: str
    finding: Finding


def messages(debugger: Debugger, findings: Sequence[Finding]) -> tuple[Message, ...]:
    """Return what is to be told, in the order of the findings; pure.

    Args:
        debugger: Says to whom.
        findings: In their order: lines are only ever added behind those of their host.
    """
    return tuple(_messages(debugger, findings))[:MOST_DELIVERIES]


def _messages(debugger: Debugger, findings: Sequence[Finding]) -> Iterator[Message]:
    notified = {rule.called: rule.notify for rule in debugger.rules}
    places: Counter[tuple[int, str]] = Counter()
    for finding in findings:
        host = finding.attempt, finding.host
        places[host] += 1
        key = f"{finding.attempt}/{finding.host}/{places[host]}"
        if debugger.webhook is not None:
            yield Message(f"{key}/webhook", "webhook", finding)
        for number, address in enumerate(notified.get(finding.name, ())):
            yield Message(f"{key}/{number}", address, finding)


def blank(message: Message, debugger: Debugger) -> Delivery:
    """Return a delivery that was not tried yet."""
    finding = message.finding
    to = message.to
    if to == "webhook" and debugger.webhook is not None:
        to = shown_address(debugger.webhook)
    return Delivery(
        name=finding.name,
        attempt=finding.attempt,
        host=finding.host,
        to=to,
        delivered=False,
        tries=0,
    )


def read_noted(job_directory: Path) -> dict[str, Delivery]:
    """Return what was noted of a job, by the keys of its messages."""
    noted = read_json(job_directory / DELIVERIES_FILE)
    try:
        return {key: Delivery.model_validate(value) for key, value in (noted or {}).items()}
    except (AttributeError, ValidationError):
        return {}  # of another version: told again is better than not at all


def note(job_directory: Path, noted: Mapping[str, Delivery]) -> None:
    """Keep what was told and what was not; durable on return."""
    content = {key: each.model_dump(mode="json") for key, each in noted.items()}
    write_json(job_directory / DELIVERIES_FILE, content)


def read_deliveries(job_directory: Path) -> tuple[Delivery, ...]:
    """Return what became of the messages about a job."""
    return tuple(read_noted(job_directory).values())
