"""Memory, CPU and process limits hold, and the record tells what was hit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime import cgroups, limits

from tests.runtime.hosts import Host

MIB = 1 << 20
EATS = """
import time
data = bytearray()
while True:
    data += b"x" * (4 << 20)
    time.sleep(0.01)
"""


def limits_of(**given: Any) -> Any:
    return {
        "max_runtime_seconds": None,
        "grace_seconds": 1.0,
        "log_bytes": 1,
        "memory_bytes": None,
        "cpus": None,
        **given,
    }


@pytest.fixture(scope="module")
def groups_work() -> None:
    group = cgroups.create(f"orchestrator-probe-{os.getpid()}", limits_of(memory_bytes=100 * MIB))
    if group is None:
        pytest.skip("no control group may be made here")
    usable = group.limits_memory
    group.remove()
    if not usable:
        pytest.skip("control groups cannot limit memory here")


def own_groups() -> list[Path]:
    found = Path("/sys/fs/cgroup").glob("**/orchestrator-job-*")
    return [path for path in found if path.is_dir()]


@pytest.mark.usefixtures("groups_work")
class TestWithAControlGroup:
    def test_a_program_that_eats_memory_is_ended(self, fenced: Host):
        fenced.limits["memory_bytes"] = 100 * MIB
        record = fenced.program(EATS).run()
        assert record["outcome"] == "out_of_memory"
        assert record["signal"] == 9
        assert record["limits_by"].startswith("cgroup-v")
        assert record["message"].startswith("the memory limit of 104857600 bytes was reached")
        assert 60 * MIB < record["peak_memory_bytes"] <= 100 * MIB

    def test_a_program_that_gives_up_when_its_worker_is_killed_ran_out_of_memory(self, host: Host):
        host.limits["memory_bytes"] = 100 * MIB
        program = f"""
        import os, sys
        if os.fork() == 0:
            open("/proc/self/oom_score_adj", "w").write("1000")
            exec({EATS!r})
        _, status = os.wait()
        sys.exit(1 if status else 0)
        """
        record = host.program(program).run()
        assert (record["outcome"], record["exit_code"]) == ("out_of_memory", 1)

    def test_a_killed_worker_of_a_program_that_went_on_is_only_mentioned(self, host: Host):
        host.limits["memory_bytes"] = 100 * MIB
        program = f"""
        import os
        if os.fork() == 0:
            open("/proc/self/oom_score_adj", "w").write("1000")
            exec({EATS!r})
        os.wait()
        """
        record = host.program(program).run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        assert record["message"] == (
            "the program exited with code 0; 1 of its child processes had been killed at the "
            "memory limit of 104857600 bytes"
        )

    def test_processes_are_limited(self, fenced: Host):
        fenced.limits["pids"] = 20
        fenced.program(
            """
            import os, time
            made = 0
            try:
                for made in range(100):
                    if os.fork() == 0:
                        time.sleep(60)
            except OSError as error:
                print(error.errno, made < 20)
            """
        ).run()
        assert fenced.log == b"11 True\n"

    def test_cpus_are_limited(self, host: Host):
        host.limits["cpus"] = 0.2
        host.program(
            """
            import time
            wall, cpu = time.monotonic(), time.process_time()
            while time.monotonic() - wall < 1:
                pass
            print((time.process_time() - cpu) / (time.monotonic() - wall))
            """
        ).run()
        assert float(host.log) < 0.5

    def test_the_group_is_removed(self, fenced: Host):
        fenced.limits["memory_bytes"] = 100 * MIB
        fenced.shell("sleep 60 & true").run()
        assert own_groups() == []


@pytest.fixture
def no_groups(
    monkeypatch: pytest.MonkeyPatch, new_host: Callable[..., Host]
) -> Callable[..., Host]:
    """Hosts whose supervisor may not make control groups: a mount hides them."""
    if os.geteuid() != 0 or not Path("/usr/bin/unshare").exists():
        pytest.skip("needs root and unshare to hide control groups")

    def make(**options: object) -> Host:
        host = new_host(**options)
        host.prefix = [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount -t tmpfs -o ro tmpfs /sys/fs/cgroup; exec "$0" "$@"',
        ]
        return host

    return make


class TestWithoutOne:
    @pytest.mark.parametrize("fence", ["none", "bubblewrap"])
    def test_the_memory_of_the_tree_is_watched(self, no_groups, fence: str):
        host = no_groups(fence=fence)
        host.limits["memory_bytes"] = 100 * MIB
        host.program(EATS)
        host.shell(f"sh -c '{' '.join(host.plan['argv'])}; true'; true")
        record = host.run()
        assert record["outcome"] == "out_of_memory"
        assert record["limits_by"] == "pss"
        assert record["peak_memory_bytes"] > 100 * MIB

    def test_shared_pages_count_once(self, no_groups):
        host = no_groups()
        host.limits["memory_bytes"] = 150 * MIB
        record = host.program(
            """
            import os, time
            data = b"x" * (80 << 20)
            for _ in range(4):
                if os.fork() == 0:
                    break
            time.sleep(1.5)
            """
        ).run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)

    def test_a_program_that_stays_below_is_left_alone(self, no_groups):
        host = no_groups()
        host.limits["memory_bytes"] = 500 * MIB
        record = host.program("import time; time.sleep(1.2)").run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)


class TestGroupsOfKilledSupervisors:
    @pytest.fixture
    def parent(self, tmp_path: Path) -> Path:
        for name in (
            "orchestrator-job-1-algo-1-999999999",
            f"orchestrator-job-1-algo-1-{os.getpid()}",
            "user-999999999",
        ):
            (tmp_path / name).mkdir()
            os.utime(tmp_path / name, (0, 0))
        (tmp_path / "orchestrator-young-999999999").mkdir()
        return tmp_path

    def test_are_swept_and_no_others(self, parent: Path):
        before = {path.name for path in parent.iterdir()}
        cgroups._sweep(str(parent))
        gone = before - {path.name for path in parent.iterdir()}
        assert gone == {"orchestrator-job-1-algo-1-999999999"}


def test_without_a_limit_nothing_is_limited(host: Host):
    record = host.shell("true").run()
    assert record["limits_by"] == "none"
    assert own_groups() == []


class TestTheFilesOfControlGroups:
    """The version that this machine lacks is checked on plain directories."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        for name in [
            "memory.max",
            "memory.swap.max",
            "memory.peak",
            "memory.events",
            "cpu.max",
            "pids.max",
            "cgroup.procs",
            "cgroup.kill",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.oom_control",
            "memory.max_usage_in_bytes",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
        ]:
            (tmp_path / name).touch()
        return tmp_path

    def group(self, kind: str, directory: Path) -> cgroups.Group:
        return cgroups.Group(kind, dict.fromkeys(("memory", "cpu", "pids"), str(directory)))

    def test_version_2(self, directory: Path):
        group = self.group("cgroup-v2", directory)
        group.limit(limits_of(memory_bytes=1000, cpus=1.5, pids=7))
        assert (group.limits_memory, group.limits_cpu) == (True, True)
        assert (directory / "memory.max").read_text() == "1000"
        assert (directory / "memory.swap.max").read_text() == "0"
        assert (directory / "cpu.max").read_text() == "150000 100000"
        assert (directory / "pids.max").read_text() == "7"
        (directory / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
        (directory / "memory.peak").write_text("4096\n")
        assert group.out_of_memory_kills() == 2
        assert group.peak_bytes() == 4096
        assert group.kill() == 0
        assert (directory / "cgroup.kill").read_text() == "1"

    def test_version_1(self, directory: Path):
        group = self.group("cgroup-v1", directory)
        group.limit(limits_of(memory_bytes=1000, cpus=0.5))
        assert (directory / "memory.limit_in_bytes").read_text() == "1000"
        assert (directory / "cpu.cfs_quota_us").read_text() == "50000"
        (directory / "memory.oom_control").write_text(
            "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
        )
        assert group.out_of_memory_kills() == 1

    def test_that_are_missing_limit_nothing(self, tmp_path: Path):
        group = self.group("cgroup-v2", tmp_path)
        group.limit(limits_of(memory_bytes=1000, cpus=1.0))
        assert (group.limits_memory, group.limits_cpu) == (False, False)
        assert (group.peak_bytes(), group.out_of_memory_kills(), group.kill()) == (0, 0, 0)


def test_the_memory_of_a_tree_is_measured(host: Host):
    host.program("data = b'x' * (50 << 20); import time; print('up', flush=True); time.sleep(60)")
    host.start().says(b"up")
    assert 50 * MIB < limits.tree_bytes(10 * MIB) < 400 * MIB
