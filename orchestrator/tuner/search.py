"""The process that searches: reads questions, writes answers, ends with its input.

    python -m orchestrator.tuner.search

Optuna, and PyTorch where there is any, are loaded here and not in the service.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from orchestrator.errors import OrchestratorError
from orchestrator.tuner.letters import answer_line, read_question

logger = logging.getLogger(__name__)


def main() -> None:
    """Answer until there are no more questions."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    from orchestrator.tuner.strategy import prepare, suggest  # noqa: PLC0415 - takes a second

    ahead: threading.Thread | None = None
    for line in sys.stdin.buffer:
        number, question = read_question(line)
        try:
            answer = answer_line(number, values=suggest(question))
        except OrchestratorError as error:
            answer = answer_line(number, error=error.message)
        except Exception as error:  # the fault of one search must not end the others
            logger.exception("no values were found")
            answer = answer_line(number, error=f"{type(error).__name__}: {error}")
        _write(answers, answer)
        if ahead is None:
            ahead = threading.Thread(target=prepare, args=(question,), daemon=True)
            ahead.start()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
