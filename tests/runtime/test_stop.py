"""A stop reaches the user's own program, waits for it, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.hosts import Host, eventually

SAVES = """
import os, signal, sys, time
def save(number, frame):
    open(os.environ["SM_MODEL_DIR"] + "/checkpoint", "w").write("saved")
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
while True:
    time.sleep(0.05)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(1)
"""


class TestAStop:
    def test_lets_the_program_save_its_work(self, fenced: Host):
        fenced.program(SAVES).start().says(b"up\n")
        fenced.stop()
        record = fenced.end()
        assert record["outcome"] == "stopped"
        assert record["stop_intent"] == "user_stop"
        assert record["exit_code"] == 0
        assert [entry["phase"] for entry in record["phases"]] == [
            "Training",
            "Stopping",
            "Uploading",
        ]
        assert fenced.log == b"up\nsaved\n"
        assert record["artifacts"]["model"]["files"] == 1

    def test_reaches_a_program_below_shells_and_launchers(self, fenced: Host):
        fenced.program(SAVES)
        program = " ".join(fenced.plan["argv"])
        fenced.shell(f"bash -c 'sh -c \"{program}; true\"; true'; true")
        fenced.start().says(b"up")
        fenced.stop()
        record = fenced.end()
        assert record["outcome"] == "stopped"
        assert fenced.log.endswith(b"saved\n")

    def test_is_told_by_its_intent_whatever_the_code(self, host: Host):
        host.program(SAVES.replace("sys.exit(0)", "sys.exit(42)")).start().says(b"up")
        host.stop("rule_stop")
        record = host.end()
        assert (record["outcome"], record["stop_intent"]) == ("stopped", "rule_stop")
        assert record["exit_code"] == 42
        assert record["message"] == "stopped (rule_stop): the program exited with code 42"

    def test_kills_a_program_that_does_not_listen_when_the_grace_is_over(self, fenced: Host):
        fenced.marked().program(STUBBORN).start().says(b"up")
        asked = time.time()  # noqa: TID251
        fenced.stop(grace=1.0)
        record = fenced.end()
        assert record["ended_at"] - asked > 0.8  # not before; the limit of this test is after
        assert record["outcome"] == "stopped"
        assert record["signal"] == 9
        assert not fenced.processes()

    def test_has_a_deadline_that_does_not_begin_again(self, host: Host):
        host.program(STUBBORN).start().says(b"up")
        asked = time.time() - 3600  # noqa: TID251
        request = {"intent": "user_stop", "requested_at": asked, "grace_seconds": 120}
        host.write("stop.json", request)
        os.kill(host.pid, signal.SIGTERM)
        record = host.end()
        assert record["outcome"] == "stopped"
        assert record["ended_at"] < asked + 3600 + 120

    def test_is_not_prolonged_by_a_clock_that_was_set_back(self, host: Host):
        host.program(STUBBORN).start().says(b"up")
        request = {"intent": "user_stop", "requested_at": time.time() + 3600, "grace_seconds": 0.5}  # noqa: TID251
        host.write("stop.json", request)
        os.kill(host.pid, signal.SIGTERM)
        assert host.end()["outcome"] == "stopped"

    def test_may_be_made_stricter_but_keeps_its_first_intent(self, host: Host):
        host.program(STUBBORN).start().says(b"up")
        host.stop("rule_stop", grace=3600)
        eventually(lambda: host.read("status.json")["phase"] == "Stopping")
        host.stop("user_stop", grace=0)
        record = host.end()
        assert record["stop_intent"] == "rule_stop"
        assert record["signal"] == 9

    def test_without_a_request_is_an_interruption(self, host: Host):
        host.program(SAVES).start().says(b"up")
        os.kill(host.pid, signal.SIGTERM)
        record = host.end()
        assert (record["outcome"], record["stop_intent"]) == ("stopped", "interrupted")
        assert host.log.endswith(b"saved\n")

    def test_is_seen_though_its_signal_was_lost(self, host: Host):
        host.program(SAVES).start().says(b"up")
        request = {"intent": "user_stop", "requested_at": time.time(), "grace_seconds": 10}  # noqa: TID251
        host.write("stop.json", request)
        assert host.end()["outcome"] == "stopped"
        assert host.log.endswith(b"saved\n")

    def test_before_the_start_keeps_the_program_from_starting(self, host: Host):
        request = {"intent": "user_stop", "requested_at": 0, "grace_seconds": 10}
        host.write("stop.json", request)
        host.plan["install"] = {"argv": ["/bin/sh", "-c", "echo installing"], "environment": {}}
        record = host.shell("echo started").run()
        assert (record["outcome"], record["stop_intent"]) == ("stopped", "user_stop")
        assert record["started_at"] is None
        assert record["message"] == "stopped (user_stop): the program was not started"
        assert host.log == b""

    def test_works_while_requirements_are_installed(self, fenced: Host):
        install = ["/bin/sh", "-c", "echo installing; sleep 60"]
        fenced.plan["install"] = {"argv": install, "environment": {}}
        fenced.shell("echo started").start().says(b"installing")
        fenced.stop()
        record = fenced.end()
        assert record["outcome"] == "stopped"
        assert record["started_at"] is None
        assert fenced.log.startswith(b"installing\n")
        assert b"started" not in fenced.log

    def test_reaches_programs_that_appear_later(self, host: Host):
        host.program("import time; print('up', flush=True); time.sleep(60)")
        program = " ".join(host.plan["argv"])
        host.shell(f"trap 'echo trapped' TERM; {program}; echo cleaning; sleep 60; echo done")
        host.start().says(b"up")
        host.stop(grace=30)
        record = host.end()
        assert record["outcome"] == "stopped"
        assert b"cleaning" in host.log

    def test_after_the_end_of_the_program_changes_nothing(self, host: Host):
        host.program("import os; os.makedirs(os.environ['SM_MODEL_DIR'] + '/d')")
        big = host.ml / "model" / "big"
        big.write_bytes(os.urandom(1 << 20) * 200)
        host.start()
        eventually(lambda: (host.directory / "artifacts" / "model.tar.gz.new").exists(), "packing")
        host.stop()
        record = host.end()
        assert record["outcome"] == "exited"
        assert record["stop_intent"] is None

    def test_that_cannot_be_read_counts_as_an_interruption(self, host: Host):
        host.program(SAVES).start().says(b"up")
        (host.directory / "stop.json").write_text("{")
        os.kill(host.pid, signal.SIGTERM)
        record = host.end()
        assert record["stop_intent"] == "interrupted"
        assert "stop.json is no request to stop" in host.errors()


class TestMaxRuntime:
    def test_ends_gracefully(self, host: Host):
        host.limits["max_runtime_seconds"] = 1.0
        record = host.program(SAVES).run()
        assert record["outcome"] == "max_runtime"
        assert record["stop_intent"] is None
        assert (
            record["message"]
            == "the time limit of 1 s was reached: the program exited with code 0"
        )
        assert host.log.endswith(b"saved\n")

    def test_kills_after_the_grace(self, fenced: Host):
        fenced.limits.update(max_runtime_seconds=0.5, grace_seconds=0.5)
        record = fenced.program(STUBBORN).run()
        assert record["outcome"] == "max_runtime"
        assert record["signal"] == 9

    def test_holds_for_the_installation_too(self, host: Host):
        host.limits["max_runtime_seconds"] = 0.5
        host.plan["install"] = {"argv": ["/bin/sleep", "60"], "environment": {}}
        record = host.shell("true").run()
        assert record["outcome"] == "max_runtime"
        assert record["started_at"] is None


WORKERS = """
import multiprocessing, os, signal, sys, time

