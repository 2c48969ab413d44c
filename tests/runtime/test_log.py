"""Every byte of output reaches the log, up to the quota; a cut is marked; secrets are not shown."""

from __future__ import annotations

import itertools
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import pump
from orchestrator_runtime.mask import MASK, MIN_BYTES, Masker

from tests.runtime.hosts import Host


class TestTheLog:
    def test_has_standard_output_and_error_in_their_order(self, fenced: Host):
        fenced.program(
            """
            import sys
            for i in range(500):
                print("out", i)
                print("err", i, file=sys.stderr)
            """
        ).run()
        lines = [f"{name} {i}" for i in range(500) for name in ("out", "err")]
        assert fenced.log.decode().splitlines() == lines

    def test_has_all_of_500_000_lines(self, host: Host):
        host.program("import sys; sys.stdout.writelines(f'{i}\\n' for i in range(500_000))").run()
        assert host.log == b"".join(b"%d\n" % i for i in range(500_000))

    def test_has_a_line_of_10_mb_and_binary_bytes_as_they_were(self, host: Host):
        host.program(
            """
            import os
            data = bytes(range(256)) * 40_000 + b"\\rprogress 50%\\rprogress 100%"
            while data:
                data = data[os.write(1, data):]
            """
        ).run()
        assert host.log == bytes(range(256)) * 40_000 + b"\rprogress 50%\rprogress 100%"

    def test_keeps_what_the_back_end_wrote_before(self, host: Host):
        (host.directory / "log").write_bytes(b"[orchestrator] a warning\n")
        record = host.shell("echo hi").run()
        assert host.log == b"[orchestrator] a warning\nhi\n"
        assert host.index()[0][0] == len(b"[orchestrator] a warning\n")
        assert record["log_bytes"] == len(host.log)

    def test_is_indexed_by_time(self, host: Host):
        before = time.time_ns() // 1000
        host.program(
            """
            import os, time
            for i in range(5):
                os.write(1, b"%d\\n" % i)
                while os.stat("../../log").st_size < 2 * i + 2:
                    time.sleep(0.001)
                time.sleep(0.002)  # records are at least a millisecond apart
            """
        ).run()
        after = time.time_ns() // 1000
        index = host.index()
        assert [offset for offset, _ in index] == [0, 2, 4, 6, 8]
        times = [moment for _, moment in index]
        assert times == sorted(times)
        assert before <= times[0]
        assert times[-1] <= after

    def test_index_stays_small_however_fast_lines_come(self, host: Host):
        host.program("import os\nfor i in range(20_000): os.write(1, b'x\\n')").run()
        assert len(host.log) == 40_000
        assert len(host.index()) < 5_000

    def test_index_is_bounded_on_a_job_of_years(self, tmp_path: Path):
        clock = iter(range(0, 10**9, 1_000_000)).__next__
        log = pump.LogPump(str(tmp_path), 10**6, Masker([]), clock_ns=clock, index_records=2)
        for _ in range(100):
            log.note("x")
        index = list(struct.iter_unpack("<QQ", (tmp_path / "log.index").read_bytes()))
        gaps = [(later[1] - earlier[1]) // 1000 for earlier, later in itertools.pairwise(index)]
        assert gaps == [1, 2, 2, 4, 4, 8, 8, 16, 16, 32]

    def test_ends_at_the_quota_with_a_mark_and_the_program_goes_on(self, host: Host):
        host.limits["log_bytes"] = 1000
        record = host.program(
            "import os; print('x' * 5_000_000); open(os.environ['SM_MODEL_DIR'] + '/w', 'w').write('x')"
        ).run()
        mark = b"\n[orchestrator] log quota of 1000 bytes reached; further output is dropped\n"
        assert host.log == b"x" * 1000 + mark
        assert record["log_truncated"]
        assert record["log_bytes"] == len(host.log)
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        assert record["artifacts"]["model"]["files"] == 1

    def test_on_a_full_disk_does_not_end_the_job(self, host: Host):
        (host.directory / "log").symlink_to("/dev/full")
        record = host.program("print('x' * 5_000_000)").run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)
        assert record["log_truncated"]
        assert record["log_bytes"] == 0

    def test_that_could_not_be_indexed_says_so(self, host: Host):
        (host.directory / "log.index").symlink_to("/dev/full")
        record = host.program("print('x')").run()
        assert record["outcome"] == "exited"
        assert record["log_truncated"]

    def test_belongs_to_a_program_that_closed_its_output(self, host: Host):
        record = host.program("import os, time; os.close(1); os.close(2); time.sleep(0.3)").run()
        assert (record["outcome"], record["exit_code"]) == ("exited", 0)


