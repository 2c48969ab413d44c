"""How a job came out, and what it is, in lines for people."""

from __future__ import annotations

from orchestrator.cli.cmd_list import HEADER, row
from orchestrator.cli.description import description_lines
from orchestrator.cli.summary import ending_lines, phase_seconds
from orchestrator.spec.redact import redacted_record
from tests.unit.cli.records import at, failed, record, running, summary, transitions


def ending(job, *, with_log_tail: bool = False) -> str:
    return "\n".join(ending_lines(job, with_log_tail=with_log_tail))


def description(job, seconds: float = 70) -> str:
    return "\n".join(description_lines(redacted_record(job), at(seconds)))


def test_a_completed_job_shows_time_phases_metrics_and_artifacts():
    assert ending(record("mine")) == (
        "Completed in 4.0 s\n"
        "  job       mine\n"
        "  phases    pending 1.0 s, starting 1.0 s, training 1.0 s, uploading 1.0 s\n"
        "  metrics   accuracy  0.9875  (step 20)\n"
        "  model     /srv/model.tar.gz (2.05 kB)"
    )


def test_a_failed_job_says_why_where_and_what_to_do_first():
    lines = ending(failed()).splitlines()
    assert lines[0] == "Failed after 4.0 s: ValueError: boom at train.py:4 in step"
    assert lines[1].startswith("  ended by  exit code 3")
    assert lines[2] == "  hint      do not raise it"
    assert "last lines" not in ending(failed())


def test_a_failed_job_shows_the_end_of_its_log_where_it_is_not_on_the_screen():
    text = ending(failed(), with_log_tail=True)
    assert "  last lines of the log of algo-1:\n    starting\n    ValueError: boom\n" in text


def test_the_place_is_told_where_the_summary_does_not():
    assert "  at        train.py:4 in step" in ending(failed(summary="it broke"))


def test_the_host_is_told_where_there_are_several():
    spec = {"resource_config": {"instance_count": 2}}
    job = failed(summary="it broke").model_copy(update={"spec": record("bad-1", spec=spec).spec})
    assert "  at        host algo-1, train.py:4 in step" in ending(job)


def test_a_signal_is_told_with_its_meaning():
    text = ending(failed(exit_code=None, signal="SIGKILL"))
    assert "signal 9 (SIGKILL)" in text


def test_a_signal_that_this_system_does_not_know_is_told_by_name():
    assert "ended by  SIGSTRANGE" in ending(failed(exit_code=None, signal="SIGSTRANGE"))


def test_a_stopped_job_says_by_what():
    job = record(status="Stopped", secondary_status="Stopped", message="stopped as asked for")
    assert ending(job).startswith("Stopped after 4.0 s: stopped as asked for\n")


def test_a_job_that_was_not_judged_says_so_once():
    said = "the job was not judged: it must report 'loss', it reported no metric"
    job = record(notes={"early stopping": said, "sandbox": "bubblewrap"})
    assert ending(job).endswith(f"  early stopping: {said}")
    assert description(job).count(said) == 1


def test_nothing_of_others_steers_the_terminal():
    job = failed(summary="\x1b[2Jgone", log_tail=["\x1b]0;x\x07tail"], hint="\x1bchint")
    assert "\x1b" not in ending(job, with_log_tail=True)
    assert "\x1b" not in description(job)


def test_phases_of_several_attempts_are_summed():
    both = [*transitions("Completed")[:-1], *transitions("Completed", attempt=2)]
    assert phase_seconds(record(transitions=both)) == {
        "Pending": 2.0,
        "Starting": 2.0,
        "Training": 2.0,
        "Uploading": 2.0,
    }


def test_a_running_job_is_described_with_what_it_does():
    text = description(running("mine"))
    assert text.startswith("Training for 1 min 10 s: Training program is running\n")
    assert "history:" in text


def test_a_description_has_settings_and_hides_secrets():
    spec = {
        "hyper_parameters": {"epochs": "3", "api_key": "hidden-1"},
        "environment": {"MODE": "fast", "HF_TOKEN": "hidden-2"},
        "secrets": ["DB_PASSWORD"],
        "input_data_config": [{"channel_name": "train", "uri": "s3://bucket/data"}],
        "resources": {"cpus": 2, "gpus": 1, "memory_gib": 4},
    }
    text = description(record(spec=spec, notes={"sandbox": "bubblewrap"}))
    assert "hidden" not in text
    for part in (
        "epochs   3",
        "api_key  ***",
        "MODE      fast",
        "DB_PASSWORD  (secret)",
        "train  s3://bucket/data",
        "2 CPU slot(s), 1 GPU(s), 4 GiB each",
        "sandbox  bubblewrap",
        f"source {'a' * 12}, train.py",
    ):
        assert part in text


def test_a_description_lists_hosts_with_their_gpus():
    job = record()
    host = job.hosts[0].model_copy(update={"gpus": (0, 2)})
    text = description(job.model_copy(update={"hosts": (host,)}))
    assert "algo-1: exited, exit code 0, GPUs 0, 2" in text


def test_a_row_of_the_list_shows_the_phase_of_what_runs_and_the_status_of_what_ended():
    ended = row(summary(record("mine")), at(64))
    assert dict(zip(HEADER, ended, strict=True)) == {
        "NAME": "mine",
        "STATUS": "Completed",
        "AGE": "1 min 04 s",
        "TOOK": "4.0 s",
        "BACK END": "process",
        "MESSAGE": "the program ended with exit code 0",
    }
    assert row(summary(running()), at(64))[1:4] == ("Training", "1 min 04 s", "1 min 04 s")
