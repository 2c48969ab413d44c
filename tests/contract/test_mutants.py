"""What keeps promises outside the store is tested: with any one of it taken out, a test fails.

As ``test_store_mutants``, for the fences, locks, syncs and orders of the other rooms. To see one
by hand: ``pytest tests/contract/test_mutants.py -m slow -k lock``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.test_store_mutants import ROOT, copy, run_tests

__all__ = ["copy"]

RUNTIME = "containers/runtime/orchestrator_runtime"
CLAIM = "tests/runtime/test_claim.py"
DURABILITY = "tests/runtime/test_durability.py"
BLOBS = "tests/unit/blobs/test_local.py"
RECONCILE = "tests/unit/scheduler/test_reconcile.py"
WITNESS = "tests/unit/backends/test_docker_witness.py"
LOCK = "tests/unit/service/test_driver_lock.py"


@dataclass(frozen=True)
class Mutant:
    """One thing taken out.

    Attributes:
        what: What is lost without it.
        file: Below the root of the project.
        before: Text that is there once.
        after: What it becomes.
        tests: Where a test must fail.
        chosen: Which one (pytest -k).
    """

    what: str
    file: str
    before: str
    after: str
    tests: str
    chosen: str


MUTANTS = (
    Mutant(
        "the fence: one supervisor per host directory",
        f"{RUNTIME}/claim.py",
        "    except FileExistsError:\n        os.close(descriptor)\n"
        "        raise AlreadyClaimed(path) from None\n    except OSError as error:",
        "    except FileExistsError:\n        pass\n    except OSError as error:",
        CLAIM,
        "same_instant",
    ),
    Mutant(
        "the lock of a living supervisor",
        f"{RUNTIME}/claim.py",
        "    fcntl.flock(descriptor, fcntl.LOCK_EX)  # a reader may hold it shared for an instant\n",
        "",
        CLAIM,
        "is_locked_as_long",
    ),
    Mutant(
        "sync of an exit record before it gets its name",
        f"{RUNTIME}/exitrecord.py",
        "        os.fsync(self._descriptor)\n        os.rename(self._draft, self._path)\n",
        "        os.rename(self._draft, self._path)\n",
        DURABILITY,
        "was_not_written",
    ),
    Mutant(
        "an exit record appears whole",
        f"{RUNTIME}/exitrecord.py",
        "        os.fsync(self._descriptor)\n        os.rename(self._draft, self._path)\n",
        "        os.rename(self._draft, self._path)\n        os.fsync(self._descriptor)\n",
        DURABILITY,
        "was_not_written",
    ),
    Mutant(
        "sync of the name of an exit record",
        f"{RUNTIME}/exitrecord.py",
        "        files.sync_directory(os.path.dirname(self._path))\n",
        "        return\n",
        DURABILITY,
        "was_not_written",
    ),
    Mutant(
        "sync of objects before they get their name",
        "orchestrator/blobs/local.py",
        "                os.fsync(stream.fileno())\n            if hasher",
        "            if hasher",
        BLOBS,
        "synced_before_it_is_named",
    ),
    Mutant(
        "sync of the names of objects",
        "orchestrator/blobs/local.py",
        "            partial.replace(target)\n        sync_directory(target.parent)\n",
        "            partial.replace(target)\n",
        BLOBS,
        "synced_before_it_is_named",
    ),
    Mutant(
        "a collection keeps writers out",
        "orchestrator/blobs/shelf.py",
        "        with self.lock(exclusive=True):\n",
        "        with self.lock(exclusive=False):\n",
        BLOBS,
        "collection_waits_for_a_writer",
    ),
    Mutant(
        "one driver of a home",
        "orchestrator/service/file_lock.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        LOCK,
        "one_drives",
    ),
    Mutant(
        "a driver whose lock was removed ends",
        "orchestrator/service/file_lock.py",
        "return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))",
        "return True",
        LOCK,
        "removed",
    ),
    Mutant(
        "artifacts are published before the end shows",
        "orchestrator/scheduler/reconcile.py",
        "    if view.collected is None:\n        if ActionKind.COLLECT",
        "    view = replace(view, collected=view.collected or Collected())\n"
        "    if view.collected is None:\n        if ActionKind.COLLECT",
        RECONCILE,
        "before_its_artifacts",
    ),
    Mutant(
        "nothing new starts after a stop",
        "orchestrator/scheduler/reconcile.py",
        "    if job.stop_intent is not None:\n        return False\n",
        "",
        RECONCILE,
        "no_new_attempt",
    ),
    Mutant(
        "silence of an engine is no end",
        "orchestrator/backends/docker_witness.py",
        "            return Observation(host, HostStatus.UNREACHABLE, phases, detail=error.message)",
        "            return Observation(host, HostStatus.LOST, phases, detail=error.message)",
        WITNESS,
        "nothing_is_concluded",
    ),
    Mutant(
        "the fence: a container's name is taken once",
        "orchestrator/backends/docker_engine.py",
        "            if error.status == 409:\n                return False\n",
        "            if error.status == 409:\n                return True\n",
        "tests/unit/backends/test_docker_engine.py",
        "",
    ),
    Mutant(
        "the fence: a container of another job is not adopted",
        "orchestrator/backends/docker_witness.py",
        "if state is None or state.labels.get(LABEL_IDENTITY) != context.identity:",
        "if state is None:",
        WITNESS,
        "another_jobs",
    ),
)


def test_every_mutant_changes_one_place() -> None:
    for mutant in MUTANTS:
        text = (ROOT / mutant.file).read_text()
        assert text.count(mutant.before) == 1, mutant.what
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what.replace(" ", "-"))
def test_a_test_fails_without_it(copy: Path, mutant: Mutant) -> None:
    path = copy / mutant.file
    path.write_text(path.read_text().replace(mutant.before, mutant.after))
    done = run_tests(copy, mutant.tests, mutant.chosen)
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said[-3000:]
    assert any(word in said for word in (" failed", " error", "Timeout")), said[-3000:]