class TestSecrets:
    def run(self, host: Host, program: str, **secrets: str) -> bytes:
        path = host.directory / "secrets.json"
        path.write_text(json.dumps(secrets))
        host.plan["secrets"] = str(path)
        host.program(program).run()
        assert not path.exists(), "the supervisor removes the file as soon as it has read it"
        return host.log

    def test_reach_the_program_but_not_the_log(self, fenced: Host):
        program = "import os; t = os.environ['API_TOKEN']; print(len(t), t)"
        assert self.run(fenced, program, API_TOKEN="s3cr3t-value") == b"12 ***\n"

    def test_are_hidden_also_where_they_arrive_in_pieces(self, host: Host):
        program = """
        import os, time
        for c in "key=" + os.environ["API_TOKEN"] + "!":
            os.write(1, c.encode())
            time.sleep(0.01)
        """
        assert self.run(host, program, API_TOKEN="abcabcabd") == b"key=***!"

    def test_are_hidden_line_by_line_too(self, host: Host):
        key = "-----BEGIN KEY-----\nc2VjcmV0IGtleSBtYXRlcmlhbA==\n-----END KEY-----"
        program = "import os; print('line', os.environ['KEY'].splitlines()[1])"
        assert self.run(host, program, KEY=key) == b"line ***\n"

    def test_appear_neither_in_records_nor_in_the_exit_record(self, host: Host):
        program = """
        import os, sys
        secret = os.environ["API_TOKEN"]
        with open(os.environ["ORCHESTRATOR_RECORDS"], "w") as fifo:
            fifo.write('{"kind": "note", "text": "%s"}\\n' % secret)
        with open(os.environ["SM_OUTPUT_FAILURE"], "w") as failure:
            failure.write("bad token " + secret)
        sys.exit(1)
        """
        self.run(host, program, API_TOKEN="s3cr3t-value")
        assert host.records() == [{"kind": "note", "text": "***"}]
        assert host.read("exit.json")["failure"] == "bad token ***"
        for path in host.directory.rglob("*.json*"):
            assert b"s3cr3t" not in path.read_bytes(), path

    def test_do_not_appear_in_the_reason_either(self, host: Host):
        (host.directory / "secrets.json").write_text('{"TOKEN": "s3cr3t-value"}')
        host.plan["secrets"] = str(host.directory / "secrets.json")
        host.plan["argv"] = ["/no/s3cr3t-value"]
        assert "entry program '/no/***' could not" in host.run()["message"]

    def test_win_over_the_environment(self, host: Host):
        host.plan["environment"]["API_TOKEN"] = "from the environment"
        assert (
            self.run(host, "import os; print(os.environ['API_TOKEN'])", API_TOKEN="longer")
            == b"***\n"
        )

    def test_that_cannot_be_read_end_the_job_before_it_starts(self, host: Host):
        host.plan["secrets"] = str(host.directory / "missing.json")
        record = host.shell("echo started").run()
        assert record["outcome"] == "internal"
        assert "missing.json" in record["message"]


secret_texts = st.text(alphabet="ab\n*", min_size=MIN_BYTES, max_size=9)


