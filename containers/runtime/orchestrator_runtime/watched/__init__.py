"""Runs a bare command under the debugger: no job, no service, no home, and nothing left behind."""

from orchestrator_runtime.watched.account import Account
from orchestrator_runtime.watched.program import CannotStart, Ending, run

__all__ = ["Account", "CannotStart", "Ending", "run"]
