"""``supervise HOST_DIRECTORY``: one host of one attempt, from claim to exit record."""

from __future__ import annotations

import os
import sys

from orchestrator_runtime import contract, files
from orchestrator_runtime.claim import AlreadyClaimed, claim
from orchestrator_runtime.exitrecord import ExitFile
from orchestrator_runtime.hostrun import HostRun, failed_record
from orchestrator_runtime.signals import Signals
from orchestrator_runtime.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator_runtime.contract import ExitRecord, HostPlan


def supervise_alone(host_directory: str) -> int:
    """Supervise in a process that was started for it, with whatever its starter left open."""
    _tidy_descriptors()
    return supervise(host_directory)


def supervise(host_directory: str, claimed: Callable[[], None] | None = None) -> int:
    """Run the plan in a host directory; return this process's exit code.

    Zero when the exit record was written, whatever it says; inside a container the program's
    own code, so that the engine is a second witness.

    Args:
        host_directory: Where the plan is, and everything else of this host.
        claimed: Called when the directory is this process's.
    """
    directory = os.path.abspath(host_directory)
    watcher = Signals()  # before the claim: whoever reads it may signal us
    try:
        claim(directory)
    except AlreadyClaimed:
        return contract.EXIT_ALREADY_CLAIMED
    except OSError as error:
        sys.stderr.write(f"{directory} cannot be claimed: {error}\n")
        return contract.EXIT_CANNOT_CLAIM
    if claimed is not None:
        claimed()
    exit_file = ExitFile(directory)
    plan, problem = _read_plan(directory)
    if plan is None:
        exit_file.write(failed_record(directory, problem))
        exit_file.sync_name()
        return 0
    status = Status(directory, plan)
    try:
        record = HostRun(directory, plan, watcher, status).run()
    except BaseException as error:
        _finish(exit_file, failed_record(directory, _describe(error), plan, status), status)
        raise
    _finish(exit_file, record, status)
    return _exit_code(plan, record)


def _finish(exit_file: ExitFile, record: ExitRecord, status: Status) -> None:
    exit_file.write(record)
    status.poke("ended")
    exit_file.sync_name()


def _read_plan(directory: str) -> tuple[HostPlan | None, str]:
    path = os.path.join(directory, contract.PLAN_FILE)
    try:
        plan: HostPlan = files.read_object(path)  # type: ignore[assignment] # checked by its writer
    except (OSError, ValueError) as error:
        return None, f"{contract.PLAN_FILE} cannot be read: {error}"
    if plan.get("format") != contract.FORMAT:
        return None, (
            f"{contract.PLAN_FILE} must have format {contract.FORMAT}, got {plan.get('format')!r}; "
            "service and runtime are of different releases"
        )
    return plan, ""


def _describe(error: BaseException) -> str:
    trace, where = error.__traceback__, ""
    while trace is not None:
        where = f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"the supervisor failed: {type(error).__name__}: {error}{where}"


def _exit_code(plan: HostPlan, record: ExitRecord) -> int:
    if plan["sandbox"]["kind"] != "container":
        return 0
    if record["signal"] is not None:
        return 128 + record["signal"]
    if record["exit_code"] is not None:
        return record["exit_code"]
    return 0 if record["outcome"] == "stopped" else 1


def _tidy_descriptors() -> None:
    """Let go of what the starter left open, so that it does not reach the program.

    The three standard ones must be open: what is opened later may not take their numbers.
    """
    while os.open(os.devnull, os.O_RDWR) < 2:
        pass
    listing = "/proc/self/fd" if sys.platform.startswith("linux") else "/dev/fd"
    for name in os.listdir(listing):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of the listing itself
