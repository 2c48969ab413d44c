"""The verbs of the runtime: what a back end starts, and what a program is started by."""

from __future__ import annotations

import sys

from orchestrator_runtime import contract

USAGE = (
    "usage: supervise HOST_DIRECTORY | start-supervisors HOME | train [-- PROGRAM [ARGUMENT ...]] "
    "| probe | try-namespaces\n"
)


def main(arguments: list[str]) -> int:
    """Run one verb and return the process's exit code."""
    if sys.version_info < (3, 9):  # noqa: UP036 -- images bring their own interpreter
        sys.stderr.write(f"Python >= 3.9 is needed, this is {sys.version.split()[0]}\n")
        return contract.EXIT_UNSUPPORTED_PYTHON
    verb = arguments[0] if arguments else ""
    rest = arguments[1:]
    if verb == "supervise" and len(rest) == 1:
        from orchestrator_runtime.supervise import supervise_alone  # noqa: PLC0415 -- one verb a start

        return supervise_alone(rest[0])
    if verb == "start-supervisors" and len(rest) == 1:
        from orchestrator_runtime.starter import start_supervisors  # noqa: PLC0415

        return start_supervisors()
    if verb == "train":
        from orchestrator_runtime.train import train  # noqa: PLC0415

        return train(rest)
    if verb == "probe" and not rest:
        from orchestrator_runtime.probe import probe  # noqa: PLC0415

        sys.stdout.write(probe() + "\n")
        return 0
    if verb == "try-namespaces" and not rest:
        from orchestrator_runtime.trial import try_namespaces  # noqa: PLC0415

        return try_namespaces()
    sys.stderr.write(USAGE)
    return 64
