"""Exit codes. ``run`` and ``logs -f`` follow the job, the way a shell would see its program.

=================================  ==========================================================
the job                            exit code
=================================  ==========================================================
Completed                          0
Ended early, as was asked for      0; its best checkpoint is the model (``--early-stop``)
Failed, its program ended with N   N
Failed, killed by signal S         128 + S (137: out of memory, mostly)
Failed otherwise                   1
Stopped by somebody                143, as by SIGTERM
Stopped by a time limit            124, as by ``timeout``
Stopped by a finding of a rule     3; ``orchestrator findings`` has its cause and remedies
still running (you detached)       130, as by Ctrl-C
=================================  ==========================================================

``debug`` has its command's own code, 128 + S after a signal, and otherwise: 3 when a rule of
``--stop-on`` found something, 126 and 127 as in a shell when the command cannot be run or found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec.record import TrainingJobRecord

DONE = 0
ERROR = 1
WRONG_REQUEST = 2
RULE_STOP = 3
TIME_LIMIT = 124
NOT_RUNNABLE = 126
NO_COMMAND = 127
INTERRUPTED = 130
BROKEN_PIPE = 141
STOPPED = 143
SIGNAL_BASE = 128
MAX_PROGRAM_CODE = 255
TIME_LIMITS = frozenset({"max_runtime", "max_wait", "max_pending"})


def exit_code_of(record: TrainingJobRecord) -> int:
    """Return the exit code that follows a job."""
    if record.status == "Completed":
        return DONE
    if record.status == "Stopped":
        return _stop_code(record.end_reason)
    if record.status != "Failed":
        return INTERRUPTED
    why = record.explanation
    if why is None:
        return ERROR
    if why.exit_code is not None and 0 < why.exit_code <= MAX_PROGRAM_CODE:
        return why.exit_code
    return _signal_code(why.signal) if why.signal else ERROR


def _stop_code(reason: str | None) -> int:
    if reason == "early_stopped":
        return DONE  # not 143: the job did what was asked for
    if reason == "rule_stop":
        return RULE_STOP
    return TIME_LIMIT if reason in TIME_LIMITS else STOPPED


def _signal_code(name: str) -> int:
    import signal

    number = getattr(signal, name, None)  # not every system knows every signal
    return SIGNAL_BASE + int(number) if number is not None else ERROR
