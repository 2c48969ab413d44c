"""The quota of a host's files: what they take is measured now and then, since no file system enforces it."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator_runtime.contract import VolumePlan

SLICE_SECONDS = 0.01
"""How long a look may keep the supervisor from its other work; then it pauses nine times as long."""
SHORTEST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
BYTES_PER_SECOND = 1 << 30
"""How fast a program may fill what is left: the next look comes before it could."""
_BLOCK_BYTES = 512


class VolumeWatch:
    """Watches the space that one host's files take.

    Args:
        plan: The quota; None = there is none.
    """

    def __init__(self, plan: VolumePlan | None) -> None:
        self.due_at = float("inf") if plan is None else 0.0
        self.used = 0
        self.limit = 0 if plan is None else plan["bytes"]
        self._plan = plan
        self._inputs = 0
        self._sum = 0
        self._look: Iterator[int] | None = None
        if plan is not None and plan["inputs"] is not None:
            self._inputs = sum(_sizes([plan["inputs"]], links=False))

    def exceeded(self) -> bool:
        """Go on with a look for a moment; True once the files have been seen to take too much."""
        return self._advance(time.monotonic() + SLICE_SECONDS)

    def measure(self) -> bool:
        """Look at everything now; True if the files take too much."""
        self._look = None
        return self._plan is not None and self._advance(float("inf"))

    def _advance(self, until: float) -> bool:
        if self._plan is None:
            return False
        if self._look is None:
            self._look, self._sum = _sizes(self._plan["written"], links=True), self._inputs
        for size in self._look:
            self._sum += size
            if self._sum > self.limit:  # no need to see the rest
                break
            moment = time.monotonic()
            if moment >= until:
                self.due_at = moment + 9 * SLICE_SECONDS
                return False
        self.used, self._look = self._sum, None
        self.due_at = time.monotonic() + pause_seconds(self.limit - self.used)
        return self.used > self.limit

    @property
    def message(self) -> str:
        """What to say when the quota is exceeded."""
        return (
            f"no space left on the volume: a host's files must fit its {self.limit / (1 << 30):g} GB "
            f"(VolumeSizeInGB), /opt/ml and /tmp take {self.used / (1 << 30):.2f} GB or more; ask "
            "for a larger volume, or write less"
        )


def pause_seconds(room: int) -> float:
    """Return how long nothing need be looked at, with so many bytes left."""
    return min(max(room / BYTES_PER_SECOND, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


def _sizes(directories: list[str], *, links: bool) -> Iterator[int]:
    """Yield what each entry takes on the disk; a file with several names once, or not at all."""
    from orchestrator_runtime.walk import REGULAR, Walk  # noqa: PLC0415 -- with a quota only

    seen = set()
    for directory in directories:
        for entry in Walk(directory, ""):
            found = entry.stat
            if entry.kind == REGULAR and found.st_nlink > 1:
                identity = (found.st_dev, found.st_ino)
                if not links or identity in seen:
                    continue
                seen.add(identity)
            yield found.st_blocks * _BLOCK_BYTES
