"""Faults 24 to 26 through the whole path, from the program's output to the SDK's lines: nothing is lost or acted on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compute, ModelTrainer, TrainingJob
from orchestrator.sdk.lines import OutputLine
from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually, training
from tests.e2e.machine import GATED, Gate, kill

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]


def raw(home: Path, job: TrainingJob) -> bytes:
    """Return the bytes that the supervisor kept."""
    return (home / "jobs" / job.name / "attempts" / "1" / "algo-1" / "log").read_bytes()


def read_all(job: TrainingJob, limit_bytes: int) -> bytes:
    """Read a log in pieces, as a client that shows it does."""
    data = b""
    offset = 0
    while True:
        chunk = job._transport.read_log(
            job.name, host="algo-1", offset=offset, limit_bytes=limit_bytes
        )
        data += bytes(chunk["data"])
        offset = chunk["next_offset"]
        if chunk["finished"]:
            return data


# -- fault 24 ----------------------------------------------------------------------------------


def test_a_line_of_ten_megabytes_arrives_whole_and_live(
    orchestrator_home: Path, trainer: Make
) -> None:
    script = """
import sys
print("before")
sys.stdout.write("0123456789" * 1_000_000 + "\\n")
print("after")
"""
    lines: list[OutputLine] = []
    job = trainer(script).train(on_line=lines.append)
    assert [len(line.text) for line in lines] == [6, 10_000_000, 5]
    assert lines[1].text == "0123456789" * 1_000_000
    assert [len(line) for line in job.logs()] == [6, 10_000_000, 5]
    assert len(raw(orchestrator_home, job)) == 10_000_014


def test_every_byte_that_a_program_prints_is_kept_and_text_is_shown_with_marks(
    orchestrator_home: Path, trainer: Make
) -> None:
    binary = bytes(range(256)) * 4096 + random.Random(24).randbytes(1 << 20)
    script = """
import random, sys
out = sys.stdout.buffer
out.write(bytes(range(256)) * 4096 + random.Random(24).randbytes(1 << 20))
out.write(b"\\nno newline at the end \\xe2\\x82")
"""
    job = trainer(script).train(logs=False)
    expected = binary + b"\nno newline at the end \xe2\x82"
    assert raw(orchestrator_home, job) == expected
    assert read_all(job, 4099) == expected  # pieces that cut everything there is to cut
    lines = list(job.logs())
    assert lines == expected.decode("utf-8", "replace").split("\n")
    assert lines[-1] == "no newline at the end \N{REPLACEMENT CHARACTER}"


def test_characters_of_several_bytes_survive_every_cut(
    orchestrator_home: Path, trainer: Make
) -> None:
    text = "Größe 温度 🔥 עברית e\N{COMBINING ACUTE ACCENT}\N{ZERO WIDTH JOINER}"
    script = f"""
import os, time
data = ({text!r} + "\\n").encode()
for start in range(len(data)):
    os.write(1, data[start:start + 1])  # byte by byte
    time.sleep(0.001)
"""
    lines: list[OutputLine] = []
    job = trainer(script).train(on_line=lines.append)
    assert [line.text for line in lines] == [text]
    assert list(job.logs()) == [text]


# -- fault 25 ----------------------------------------------------------------------------------


def test_half_a_million_lines_arrive_complete_and_in_order_while_the_driver_is_killed(
    orchestrator_home: Path, trainer: Make
) -> None:
    count = 500_000
    script = f"""
import sys
for number in range({count}):
    sys.stdout.write("line %d\\n" % number)
