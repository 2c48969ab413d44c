"""The tests of the store are tested: with any one commit, sync or fence taken out, one of them fails.

Each mutant is a copy of this project with one text replaced; the tests named beside it must fail
there, and pass here. To see one by hand: ``pytest tests/contract/test_store_mutants.py -m slow -k fence``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("orchestrator", "containers/runtime", "tests", "pyproject.toml")
UNIT = "tests/unit/store"
CONTRACT = "tests/contract/test_store.py"
PROCESSES = "tests/contract/test_store_processes.py"
MACHINE = "tests/contract/test_store_machine.py"
POSTGRES = "tests/contract/test_store_postgres.py"


@dataclass(frozen=True)
class Mutant:
    """One thing taken out.

    Attributes:
        what: What is lost without it.
        file: Below ``orchestrator/store``.
        before: Text that is there once.
        after: What it becomes.
        tests: Where a test must fail.
        chosen: Which of them (pytest -k).
    """

    what: str
    file: str
    before: str
    after: str
    tests: str
    chosen: str = ""


WAIT = f"{UNIT}/test_durability.py"
MUTANTS = (
    # -- syncs
    Mutant(
        "sync of accepted jobs: the durable connection is not FULL",
        "sqlite.py",
        'self._engine("BEGIN IMMEDIATE", "FULL", 1, 0)',
        'self._engine("BEGIN IMMEDIATE", "NORMAL", 1, 0)',
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "sync of accepted jobs: durable transactions take the other connection",
        "sqlite.py",
        "self._durable if durable else self._relaxed",
        "self._relaxed",
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "speed of updates that need no sync",
        "sqlite.py",
        "self._durable if durable else self._relaxed",
        "self._durable",
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "sync of submissions and stops",
        "sql.py",
        "lambda connection, _: self._answers(connection, batch), durable=True",
        "lambda connection, _: self._answers(connection, batch), durable=False",
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "sync of terminal updates",
        "sql.py",
        "durable=any(update.durable for update in updates)",
        "durable=False",
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "sync of terminal updates that come with others",
        "sql.py",
        "durable=any(update.durable for update in updates)",
        "durable=all(update.durable for update in updates)",
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "sync of deletions",
        "sql.py",
        "self._database.write(work, durable=True)",
        "self._database.write(work, durable=False)",
        WAIT,
        "on_sqlite",
    ),
    Mutant(
        "sync on PostgreSQL",
        "postgresql.py",
        "if not durable:",
        "if True:",
        WAIT,
        "on_postgresql",
    ),
    Mutant(
        "sync of a backup before it gets its name",
        "sqlite.py",
        "        _sync(partial)\n",
        "",
        WAIT,
        "backup",
    ),
    Mutant(
        "sync of the directory of a backup",
        "sqlite.py",
        "        _sync(directory)\n",
        "",
        WAIT,
        "backup",
    ),
    # -- commits
    Mutant(
        "the commit itself",
        "sqlite.py",
        "engine.begin() as connection:",
        "engine.connect() as connection:",
        CONTRACT,
        "Sqlite and reads_back",
    ),
    Mutant(
        "the commit itself, on PostgreSQL",
        "postgresql.py",
        "self._engine.begin() as connection:",
        "self._engine.connect() as connection:",
        CONTRACT,
        "Postgresql and reads_back",
    ),
    Mutant(
        "one transaction per apply",
        "changes.py",
        "        after = _apply_one(connection, change, state, scope, now)\n",
        "        after = _apply_one(connection, change, state, scope, now)\n"
        "        connection.commit()\n",
        CONTRACT,
        "Sqlite and illegal_transition",
    ),
    Mutant(
        "answers only after the commit",
        "../group_commit.py",
        "            replies = self._run([member.request for member in batch])\n",
        "            for member in batch[1:]:\n                member.wake.set()\n"
        "            replies = self._run([member.request for member in batch])\n",
        "tests/unit/test_group_commit.py",
    ),
    Mutant(
        "the write lock from the beginning of a transaction",
        "sqlite.py",
        'self._engine("BEGIN IMMEDIATE", "FULL", 1, 0)',
        'self._engine("BEGIN", "FULL", 1, 0)',
        PROCESSES,
        "one_winner_on_sqlite",
    ),
    Mutant(
        "the others in a batch with a poisoned member",
        "sql.py",
        "            with connection.begin_nested():\n                return",
        "            if True:\n                return",
        f"{UNIT}/test_faults.py",
        "poisoned",
    ),
    # -- fences
    Mutant(
        "the fence: lease token",
        "leases.py",
        'drivers.c.token == bindparam("with_token")',
        'bindparam("with_token") > 0',
        CONTRACT,
        "Sqlite and stale_driver",
    ),
    Mutant(
        "the fence: token of a paused driver",
        "sql.py",
        "            count = leases.fence(connection, lease)\n",
        "            count = 0\n",
        PROCESSES,
        "paused and sqlite",
    ),
    Mutant(
        "the fence: a lease given back",
        "leases.py",
        "        .values(owner=None, token=lease.token + 1)\n",
        "        .values(owner=None, token=lease.token)\n",
        MACHINE,
    ),
    Mutant(
        "the fence: a new token for each owner",
        "leases.py",
        ".values(owner=owner, token=row.token + 1, expires_us=expires_us)",
        ".values(owner=owner, token=max(row.token, 1), expires_us=expires_us)",
        CONTRACT,
        "Sqlite and force_takes",
    ),
    Mutant(
        "one holder of the lease",
        "leases.py",
        "    if held and not force:\n        return None\n",
        "",
        PROCESSES,
        "one_winner_on_sqlite",
    ),
    Mutant(
        "one holder of the lease, on PostgreSQL",
        "leases.py",
        "select(drivers).where(drivers.c.scope == scope).with_for_update()",
        "select(drivers).where(drivers.c.scope == scope)",
        PROCESSES,
        "one_winner_on_postgresql",
    ),
    Mutant(
        "compare-and-set on the revision",
        "changes.py",
        'fits = state is not None and state["revision"] == change.revision',
        "fits = state is not None",
        CONTRACT,
        "Sqlite and counts_once",
    ),
    Mutant(
        "a revision for every change",
        "changes.py",
        '        "revision": state["revision"] + 1,\n        "modified_us": max(',
        '        "revision": state["revision"],\n        "modified_us": max(',
        CONTRACT,
        "Sqlite and counts_once",
    ),
    Mutant(
        "a revision for every stop",
        "changes.py",
        '        "revision": state["revision"] + 1,\n        "stop_intent"',
        '        "revision": state["revision"],\n        "stop_intent"',
        CONTRACT,
        "Sqlite and older_decision",
    ),
    Mutant(
        "the first stop wins",
        "changes.py",
        'if status.is_terminal or state["stop_intent"] is not None:',
        "if status.is_terminal:",
        CONTRACT,
        "Sqlite and stop_is_noted_once",
    ),
    Mutant(
        "legal transitions only",
        "rules.py",
        "if not may_follow(secondary, transition.status):",
        "if False:",
        CONTRACT,
        "illegal_transition",
    ),
    Mutant(
        "a terminal state is written once",
        "rules.py",
        "        if _changes_more_than_notes(update):",
        "        if False:",
        CONTRACT,
        "written_once",
    ),
    Mutant(
        "one end reason per terminal state",
        "rules.py",
        "    _check_end(name, after, secondary, update)\n",
        "",
        CONTRACT,
        "one_reason",
    ),
    Mutant(
        "one job per GPU",
        "leases.py",
        "        rules.check_take(present, wanted, scope)\n",
        "",
        CONTRACT,
        "Sqlite and gpu",
    ),
    Mutant(
        "one job per GPU, the last line",
        "tables.py",
        '        "ix_resource_leases_one_gpu",\n        "scope",\n        "unit",\n        unique=True,',
        '        "ix_resource_leases_one_gpu",\n        "scope",\n        "unit",',
        WAIT,
        "gpu",
    ),
    Mutant(
        "resources are held until released",
        "rules.py",
        "    if holds_resources:",
        "    if False:",
        CONTRACT,
        "holds_resources",
    ),
    Mutant(
        "one job per name",
        "tables.py",
        'Index("ix_jobs_name_key", "name_key", unique=True)',
        'Index("ix_jobs_name_key", "name_key")',
        f"{UNIT}/test_migrations.py",
        "made_of",
    ),
    Mutant(
        "a clear answer when the name is taken",
        "accept.py",
        "    owner = known.owners.get(member.name_key)\n",
        "    owner = None\n",
        CONTRACT,
        "Sqlite and one_name",
    ),
    Mutant(
        "one job per idempotency key",
        "accept.py",
        "    if keys:\n        connection.execute(insert(idempotency_keys), keys)\n",
        "",
        CONTRACT,
        "Sqlite and key",
    ),
    Mutant(
        "our own commit is known again",
        "accept.py",
        "    if owner == member.accept_id:",
        "    if False:",
        POSTGRES,
        "answer_is_lost",
    ),
    Mutant(
        "our own apply is known again",
        "sql.py",
        "if again and mine and",
        "if False and",
        POSTGRES,
        "answer_is_lost",
    ),
    Mutant(
        "our own deletion is known again",
        "sql.py",
        "                if not again:\n                    raise\n",
        "                raise\n",
        POSTGRES,
        "answer_is_lost",
    ),
    Mutant(
        "transactions are run again when the server returns",
        "postgresql.py",
        "if out_of_time or not failures.is_worth_a_retry(error):",
        "if True:",
        POSTGRES,
        "crashes",
    ),
    # -- what is kept in the same transactions
    *(
        Mutant(
            f"counters: {what}",
            file,
            f"{indent}counts.add(connection, {values})\n",
            f"{indent}pass\n",
            CONTRACT,
            f"Sqlite and {chosen}",
        )
        for what, file, indent, values, chosen in (
            (
                "accept",
                "accept.py",
                "    ",
                "{TrainingJobStatus.IN_PROGRESS: len(new)}",
                "counted",
            ),
            ("apply", "changes.py", "        ", "moved", "counted"),
            (
                "stop",
                "changes.py",
                "        ",
                "{status: -1, TrainingJobStatus.STOPPING: 1}",
                "counted",
            ),
            ("delete", "changes.py", "    ", "{status: -1}", "forgotten"),
        )
    ),
    Mutant(
        "a new state is read again",
        "record_cache.py",
        "    return row.revision, row.modified_us\n",
        "    return 0, 0\n",
        f"{UNIT}/test_record_cache.py",
    ),
    Mutant(
        "blocks of modifications",
        "changes.py",
        "        blocks.touch(connection, touched.items())\n",
        "",
        f"{UNIT}/test_listing.py",
    ),
    Mutant(
        "runs of characters of new names",
        "name_blocks.py",
        "    connection.execute(_MERGE, rows)\n",
        "",
        f"{UNIT}/test_listing.py",
    ),
    Mutant(
        "how far the clock ran backwards",
        "counts.py",
        "    if skew_us > 0:",
        "    if False:",
        CONTRACT,
        "Sqlite and every_filter",
    ),
    Mutant(
        "signatures of cursors",
        "cursor.py",
        "if not hmac.compare_digest(signature, _sign(key, body)):",
        "if False:",
        CONTRACT,
        "Sqlite and damaged_cursor",
    ),
    Mutant(
        "cursors serve their own query",
        "cursor.py",
        "    if digest != _short(listed):",
        "    if False:",
        CONTRACT,
        "Sqlite and its_own_query",
    ),
    Mutant(
        "newer databases are refused",
        "migrate.py",
        "if revision and revision not in runner.known_revisions():",
        "if False:",
        f"{UNIT}/test_migrations.py",
        "newer",
    ),
)


def run_tests(root: Path, tests: str, chosen: str) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy of the project against that copy."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *("--timeout=60", f"--basetemp={root}/temporary", "-m", "not slow", tests),
            *(("-k", chosen) if chosen else ()),
        ],
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'containers/runtime'}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the tests need."""
    root = tmp_path / "copy"
    for part in PARTS:
        source, target = ROOT / part, root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, target)
    return root


def test_every_mutant_changes_one_place() -> None:
    for mutant in MUTANTS:
        text = (ROOT / "orchestrator/store" / mutant.file).read_text()
        assert text.count(mutant.before) == 1, mutant.what
    assert len({mutant.what for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what.replace(" ", "-"))
def test_a_test_fails_without_it(copy: Path, mutant: Mutant) -> None:
    path = copy / "orchestrator/store" / mutant.file
    path.write_text(path.read_text().replace(mutant.before, mutant.after))
    done = run_tests(copy, mutant.tests, mutant.chosen)
    said = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, said[-3000:]
    assert any(word in said for word in (" failed", " error", "Timeout")), said[-3000:]
