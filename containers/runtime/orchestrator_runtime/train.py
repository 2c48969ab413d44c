"""``train``: the first process of an image that is started with nothing but the /opt/ml tree.

This is how SageMaker starts an image without an entry point. The program's output goes to this
process's own, SIGTERM reaches the user's program, a failure leaves its reason in
``output/failure``, and what is in ``model`` and ``output`` is left for the platform to collect.
"""

from __future__ import annotations

import os
import sys

from orchestrator_runtime import contract, env, launch, tree
from orchestrator_runtime.child import Launch
from orchestrator_runtime.environment import count_gpus, read_config, with_runtime
from orchestrator_runtime.exitrecord import sentence
from orchestrator_runtime.limits import MemoryWatch
from orchestrator_runtime.mask import Masker
from orchestrator_runtime.pump import ConsolePump, last_lines
from orchestrator_runtime.signals import Signals
from orchestrator_runtime.status import Status
from orchestrator_runtime.volume import VolumeWatch
from orchestrator_runtime.watch import Watch

GRACE_SECONDS = 3600.0
"""The platform kills the container at the end of its own grace; this only has to be later."""
SUCCESS_FILE = "output/success"


def train(arguments: list[str]) -> int:
    """Run the program of an image; return its exit code, 128 + n if signal n killed it.

    Args:
        arguments: ``[]`` or ``["--", program, argument, ...]``; without a program, the entry
            script that SAGEMAKER_PROGRAM or the hyperparameter ``sagemaker_program`` names.
    """
    base = os.environ.get("SAGEMAKER_BASE_DIR", contract.ML)
    config = read_config(base)
    entry = launch.entry_of(config.encoded, os.environ)
    code = _code_directory(base, entry)
    argv = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not argv:
        if entry is None:
            return _fail(base, 64, "SAGEMAKER_PROGRAM must name the entry script; it is not set")
        argv = launch.program_argv(
            entry, config.encoded, directory=code, interpreter=sys.executable
        )
    environment = _environment(config, base, code, entry)
    pump = ConsolePump(Masker(()))
    watch = Watch(
        None,
        watcher=Signals(),
        pump=pump,
        intake=None,
        status=Status(None, None),
        memory=MemoryWatch(None, None),
        volume=VolumeWatch(None),
        grace_seconds=GRACE_SECONDS,
        max_runtime_seconds=None,
    )
    tree.adopt_orphans()
    cwd = code if os.path.isdir(code) else "/"
    ending = watch.run(
        Launch(argv, environment, cwd, {"kind": "container", "prefix": [], "namespaces": None})
    )
    if ending.error is not None:
        return _fail(base, 127, f"entry program '{argv[0]}' could not be executed: {ending.error}")
    exit_code, signal = ending.code_and_signal()
    if signal is None and not exit_code:
        _write(base, SUCCESS_FILE, "")
        return 0
    told = sentence(exit_code, signal)
    room = contract.FAILURE_MAX_CHARACTERS - len(told) - 1
    told = f"{told}\n{last_lines(pump.tail, 20)[-room:]}"  # the end of a traceback says most
    return _fail(base, 128 + signal if signal is not None else exit_code or 1, told)


def _code_directory(base: str, entry: str | None) -> str:
    """Return where the code is: where SAGEMAKER_SUBMIT_DIRECTORY says, the channel, or ``code``."""
    for directory in (
        os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", ""),
        f"{base}/{contract.INPUT_DATA}/code",
    ):
        if entry is not None and os.path.isfile(os.path.join(directory, entry)):
            return directory
    return f"{base}/{contract.CODE}"


def _environment(config: env.JobConfig, base: str, code: str, entry: str | None) -> dict[str, str]:
    values = {"PYTHONUNBUFFERED": "1"}
    values.update(
        env.sagemaker_environment(
            config,
            base=base,
            job_name=os.environ.get("TRAINING_JOB_NAME", ""),
            cpus=os.cpu_count() or 1,
            gpus=count_gpus(os.environ),
            entry=entry,
            code=code,
        )
    )
    values.update(os.environ)
    runtime = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    values["PYTHONPATH"] = with_runtime(values.get("PYTHONPATH"), runtime)
    return values


def _fail(base: str, code: int, message: str) -> int:
    """Leave the reason where the platform looks for it, unless the program left its own."""
    sys.stderr.write(f"[orchestrator] {message.splitlines()[0]}\n")
    if not os.path.lexists(f"{base}/{contract.FAILURE_FILE}"):
        _write(base, contract.FAILURE_FILE, message[: contract.FAILURE_MAX_CHARACTERS])
    return code


def _write(base: str, name: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(f"{base}/{name}"), exist_ok=True)
        with open(f"{base}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        sys.stderr.write(f"[orchestrator] {base}/{name} cannot be written: {error.strerror}\n")
