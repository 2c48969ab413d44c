"""Starts the debugger in every Python of a job that asks for it, then the user's sitecustomize."""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def start_debugger() -> None:
    """Start it where the job asks for it; the program must go on whatever happens."""
    if not os.environ.get("ORCHESTRATOR_DEBUG"):
        return
    try:
        from orchestrator_runtime.hook.activate import activate  # noqa: PLC0415 -- may be missing

        activate()
    except Exception as error:  # noqa: BLE001 -- see above
        if sys.stderr is not None:
            sys.stderr.write(
                f"[orchestrator debugger] unmonitored: {type(error).__name__}: {error}\n"
            )


def run_hidden() -> None:
    """Run the sitecustomize that this one hides, as if this one were not there."""
    mine = os.path.realpath(os.path.dirname(__file__))
    rest = [entry for entry in sys.path if os.path.realpath(entry or ".") != mine]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


start_debugger()
run_hidden()
