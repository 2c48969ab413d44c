"""Asks the runtime's `start-supervisors` for supervisors, and keeps it while it is needed."""

from __future__ import annotations

import json
import logging
import select
import subprocess  # argv lists only
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0


class Starter:
    """A process that forks supervisors; begun when it is first needed, and again when it has ended.

    Args:
        argv: Its command.
        environment: All of its environment, which the supervisors get too.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._argv = argv
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, directory: Path, errors: Path, title: str) -> bool:
        """Start a supervisor; return whether it has claimed its directory.

        False also when the process that forks cannot be had or has gone: a supervisor may be there
        all the same, and whoever starts one in another way is kept out by its claim.

        Args:
            directory: The host directory.
            errors: File that the supervisor's own words are appended to.
            title: Its name in lists of processes.
        """
        wish = {"directory": str(directory), "errors": str(errors), "title": title}
        with self._lock:
            for _ in range(2):  # the second time if it had ended, since nobody asked for long
                is_claimed = self._ask(wish)
                if is_claimed is not None:
                    return is_claimed
        return False

    def close(self) -> None:
        """End the process; supervisors go on. Idempotent."""
        with self._lock:
            self._end()

    def _ask(self, wish: Mapping[str, str]) -> bool | None:
        """Return the answer; None when there is none, and then the process is gone."""
        try:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(wish).encode() + b"\n")
            if select.select([process.stdout], [], [], ANSWER_SECONDS)[0]:
                line = process.stdout.readline()
                if line:
                    return bool(json.loads(line)["claimed"])
        except OSError as error:
            logger.info("supervisors are started one by one: %s", error)
        self._end()
        return None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                self._argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )
            # So that it is reaped when it ends because nobody asks for long.
            threading.Thread(target=self._process.wait, daemon=True).start()
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
