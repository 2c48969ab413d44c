"""Which verbs there are, with one line each: all that ``orchestrator --help`` needs."""

from __future__ import annotations

GROUPS: dict[str, dict[str, str]] = {
    "Train": {
        "run": "Train a script or a directory and watch it",
        "tune": "Search hyperparameters by training jobs, and watch the best so far",
        "debug": "Run any command under the debugger, without a job",
        "stop": "Ask a job to stop; what it made so far is kept",
        "shell": "Open a shell beside a running job's program",
        "build": "Bake source and requirements into a Docker image",
    },
    "Look": {
        "list": "List jobs, newest first",
        "tunings": "List tuning jobs, newest first",
        "describe": "Show a job: phases, metrics, artifacts, why it failed",
        "logs": "Print a job's log, or follow it",
        "metrics": "Draw a job's metrics, or export them",
        "findings": "Show what a job's debugger found: causes and remedies",
        "open": "Show a job as one HTML page that needs nothing else",
        "download": "Copy a job's model or output to here",
    },
    "Installation": {
        "serve": "Run the service, with a REST interface",
        "doctor": "Say what works on this machine, and how to get the rest",
        "env": "Show the settings and what a job would see",
        "gc": "Remove what nothing needs any more",
        "delete": "Forget ended jobs and their files",
        "completion": "Print the completion script of a shell",
        "version": "Print the version",
    },
}
VERBS = {name: text for group in GROUPS.values() for name, text in group.items()}

TOP_EXAMPLES = """\
  orchestrator run train.py                        train a script
  orchestrator run jobs/digits_cnn -- --epochs 3   a directory, with arguments for its script
  orchestrator tune jobs/digits_cnn                search its hyperparameters
  orchestrator logs -f @last                       follow the job started last
  orchestrator open @last                          all of a job on one page
  orchestrator doctor                              what this machine can do"""


def top_help() -> str:
    """Return the help of the command as a whole."""
    width = max(map(len, VERBS))
    lines = ["Usage: orchestrator VERB [OPTIONS] …", "", "Train models on your own hardware."]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:{width}}  {text}" for name, text in verbs.items()]
    lines += ["", "Examples:", TOP_EXAMPLES, "", "`orchestrator VERB --help` explains a verb."]
    return "\n".join(lines)
