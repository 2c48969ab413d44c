"""What ``make demo`` runs: trains the digits example here and shows what came of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import exits
from orchestrator.cli.output import note, styled
from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.sdk.jobs import TrainingJob
    from orchestrator.spec.record import TrainingJobRecord

ACCURACY = "test:accuracy"
LEAST_ACCURACY = 0.95
EXAMPLE = Path("jobs") / "digits_cnn"


def main() -> int:
    """Train the example; return 0 when its held-out accuracy is good enough."""
    root = Path(__file__).resolve().parents[2]
    if not (root / EXAMPLE).is_dir():
        note(
            f"error: the demo needs {EXAMPLE} beside the package, {root} has none; run `make demo`"
        )
        return exits.WRONG_REQUEST
    try:
        return _run(root / EXAMPLE)
    except OrchestratorError as error:
        from orchestrator.cli.output import print_error

        print_error(error, as_json=False)
        return exits.ERROR


def _run(example: Path) -> int:
    from orchestrator.cli.following import choose_view
    from orchestrator.cli.request import RunOptions, make_trainer
    from orchestrator.cli.views import detach_note
    from orchestrator.cli.watch import watch
    from orchestrator.embedded import LocalTransport
    from orchestrator.home import home_directory

    home = home_directory()
    note(f"Training {EXAMPLE} on this machine; everything about it is kept in {home}")
    transport = LocalTransport(home)
    try:
        # The interpreter of this program has what the example imports; an activated one may not.
        options = RunOptions(source=example, backend="process", python=sys.executable)
        job = make_trainer(options, transport).train(wait=False)
        note(f"job {job.name}")
        watched = watch(transport, job.record, choose_view(as_json=False, logs=True))
        if watched.detached:
            note(detach_note(watched.record))
            return exits.INTERRUPTED
        return _tell(job.refresh(), home)
    finally:
        transport.close()


def _tell(job: TrainingJob, home: Path) -> int:
    from orchestrator.cli.following import tell_end
    from orchestrator.home import METRICS_FILE

    record = job.record
    accuracy = held_out_accuracy(record)
    good = record.status == "Completed" and accuracy is not None and accuracy >= LEAST_ACCURACY
    note("")
    tell_end(record, with_log_tail=False)
    note(f"  log       {home / 'jobs' / job.name / 'attempts' / str(record.attempt)}/algo-1/log")
    note(f"  curves    {home / METRICS_FILE}")
    note("\n" + verdict(accuracy))
    note("\n".join(["", "Try next:", *next_commands(job.name, command_name())]))
    return exits.DONE if good else exits.ERROR


def held_out_accuracy(record: TrainingJobRecord) -> float | None:
    """Return the accuracy on images the model never saw; None when it was not reported."""
    return next((m.value for m in record.final_metrics if m.name == ACCURACY), None)


def verdict(accuracy: float | None) -> str:
    """Return what the accuracy means, in one line."""
    if accuracy is None:
        return styled(f"No metric {ACCURACY} was reported.", "red", sys.stderr)
    good = accuracy >= LEAST_ACCURACY
    text = f"Held-out accuracy {accuracy:.4f}, at least {LEAST_ACCURACY} was wanted."
    return styled(text, "green" if good else "red", sys.stderr)


def next_commands(name: str, command: str) -> Iterator[str]:
    """Yield commands that show more of the job."""
    words = (
        (f"describe {name}", "all about the job"),
        (f"metrics {name}", "its curves, drawn here"),
        (f"logs {name}", "its log again"),
        (f"open {name}", "one page with all of it"),
        (f"download {name}", "the model, to here"),
        (f"run {EXAMPLE} -- --epochs 5", "again, with other hyperparameters"),
        ("doctor", "what else this machine can do"),
    )
    width = max(len(text) for text, _ in words)
    for text, meaning in words:
        yield f"  {command} {text:{width}}  # {meaning}"


def command_name() -> str:
    """Return how the command is typed here: by name, or by path when it is not on PATH."""
    found = shutil.which("orchestrator")
    own = Path(sys.executable).with_name("orchestrator")
    if found is not None and Path(found).resolve() == own.resolve():
        return "orchestrator"
    if own.is_relative_to(Path.cwd()):
        return str(own.relative_to(Path.cwd()))
    return str(own)


if __name__ == "__main__":
    sys.exit(main())
