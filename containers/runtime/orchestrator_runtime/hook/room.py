"""How much of a program's tensors is recorded as a whole, and what is said of the rest; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 16 * 1024 * 1024
"""Of one tensor."""
MOST_STEP_BYTES = 64 * 1024 * 1024
"""Of all tensors of one step."""
MOST_REMARKS = 20
"""On single tensors that are left out."""


class Room:
    """Room for the whole tensors of one step after the other.

    Args:
        tell: Takes a remark.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._left_out: set[str] = set()
        self._left = MOST_STEP_BYTES

    def next_step(self) -> None:
        """Begin a step, which has room of its own."""
        self._left = MOST_STEP_BYTES

    def takes(self, what: str, size: int) -> bool:
        """Take so many bytes of a step's room; False, with a remark, where they are too many."""
        if size > MOST_BYTES:
            why = f"it has {size} bytes, more than {MOST_BYTES}"
        elif size > self._left:
            why = f"its step has more than {MOST_STEP_BYTES} bytes of arrays"
        else:
            self._left -= size
            return True
        self.leave_out(what, why)
        return False

    def leave_out(self, what: str, why: str) -> None:
        """Say once what is left out, and not of each tensor of a large model."""
        if what in self._left_out or len(self._left_out) > MOST_REMARKS:
            return
        self._left_out.add(what)
        more = "; more is left out" if len(self._left_out) > MOST_REMARKS else ""
        self._tell(f"{what} left out: {why}{more}")
