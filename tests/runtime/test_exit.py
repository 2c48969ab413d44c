"""How a host ends, and what its record says of it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.runtime.hosts import Host


class TestAnExitRecord:
    def test_says_that_all_went_well(self, fenced: Host):
        record = fenced.program("print('hello')").run()
        assert record["outcome"] == "exited"
        assert (record["exit_code"], record["signal"], record["failure"]) == (0, None, None)
        assert record["message"] == "the program exited with code 0"
        assert [entry["phase"] for entry in record["phases"]] == ["Training", "Uploading"]
        assert record["phases"][0]["at"] <= record["started_at"] <= record["ended_at"]
        assert fenced.log == b"hello\n"
        assert record["log_bytes"] == 6
        assert record["peak_memory_bytes"] > 1_000_000
        assert record["sandbox"] == fenced.plan["sandbox"]["kind"]

    def test_has_the_code_of_a_program_that_failed(self, fenced: Host):
        record = fenced.shell("exit 3").run()
        assert (record["outcome"], record["exit_code"], record["signal"]) == ("exited", 3, None)
        assert record["message"] == "the program exited with code 3"

    def test_names_the_signal_that_killed_a_program(self, fenced: Host):
        record = fenced.shell("kill -SEGV $$").run()
        assert record["outcome"] == "exited"
        assert record["signal"] == 11
        assert record["message"] == "the program was killed by SIGSEGV (11)"

    def test_tells_why_a_program_could_not_be_executed(self, fenced: Host):
        fenced.plan["argv"] = ["no-such-program", "x"]
        record = fenced.run()
        assert record["outcome"] == "not_started"
        assert (record["exit_code"], record["signal"]) == (None, None)
        assert record["message"].startswith(
            "entry program 'no-such-program' could not be executed"
        )
        assert "No such file or directory" in record["message"]

    def test_tells_that_a_file_is_not_executable(self, host: Host):
        (host.ml / "code" / "run").write_text("echo hi")
        host.plan["argv"] = [f"{host.ml}/code/run"]
        record = host.run()
        assert record["outcome"] == "not_started"
        assert "Permission denied" in record["message"]

    def test_tells_that_a_directory_is_missing(self, host: Host):
        host.plan["cwd"] = "/no/such/place"
        record = host.shell("true").run()
        assert record["outcome"] == "not_started"
        assert "/no/such/place" in record["message"]

    def test_holds_what_the_program_wrote_into_the_failure_file(self, fenced: Host):
        record = fenced.program(
            """
            import os, sys
            open(os.environ["SM_OUTPUT_FAILURE"], "wb").write("größer ".encode() + b"\\xff" + b"x" * 5000)
            sys.exit(1)
            """
        ).run()
        assert record["failure"].startswith("größer \ufffdxxx")
        assert len(record["failure"]) == 1024

    @pytest.mark.parametrize(
        "make",
        [
            "os.symlink('/etc/passwd', path)",
            "os.mkfifo(path)",
            "os.mkdir(path)",
            "os.rmdir(d + '/data'); os.rename(d, d + '2'); os.symlink('/etc', d)",
        ],
    )
    def test_is_not_fooled_by_a_failure_file_of_another_kind(self, host: Host, make: str):
        text = (
            f"import os; path = os.environ['SM_OUTPUT_FAILURE']; d = os.path.dirname(path); {make}"
        )
        record = host.program(text).run()
        assert record["outcome"] == "exited"
        assert record["failure"] is None

    def test_is_written_last_and_at_once(self, host: Host):
        host.shell("echo x > ../model/w").run()
        made = (host.directory / "exit.json").stat().st_mtime_ns
        others = [
            p for p in host.directory.rglob("*") if p.name not in ("exit.json", "exit.json.new")
        ]
        assert all(path.lstat().st_mtime_ns <= made for path in others if not path.is_dir())
        assert not list(host.directory.rglob("*.new"))

    def test_is_written_though_the_program_removed_its_whole_tree(self, host: Host):
        record = host.program(
            "import os, shutil; shutil.rmtree(os.environ['SM_MODEL_DIR'] + '/..')"
        ).run()
        assert record["outcome"] == "exited"
        assert record["artifacts"] == {}


def send_for_ever(sender: socket.socket, address: str) -> None:
    while True:
        sender.sendto(b"x", address)


class TestInsideAContainer:
    def test_the_supervisor_exits_with_the_programs_code(self, new_host):
        host = new_host(fence="container")
        host.shell("exit 7").start()
        assert host.process.wait(timeout=60) == 7
        assert host.read("exit.json")["exit_code"] == 7

    def test_the_supervisor_exits_with_128_and_the_signal(self, new_host):
        host = new_host(fence="container")
        host.shell("kill -9 $$").start()
        assert host.process.wait(timeout=60) == 137

    def test_the_images_own_environment_is_the_base_of_the_programs(self, new_host, monkeypatch):
        monkeypatch.setenv("IMAGE_SAYS", "yes")
        host = new_host(fence="container")
        host.shell("echo $IMAGE_SAYS").run()
        assert host.log == b"yes\n"


class TestStatus:
    def test_tells_the_phase_and_the_first_process_of_the_sandbox(self, new_host):
        host = new_host(fence="bubblewrap")
        host.program("import time; print('up', flush=True); time.sleep(60)").start().says(b"up")
        status = host.read("status.json")
        assert status["phase"] == "Training"
        assert Path(f"/proc/{status['program_pid']}").exists()

    def test_wakes_the_driver_when_the_program_begins_and_at_the_end(
        self, host: Host, tmp_path: Path
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as driver:
            address = str(tmp_path / "wake")
            driver.bind(address)
            driver.settimeout(20)
            host.plan["notify"] = address
            host.shell("true").run()
            heard = [json.loads(driver.recv(4096)) for _ in range(2)]
        assert [message["phase"] for message in heard] == ["Training", "ended"]
        assert heard[0] == {"job_name": "job", "attempt": 1, "host": "algo-1", "phase": "Training"}

    @pytest.mark.parametrize("address", ["/no/such/socket", "x" * 300])
    def test_does_without_a_driver_that_listens(self, host: Host, address: str):
        host.plan["notify"] = address
        assert host.shell("true").run()["outcome"] == "exited"

    def test_does_not_wait_for_a_driver_that_hangs(self, host: Host, tmp_path: Path):
        address = str(tmp_path / "wake")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as driver:
            driver.bind(address)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
                other.setblocking(False)
                with pytest.raises(BlockingIOError):
                    send_for_ever(other, address)
            host.plan["notify"] = address
            assert host.shell("true").run()["outcome"] == "exited"


def test_the_whole_of_it_works_on_the_oldest_python(new_host, interpreter: str):
    host = new_host(python=interpreter)
    host.plan["install"] = {"argv": ["/bin/sh", "-c", "echo installing"], "environment": {}}
    host.program(
        """
        import os, sys
        from orchestrator_runtime import report_metric
        report_metric("loss", 0.5, step=1)
        open(os.environ["SM_MODEL_DIR"] + "/w", "w").write("x")
        print(sys.version_info[:2])
        """
    )
    record = host.run()
    assert record["outcome"] == "exited", host.errors()
    assert record["artifacts"]["model"]["files"] == 1
    assert host.records()[0]["value"] == 0.5
    assert host.log.startswith(b"installing\n(3, ")
    assert host.errors() == ""