def work():
    if WORKER_LISTENS:
        signal.signal(signal.SIGTERM, worker_stopped)
    os.write(1, b"worker up\\n")
    time.sleep(60)

def worker_stopped(number, frame):
    os.write(1, b"worker asked\\n")  # whole lines, whoever else writes
    os._exit(0)

def stopped(number, frame):
    os.write(1, b"main asked\\n")
    time.sleep(0.7)  # longer than a round: were the workers asked too, they would have died
    print("workers", sum(p.is_alive() for p in processes), flush=True)
    for p in processes:
        p.kill()
    sys.exit(0)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    if MAIN_LISTENS:
        signal.signal(signal.SIGTERM, stopped)
    processes = [context.Process(target=work) for _ in range(2)]
    for p in processes:
        p.start()
    os.write(1, b"main up\\n")
    for p in processes:
        p.join()
"""
UP = [b"main up", b"worker up", b"worker up"]


def workers(main: bool, worker: bool) -> str:
    return WORKERS.replace("MAIN_LISTENS", str(main)).replace("WORKER_LISTENS", str(worker))


class TestAProgramWithWorkers:
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_is_asked_as_one_when_its_first_process_listens(self, fenced: Host, method: str):
        """Data loaders must live until their owner has saved its work."""
        fenced.program(workers(main=True, worker=True), method).start()
        eventually(lambda: sorted(fenced.log.splitlines()) == UP, "all to be up")
        fenced.stop()
        assert fenced.end()["outcome"] == "stopped"
        assert fenced.log.splitlines()[3:] == [b"main asked", b"workers 2"]

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_is_asked_in_its_workers_when_only_those_listen(self, host: Host, method: str):
        """Ranks that were started by a function hold the training loop; their owner just waits."""
        host.program(workers(main=False, worker=True), method).start()
        eventually(lambda: sorted(host.log.splitlines()) == UP, "all to be up")
        host.stop()
        record = host.end()
        assert (record["outcome"], record["exit_code"]) == ("stopped", 0)
        assert host.log.splitlines()[3:] == [b"worker asked", b"worker asked"]

    def test_is_asked_in_its_first_process_when_none_listens(self, host: Host):
        host.program(workers(main=False, worker=False), "fork").start().says(b"worker up")
        host.stop()
        record = host.end()
        assert (record["outcome"], record["signal"]) == ("stopped", 15)


LEFTOVERS = {
    "a child": "sleep 60 & true",
    "a child that holds the output": "sleep 60 &",
    "a daemon": "setsid sleep 60 > /dev/null 2>&1 < /dev/null & sleep 0.1",
    "a daemon that forked twice": "(setsid sh -c 'sleep 60 & sleep 60 &' > /dev/null 2>&1 &); sleep 0.1",
    "a child that ignores SIGTERM": "sh -c 'trap \"\" TERM HUP; sleep 60' & sleep 0.1",
    "a stopped child": "sh -c 'kill -STOP $$' & sleep 0.1",
    "children that are born while the tree is killed": "sh -c 'while true; do sleep 60 & done' & sleep 0.2",
}


class TestWhenTheProgramHasEnded:
    @pytest.mark.parametrize("what", LEFTOVERS)
    def test_nothing_of_it_is_left(self, fenced: Host, what: str):
        record = fenced.marked().shell(LEFTOVERS[what] + "\necho end").run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        assert fenced.processes() == []
        assert b"end\n" in fenced.log

    def test_its_last_output_is_read(self, fenced: Host):
        text = "import os\nfor i in range(20000): os.write(1, b'%06d\\n' % i)\nos.kill(os.getpid(), 9)"
        record = fenced.program(text).run()
        assert record["signal"] == 9
        assert fenced.log.splitlines()[-1] == b"019999"

    def test_zombies_were_reaped_meanwhile(self, host: Host):
        host.program(
            """
            import os, subprocess, time
            for _ in range(50):
                subprocess.run(["/bin/sh", "-c", "(sleep 0.01 &)"])  # orphans: the supervisor's
            time.sleep(0.3)
            states = []
            for name in filter(str.isdigit, os.listdir("/proc")):
                fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
                if int(fields[1]) == os.getppid():
                    states.append(fields[0])
            print(states.count("Z"))
            """
        ).run()
        assert host.log == b"0\n"


def test_a_fork_bomb_is_cleared_away(fenced: Host):
    fenced.limits["pids"] = 200
    fenced.marked().program(
        """
        import os, time
        print("up", flush=True)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                time.sleep(0.001)
        """
    ).start().says(b"up")
    fenced.stop(grace=0.5)
    assert fenced.end()["outcome"] == "stopped"
    assert fenced.processes() == []


class TestAsTheFirstProcessOfAContainer:
    @pytest.fixture
    def container(self, new_host: Callable[..., Host]) -> Host:
        """A host whose supervisor is process 1 of a pid namespace."""
        if os.geteuid() != 0 or not shutil.which("unshare"):
            pytest.skip("needs root and unshare")
        host = new_host(fence="container")
        host.prefix = ["unshare", "-p", "--fork", "--kill-child", "--mount-proc"]
        return host

    def test_it_reaps_orphans_and_kills_what_is_left(self, container: Host):
        record = (
            container.marked()
            .shell(
                """
            for i in 1 2 3 4 5; do sh -c 'sleep 0.01 &'; done
            setsid sleep 60 > /dev/null 2>&1 &
            sleep 0.3
            grep -l '^State:.Z' /proc/[0-9]*/status
            echo $PPID
            """
            )
            .run()
        )
        assert container.log == b"1\n"
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        assert container.processes() == []

    def test_it_stops_gracefully(self, container: Host):
        container.program(SAVES).start().says(b"up")
        children = Path(f"/proc/{container.process.pid}/task/{container.process.pid}/children")  # type: ignore[union-attr]
        os.kill(int(children.read_text()), signal.SIGTERM)  # as `docker stop` does it
        record = container.end()
        assert (record["outcome"], record["stop_intent"]) == ("stopped", "interrupted")
        assert container.log == b"up\nsaved\n"