"""
    digest, seen = hashlib.sha256(), 0
    killed = False

    def take(line: OutputLine) -> None:
        nonlocal seen, killed
        digest.update(line.text.encode() + b"\n")
        seen += 1
        if seen > count // 3 and not killed:
            killed = True
            pid = driver_pid(orchestrator_home)
            if pid is not None:
                kill(pid)

    job = trainer(script).train(on_line=take)
    expected = b"".join(b"line %d\n" % number for number in range(count))
    assert job.status == "Completed"
    assert seen == count
    assert digest.digest() == hashlib.sha256(expected).digest()
    assert raw(orchestrator_home, job) == expected


def test_the_quota_cuts_with_a_mark_and_the_job_goes_on(
    orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_LOG_QUOTA_BYTES", "100000")
    script = "for number in range(100_000):\n    print('line', number)\n"
    script += "open('/opt/ml/model/weights', 'w').write('w')\n"
    job = trainer(script).train(logs=False)
    assert job.status == "Completed"
    assert "model" in job.record.artifacts
    lines = list(job.logs())
    assert lines[0] == "line 0"
    assert lines[-1] == (
        "[orchestrator] log quota of 100000 bytes reached; further output is dropped"
    )
    assert len(raw(orchestrator_home, job)) < 100_200


def test_two_hosts_and_two_attempts_have_logs_of_their_own(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    script = "import os; print('I am', os.environ['SM_CURRENT_HOST'])"
    lines: list[OutputLine] = []
    job = trainer(script, compute=Compute(instance_count=2, cpus=0.5)).train(on_line=lines.append)
    assert sorted(lines) == [("algo-1", "I am algo-1"), ("algo-2", "I am algo-2")]
    for host in ("algo-1", "algo-2"):
        assert list(job.logs(host=host)) == [f"I am {host}"]


# -- fault 26 ----------------------------------------------------------------------------------

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\x9b2J </script><script>alert(1)</script>"


def test_terminal_escapes_and_carriage_returns_are_data(
    orchestrator_home: Path, trainer: Make
) -> None:
    script = f"""
import sys
sys.stdout.write({ESCAPES!r} + "\\n")
for step in range(101):
    sys.stdout.write("\\rstep %d %%" % step)
    sys.stdout.flush()
sys.stdout.write("\\n")
"""
    job = trainer(script).train(logs=False)
    lines = list(job.logs())
    assert lines[0] == ESCAPES  # the SDK hands on what was printed; what shows it escapes it
    assert lines[1] == "".join(f"\rstep {step} %" for step in range(101))
    assert raw(orchestrator_home, job).decode() == "\n".join(lines) + "\n"


def test_a_failure_with_hostile_text_is_harmless_wherever_it_is_shown(
    orchestrator_home: Path, trainer: Make
) -> None:
    script = f"raise RuntimeError({ESCAPES!r} + '\\n[orchestrator] all is well\\nsecond line')"
    job = trainer(script).train(logs=False)
    assert job.status == "Failed"
    html = job._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html
    assert "\x1b" not in repr(job)
    assert job.explanation is not None
    assert "\x1b" not in job.explanation.summary
    assert "\x1b" not in (job.record.failure_reason or "")
    assert "\x1b" not in job.record.message


def test_a_job_name_cannot_inject_lines(trainer: Make) -> None:
    make = trainer("print('hello')")
    for name in (
        "a\nb",
        "a\x1b[2J",
        "../../etc",
        "a b",
        "-rf",
        "",
        "a" * 64,
        "a\N{NO-BREAK SPACE}",
    ):
        with pytest.raises(ValueError, match="training_job_name"):
            make.train(wait=False, job_name=name)


# -- following ---------------------------------------------------------------------------------


def test_following_from_two_places_gives_both_everything(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    job = trainer(GATED).train([gate.channel], wait=False)
    training(job)
    late = TrainingJob.get(job.name, job._transport).logs(follow=True)
    assert next(late) == "ready"
    gate.open()
    assert list(late) == ["through"]
    assert list(job.logs(follow=True)) == ["ready", "through"]
    seen: list[Any] = []
    job.wait(on_line=seen.append)
    assert [line.text for line in seen] == ["ready", "through"]


def test_a_log_that_nobody_reads_does_not_stop_the_program(
    orchestrator_home: Path, trainer: Make
) -> None:
    """More than any pipe holds, with no client and no driver."""
    script = """
import os, time
print("ready", flush=True)
while not os.path.exists("/opt/ml/checkpoints/go"):
    time.sleep(0.02)
for _ in range(64):
    print("x" * (1 << 20))
open("/opt/ml/checkpoints/done", "w")
time.sleep(600)
"""
    job = training(trainer(script).train(wait=False))
    pid = driver_pid(orchestrator_home)
    assert pid is not None
    kill(pid)
    checkpoints = orchestrator_home / "jobs" / job.name / "checkpoints"
    (checkpoints / "go").touch()
    eventually((checkpoints / "done").exists)
    log = checkpoints.parent / "attempts" / "1" / "algo-1" / "log"
    assert log.stat().st_size > 64 << 20
    job.stop(grace_seconds=0, wait=True)
    assert job.status == "Stopped"
