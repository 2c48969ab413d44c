"""What the debugger's hook in a program is told: its plan, and where it finds it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract

from orchestrator.backends import inputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.spec.debug import Debugger
    from orchestrator.spec.job import TrainingJobSpec
    from orchestrator.spec.recorded import SaveInterval

TENSORS = "tensors"
"""Folder of a job that holds what its debugger recorded, of all attempts and hosts."""


def plan_of(debugger: Debugger) -> dict[str, Any]:
    """Return the content of ``input/config/debugger.json`` (``hook.plan.DebugPlan``)."""
    return {
        "directory": _seen_from_the_plan(debugger.local_path),
        "rules": [
            {
                "rule": rule.rule,
                "name": rule.called,
                "parameters": rule.parameters,
                "stop": debugger.ends_on(rule.called),
                "save_interval": rule.save_interval,
            }
            for rule in debugger.judged_by()
        ],
        "every": _wishes(debugger.every),
        "include": list(debugger.include),
        "arrays": _wishes(debugger.arrays),
        "histograms": _wishes(debugger.histograms),
        "collections": _wishes(debugger.collections),
        "all_ranks": debugger.all_ranks,
    }


def _wishes(given: Mapping[str, int | SaveInterval]) -> dict[str, Any]:
    """Return by name a number of steps, or the members of an interval."""
    return {
        name: wish if isinstance(wish, int) else wish.model_dump(mode="json")
        for name, wish in given.items()
    }


def output_place(spec: TrainingJobSpec) -> str | None:
    """Return where recorded values are kept as well, for this job; None = with the job alone."""
    where = spec.debugger.s3_output_path if spec.debugger is not None else None
    return f"{where.rstrip('/')}/{spec.training_job_name}/debug-output" if where else None


def tensors_directory(spec: TrainingJobSpec, job_directory: Path) -> Path:
    """Return the folder on this machine that holds what the debugger of a job recorded."""
    place = output_place(spec)
    return (inputs.local_path(place) if place else None) or job_directory / TENSORS


def plan_path(spec: TrainingJobSpec, base: str) -> str | None:
    """Return where the program finds the plan; None where nothing is watched.

    Args:
        spec: The job.
        base: /opt/ml, or where its tree is without a sandbox.
    """
    if spec.debugger is None:
        return None
    return f"{base}/{contract.INPUT_CONFIG}/{contract.DEBUG_PLAN_FILE}"


def _seen_from_the_plan(path: str) -> str:
    """Return a path relative to the plan: without a sandbox nothing is at /opt/ml."""
    below = path.removeprefix(f"{contract.ML}/")
    return path if below == path else f"../../{below}"
