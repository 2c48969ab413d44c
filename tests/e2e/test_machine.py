"""The helpers of the fault tests read what a killed process has said, and no more."""

from tests.e2e.machine import other

KILLED_IN_A_LINE = """
import os
import signal
print("accepted 4")
print("accepted", end="")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_a_line_of_a_killed_process_is_no_line() -> None:
    with other(KILLED_IN_A_LINE) as process:
        assert process.join() == -9
        assert process.lines == ["accepted 4"]