class TestAMasker:
    @given(st.lists(secret_texts, max_size=3), st.text(alphabet="ab\n*c", max_size=60), st.data())
    def test_hides_the_same_however_the_stream_is_cut(self, secrets, text, data):
        whole = Masker(secrets)
        cut = Masker(secrets)
        stream = text.encode()
        expected = whole.feed(stream) + whole.end()
        shown, rest = b"", stream
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            shown += cut.feed(rest[:size])
            rest = rest[size:]
        shown += cut.end()
        for secret in secrets:
            if "*" not in secret:
                assert secret.encode() not in shown
                assert secret.encode() not in expected

    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_without_secrets_changes_nothing(self, stream: bytes, size: int):
        masker = Masker([])
        parts = [masker.feed(stream[i : i + size]) for i in range(0, len(stream), size)]
        assert b"".join(parts) + masker.end() == stream

    def test_leaves_very_short_values_alone(self):
        assert Masker(["on", "1"]).hide(b"on 1") == b"on 1"

    def test_hides_the_longer_of_two_secrets(self):
        assert Masker(["secret", "secret-and-more"]).hide(b"secret-and-more") == MASK


class TestInstallation:
    def test_writes_into_the_same_log_before_the_program(self, fenced: Host):
        argv = ["/bin/sh", "-c", "echo installing $WHAT"]
        fenced.plan["install"] = {"argv": argv, "environment": {"WHAT": "numpy"}}
        record = fenced.shell("echo training $WHAT").run()
        assert fenced.log == b"installing numpy\ntraining\n"
        phases = [entry["phase"] for entry in record["phases"]]
        assert phases == ["Downloading", "Training", "Uploading"]

    def test_that_fails_ends_the_job_with_its_last_lines(self, fenced: Host):
        argv = ["/bin/sh", "-c", "echo Collecting nonsense; echo ERROR: no match; exit 1"]
        fenced.plan["install"] = {"argv": argv, "environment": {}}
        record = fenced.shell("echo training").run()
        assert record["outcome"] == "install_failed"
        assert record["exit_code"] == 1
        assert record["started_at"] is None
        assert record["message"] == (
            "requirements could not be installed: the installer exited with code 1\n"
            "Collecting nonsense\nERROR: no match"
        )
        assert b"training" not in fenced.log

    def test_that_cannot_be_executed_ends_the_job_too(self, host: Host):
        host.plan["install"] = {"argv": ["no-such-installer"], "environment": {}}
        record = host.shell("true").run()
        assert record["outcome"] == "install_failed"
        assert "No such file or directory" in record["message"]

    def test_that_leaves_a_daemon_does_not_keep_the_program_waiting(self, host: Host):
        host.plan["install"] = {"argv": ["/bin/sh", "-c", "sleep 60 &"], "environment": {}}
        assert host.marked().shell("echo hi").run()["outcome"] == "exited"
        assert host.processes() == []


def test_on_a_disk_that_fills_up_the_end_is_recorded(
    new_host: Callable[..., Host], tmp_path: Path
):
    import os
    import shutil

    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    host = new_host()
    out = tmp_path / "out"
    script = (
        'cp -a "$0" "$1" && mount -t tmpfs -o size=4m tmpfs "$0" && cp -a "$1/." "$0/" && rm -r "$1"'
        ' && (host="$0"; out="$1"; shift; "$@"; cp -a "$host" "$out")'
    )
    host.prefix = ["unshare", "-m", "sh", "-c", script, str(host.directory), str(out)]
    host.program(
        """
        import os
        with open(os.environ["SM_MODEL_DIR"] + "/weights", "wb") as file:
            try:
                while True:
                    file.write(os.urandom(1 << 16))
                    file.flush()
            except OSError as error:
                print(error, flush=True)
        """
    ).start()
    host.process.wait(timeout=60)  # type: ignore[union-attr]
    record = json.loads((out / "exit.json").read_bytes())
    assert record["outcome"] == "internal"
    assert record["message"].startswith(
        "the program exited with code 0; model could not be packed"
    )
    assert "No space left on device" in record["message"]
