"""The command from the shell, and the import of the SDK."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.benchmarks import peer
from tests.benchmarks.bench_job import BARE
from tests.benchmarks.measure import Contender, Line, Options, Row, take_turns
from tests.benchmarks.processes import spend
from tests.benchmarks.world import ORCHESTRATOR, World, clean_variables, driven, fresh

IMPORT = (
    "from orchestrator import ModelTrainer, SourceCode, Compute\n"
    "ModelTrainer(source_code=SourceCode(entry_script='hello.py'), compute=Compute(cpus=1))\n"
)


def command(world: World, *words: str) -> Contender:
    """Return a contender that runs the command."""
    return lambda: spend([ORCHESTRATOR, *words], world.variables(), world.source).seconds


def python(world: World, *words: str) -> Contender:
    """Return a contender that runs an interpreter."""
    return lambda: spend([sys.executable, *words], clean_variables(), world.source).seconds


def processor(world: World, program: str, interpreter: str = sys.executable) -> Contender:
    """Return a contender that runs a program text and counts its processor time."""
    argv = [interpreter, "-c", program]
    return lambda: spend(argv, world.variables(), world.source).cpu_seconds


def from_nothing(options: Options) -> Contender:
    """Return a contender that runs the command in a home that does not exist yet."""

    def run() -> float:
        with fresh(options.folder) as world:
            world.home.rmdir()
            return command(world, "run", world.script.name)()

    return run


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    with fresh(options.folder) as world, driven(world):
        contenders = {
            "alive": command(world, "run", world.script.name),
            "nothing": from_nothing(options),
            BARE: python(world, world.script.name),
        }
        if peer.is_there():
            contenders["torchx run"] = peer.command(world, "-s", "local_cwd", "utils.python")
        found = take_turns(contenders, options.of(15, 2))
        alive, nothing = found.pop("alive"), found.pop("nothing")
        yield Row("orchestrator run, driver alive", "s", alive, found, 0.6)
        yield Row(
            "orchestrator run, from nothing", "s", nothing, found, 1.3, note="no home, no driver"
        )
    with fresh(options.folder) as world:
        yield from _light(options, world)


def _light(options: Options, world: World) -> Iterator[Line]:
    helps = {"help": command(world, "--help"), "python -c pass": python(world, "-c", "pass")}
    if peer.is_there():
        argv = [str(peer.BENCH_BIN / "torchx"), "--help"]
        helps["torchx --help"] = lambda: spend(argv, clean_variables(), world.source).seconds
    found = take_turns(helps, options.of(21, 2))
    yield Row("orchestrator --help", "s", found.pop("help"), found, 0.2)
    imports = {"sdk": processor(world, IMPORT), "python -c pass": processor(world, "pass")}
    if peer.is_there():
        theirs = "from torchx.runner import get_runner; get_runner()"
        imports["TorchX runner"] = processor(world, theirs, str(peer.BENCH_BIN / "python"))
    found = take_turns(imports, options.of(21, 2))
    yield Row("import SDK, construct a trainer", "CPU s", found.pop("sdk"), found, 0.25)
