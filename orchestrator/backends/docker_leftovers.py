"""What a home has left on the engine, found by label, and its removal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from orchestrator.backends.docker_engine import Engine
from orchestrator.backends.docker_values import (
    LABEL_ATTEMPT,
    LABEL_HOME,
    LABEL_IDENTITY,
    LABEL_JOB,
)


@dataclass(frozen=True)
class Leftover:
    """One thing on the engine that belongs to a home.

    Attributes:
        job: The job it belongs to; empty for what belongs to the home itself.
        attempt: Its attempt; 0 for what belongs to the home itself.
        running: Whether it is a container whose processes run.
        identity: Of its job: one of the same name may be another one.
    """

    kind: Literal["container", "network"]
    name: str
    job: str
    attempt: int
    running: bool
    identity: str = ""


def find(engine: Engine, home: str) -> list[Leftover]:
    """Return everything on the engine that is labelled with a home, containers first."""
    labels = [f"{LABEL_HOME}={home}"]
    found = [
        Leftover(
            "container",
            state.name,
            state.labels.get(LABEL_JOB, ""),
            int(state.labels.get(LABEL_ATTEMPT, "0")),
            running=state.running,
            identity=state.labels.get(LABEL_IDENTITY, ""),
        )
        for state in engine.containers(labels)
    ]
    found += [
        Leftover(
            "network",
            name,
            known.get(LABEL_JOB, ""),
            int(known.get(LABEL_ATTEMPT, "0")),
            running=False,
        )
        for name, known in engine.networks(labels)
    ]
    return found


def remove(
    engine: Engine, found: Collection[Leftover], keep: Collection[tuple[str, int]] = ()
) -> list[Leftover]:
    """Remove what belongs to no attempt that shall be kept; return what was removed.

    Args:
        engine: The engine.
        found: Some of what ``find`` has returned.
        keep: (job name, attempt) of all attempts that have not ended.
    """
    removed = []
    for item in found:
        if (item.job, item.attempt) in keep:
            continue
        if item.kind == "container":
            engine.remove(item.name)
            removed.append(item)
        elif engine.remove_network(item.name):  # not while a container that is kept uses it
            removed.append(item)
    return removed
