"""What to try after a failure, and what exit codes mean; pure tables."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.logs.excerpt import ErrorExcerpt

_HINTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            r"No module named '?(?P<name>[\w.]{1,100})",
            (
                "{name} is not installed where the job runs: list its package in requirements.txt "
                "beside the entry script, or check the spelling of the import"
            ),
        ),
        (
            r"ImportError: cannot import name",
            (
                "the installed version of that package is another one than the script was written "
                "for: pin it in requirements.txt"
            ),
        ),
        (
            r"(?:Could not find a version|No matching distribution)",
            (
                "a package of requirements.txt is not in the index that pip uses: check its name and "
                "version"
            ),
        ),
        (
            r"can't open file '?(?P<name>[^']{1,200})",
            "{name} is not in the source directory: check entry_script (and the ignore rules)",
        ),
        (
            r"No such file or directory.{0,80}/opt/ml/input/data/(?P<name>[\w.-]{1,64})",
            "check that the job has an input channel {name!r} and that the file is in it",
        ),
        (
            r"KeyError: '?SM_CHANNEL_(?P<name>\w{1,64})",
            "the job has no input channel {name!r} (in lower case): add it to input_data_config",
        ),
        (
            r"KeyError: '?SM_HP_(?P<name>[\w-]{1,100})",
            "the job has no hyperparameter {name!r} (in lower case): add it, or give a default",
        ),
        (
            r"error: unrecognized arguments: (?P<name>\S{1,100})",
            (
                "hyperparameters are passed as arguments: let the script's parser accept {name}, or "
                "remove the hyperparameter"
            ),
        ),
        (
            r"error: the following arguments are required: (?P<name>[^,\n]{1,100})",
            "pass {name} as a hyperparameter",
        ),
        (
            r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|OOM when allocating",
            (
                "the GPU's memory is used up: use a smaller batch, mixed precision or gradient "
                "checkpointing, or an instance type with more GPU memory"
            ),
        ),
        (
            r"MemoryError|DefaultCPUAllocator|Cannot allocate memory|Unable to allocate",
            (
                "memory is used up: use a smaller batch or fewer data-loader workers, or ask for more "
                "memory (resources.memory_gib)"
            ),
        ),
        (
            r"No space left on device|Disk quota exceeded",
            "the disk is full: write less, keep fewer checkpoints, or free space",
        ),
        (
            r"DataLoader worker .{0,40}(?:Bus error|is killed by signal|exited unexpectedly)",
            (
                "a data-loader worker died, mostly for lack of shared memory: use num_workers=0 or "
                "fewer workers"
            ),
        ),
        (
            r"device-side assert|CUDA error",
            (
                "set CUDA_LAUNCH_BLOCKING=1 in the job's environment to see the failing operation; a "
                "label outside 0 … classes-1 is the usual cause"
            ),
        ),
        (
            r"not compiled with CUDA enabled|No CUDA GPUs are available|Found no NVIDIA driver",
            (
                "no GPU can be used here: select the device by torch.cuda.is_available(), or ask for "
                "an instance type with GPUs"
            ),
        ),
        (
            r"Expected all tensors to be on the same device",
            "move the model and each batch to the same device with .to(device)",
        ),
        (
            r"loading state_dict for",
            "the checkpoint is of another model: check what /opt/ml/checkpoints holds",
        ),
        (
            (
                r"shapes? cannot be multiplied|size mismatch|size of tensor a|is incompatible with the "
                r"layer|Shapes? .{0,80}(?:incompatible|must)"
            ),
            "the data has another shape than the model expects: print both where the frame points",
        ),
        (
            r"Address already in use|EADDRINUSE",
            "another process listens on that port: let the launcher choose it (port 0)",
        ),
        (
            (
                r"(?:Name or service not known|Temporary failure in name resolution|Network is "
                r"unreachable|Max retries exceeded)"
            ),
            (
                "the job cannot reach the network: with enable_network_isolation nothing outside can "
                "be reached; put data in an input channel instead"
            ),
        ),
        (
            r"PermissionError|Permission denied|Read-only file system",
            (
                "write only below /opt/ml/model, /opt/ml/output, /opt/ml/checkpoints and /tmp; input "
                "channels are read-only unless they are writable"
            ),
        ),
        (
            r"FileNotFoundError|No such file or directory",
            (
                "the path does not exist inside the job: use paths below /opt/ml or relative to the "
                "entry script"
            ),
        ),
        (
            r"(?:Syntax|Indentation|Tab)Error",
            (
                "the script does not parse: run `python -m py_compile` on it, with the Python version "
                "of the job"
            ),
        ),
        (
            r"command not found|: not found",
            "the program is not in the image: check the entry point",
        ),
        (
            r"rank \d+ failed first: Signal 9",
            "that rank was killed, mostly by the kernel for lack of memory",
        ),
    )
)

_EXIT_CODES = {
    0: "success",
    1: "the program ended with an error",
    2: "the program refused its arguments",
    126: "the program was found but cannot be executed",
    127: "the program was not found",
}
_SIGNALS = {
    "SIGKILL": "killed at once; when nobody asked for it, mostly by the kernel for lack of memory",
    "SIGTERM": "asked to stop",
    "SIGINT": "interrupted",
    "SIGSEGV": "invalid memory access in native code",
    "SIGBUS": "memory that could not be read; mostly shared memory or the disk is full",
    "SIGABRT": "native code gave up (failed assertion or uncaught C++ exception)",
    "SIGILL": "an instruction that this CPU does not have",
    "SIGFPE": "integer division by zero in native code",
    "SIGXCPU": "the CPU time limit was reached",
    "SIGPIPE": "wrote to a pipe that nobody reads",
    "SIGHUP": "its terminal or parent went away",
}


def hint_for(excerpt: ErrorExcerpt) -> str | None:
    """Return what to try, or None where nothing better is known than to read the message."""
    text = f"{excerpt.exception_type or ''}: {excerpt.message or ''}"
    for pattern, hint in _HINTS:
        match = pattern.search(text)
        if match:
            return hint.format(**match.groupdict())
    return None


def exit_meaning(exit_code: int | None, signal_number: int | None = None) -> str:
    """Return in words what an exit code or signal means.

    Args:
        exit_code: As the parent saw it; above 128, the shell's form of a signal.
        signal_number: The signal that ended the process, when one did.
    """
    if signal_number is None and exit_code is not None and 128 < exit_code < 160:
        signal_number = exit_code - 128
    if signal_number is not None:
        name = _signal_name(signal_number)
        meaning = _SIGNALS.get(name)
        number = f"exit code {exit_code}, " if exit_code is not None else ""
        return f"{number}signal {signal_number} ({name})" + (f": {meaning}" if meaning else "")
    if exit_code is None:
        return "no exit code is known"
    meaning = _EXIT_CODES.get(exit_code)
    return f"exit code {exit_code}" + (f": {meaning}" if meaning else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
