"""Reading the logs of jobs: bytes, lines, times, live tails, and why a program failed."""

from orchestrator.logs.excerpt import ErrorExcerpt, error_excerpt, explain_text
from orchestrator.logs.file import LogFile, host_log
from orchestrator.logs.hints import exit_meaning, hint_for
from orchestrator.logs.lines import MAX_LINE_BYTES, LogLine
from orchestrator.logs.render import collapse_progress, render, strip_controls

__all__ = [
    "MAX_LINE_BYTES",
    "ErrorExcerpt",
    "LogFile",
    "LogLine",
    "collapse_progress",
    "error_excerpt",
    "exit_meaning",
    "explain_text",
    "hint_for",
    "host_log",
    "render",
    "strip_controls",
]
