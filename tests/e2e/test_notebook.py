"""Cells in a real Jupyter kernel: what is seen while a job runs, what objects look like, what an interrupt does."""

from __future__ import annotations

import json
import os
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from orchestrator.testing.plugin import driver_pid
from tests.e2e.conftest import eventually
from tests.e2e.machine import (
    GATED,
    PATIENCE_SECONDS,
    Gate,
    drivers_of,
    ended,
    is_alive,
    processes_with,
    runs,
    stored,
    supervisor_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SETUP = """
from orchestrator import InputData, ModelTrainer, TrainingJob
from orchestrator.errors import JobFailed
def trainer(source, **more):
    gate = [InputData(channel_name="gate", data_source={gate!r})]
    return ModelTrainer(source_code=source, input_data_config=gate, stop_grace_seconds=5, **more)
program = {program!r}
"""

TRAINED = """
def fit(rate: float, layers: list, name="none"):
    import os, time
    from orchestrator_runtime import report_metric
    print("fits", rate, layers, name, flush=True)
    for step in range(3):
        report_metric("loss", rate / (step + 1), step=step)
        print("\\rstep", step, end="", flush=True)
    while not os.path.exists("/opt/ml/input/data/gate/open"):
        time.sleep(0.02)
    with open(os.environ["SM_MODEL_DIR"] + "/weights", "w") as model:
        model.write(repr(layers))
"""
"""A function that has something to show, and then waits for the gate."""


class Cell:
    """One cell that a kernel executes: what it has sent so far, in its order."""

    def __init__(self, kernel: Kernel, code: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self._client = kernel.client
        self._id = self._client.execute(code, store_history=True)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the contents of its messages of some kinds."""
        return [each["content"] for each in self.messages if each["msg_type"] in kinds]

    @property
    def text(self) -> str:
        """What it has printed."""
        return "".join(said["text"] for said in self.of("stream"))

    @property
    def shown(self) -> str:
        """The HTML that its output area has now."""
        drawn = self.of("display_data", "update_display_data", "execute_result")
        return str(drawn[-1]["data"].get("text/html", "")) if drawn else ""

    @property
    def is_over(self) -> bool:
        """Whether the kernel is ready for another cell."""
        return {"execution_state": "idle"} in self.of("status")

    @property
    def errors(self) -> list[tuple[str, list[str]]]:
        """Name and shown lines of what it raised."""
        return [
            (said["ename"], "\n".join(said["traceback"]).splitlines()) for said in self.of("error")
        ]

    def until(self, wanted: Callable[[Cell], Any]) -> Cell:
        """Take messages until they show something."""
        while not wanted(self):
            assert not self.is_over, f"the cell ended before: {self.messages}"
            try:
                message = self._client.get_iopub_msg(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise AssertionError(f"nothing more came: {self.messages}") from None
            if message["parent_header"].get("msg_id") == self._id:
                self.messages.append(message)
        return self

    def end(self) -> Cell:
        """Take messages until the cell is over."""
        return self.until(lambda cell: cell.is_over)

    def sent_at(self, wanted: Callable[[dict[str, Any]], bool]) -> datetime:
        """Return when the first message of a kind was sent."""
        at: datetime = next(each["header"]["date"] for each in self.messages if wanted(each))
        return at


class Kernel:
    """A Jupyter kernel as Jupyter starts it: a process group of its own, signalled as a whole."""

    def __init__(self, directory: Path) -> None:
        self._manager = KernelManager()
        with (directory / "kernel.log").open("ab") as log:
            self._manager.start_kernel(cwd=str(directory), stdout=log, stderr=log)
        self.client = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_SECONDS)
        self.pid = int(self._manager.provisioner.pid)  # type: ignore[union-attr]

    def cell(self, code: str) -> Cell:
        """Begin to execute a cell."""
        return Cell(self, code)

    def run(self, code: str) -> Cell:
        """Execute a cell to its end."""
        cell = self.cell(code).end()
        assert not cell.errors, cell.errors
        return cell

    def interrupt(self) -> None:
        """Do what the stop button does."""
        self._manager.interrupt_kernel()

    def end(self, *, now: bool = False) -> None:
        """Shut it down, or kill it; it is gone afterwards. Idempotent."""
        self.client.stop_channels()
        self._manager.shutdown_kernel(now=now)
        self._manager.cleanup_resources()
        eventually(lambda: not is_alive(self.pid))


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """What the jobs wait for."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def setup(tmp_path: Path, gate: Gate) -> str:
    """The first cell of every notebook."""
    program = tmp_path / "program.py"
    program.write_text(GATED, encoding="utf-8")
    return SETUP.format(gate=str(gate.directory), program=str(program))


@pytest.fixture
def folders(tmp_path: Path, orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let Jupyter keep its files here, and none of this machine's settings count."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


@pytest.fixture
def start(folders: Path, setup: str) -> Iterator[Callable[[], Kernel]]:
    """Start kernels that have run the first cell; they are gone afterwards."""
    with ExitStack() as stack:

        def begin() -> Kernel:
            kernel = Kernel(folders)
            stack.callback(kernel.end, now=True)
            kernel.run(setup)
            return kernel

        yield begin


@pytest.fixture
def kernel(start: Callable[[], Kernel]) -> Kernel:
    """A kernel that has run the first cell."""
    return start()


def nothing_runs(home: Path) -> None:
    """Check that no driver, supervisor, program or kernel is left once the linger is over."""
    eventually(lambda: not drivers_of(home))
    eventually(lambda: not processes_with(str(home)))
    assert driver_pid(home) is None


def has_row(page: str, name: str, value: str) -> bool:
    """Whether a table shows a value under a name."""
    return f">{name}</th><td style='text-align:left'>{value}</td>" in page


def in_progress(cell: Cell) -> bool:
    """Whether a cell shows that the program of its job runs."""
    return "InProgress / Training" in cell.shown and "ready" in cell.text


# -- while it runs -------------------------------------------------------------------------------


def test_a_cell_shows_state_and_lines_while_its_job_runs(
    kernel: Kernel, orchestrator_home: Path, gate: Gate
) -> None:
    cell = kernel.cell("job = trainer(program).train(job_name='file', wait=True, logs=True)")
    cell.until(in_progress)
    assert not cell.is_over
    assert not stored(orchestrator_home, "file").status.is_terminal
    gate.open()  # the program cannot end before this: what was seen until here, was seen live
    cell.end()
    assert not cell.errors
    assert cell.text == "ready\nthrough\n"
    assert "Completed / Completed" in cell.shown
    record = ended(orchestrator_home, "file")
    assert record.ended_at is not None
    assert cell.sent_at(lambda m: "ready" in m["content"].get("text", "")) < record.ended_at

    states = [
        said["data"]["text/plain"] for said in cell.of("display_data", "update_display_data")
    ]
    order = [f"file: InProgress/{name}" for name in ("Pending", "Starting", "Training")]
    seen = [name for name in dict.fromkeys(states) if name in order]
    # One that is over before it is looked at may be left out; the program ran when it was looked at.
    assert seen == [name for name in order if name in seen]
    assert seen[-1] == order[-1]
    assert states[-1] == "file: Completed/Completed"
    assert len(cell.of("display_data")) == 1  # one place, changed as it goes
    places = {said["transient"]["display_id"] for said in cell.of("update_display_data")}
    assert places == {cell.of("display_data")[0]["transient"]["display_id"]}

    kernel.end()
    nothing_runs(orchestrator_home)


def test_a_function_of_a_cell_is_trained_and_its_metrics_are_seen_while_it_runs(
    kernel: Kernel, orchestrator_home: Path, gate: Gate
) -> None:
    kernel.run(TRAINED)
    cell = kernel.cell(
        "job = trainer(fit, hyperparameters={'rate': 3.0, 'layers': [8, 2]}).train(job_name='f')"
    )
    for row in ("loss", "1"), ("algo-1", "step 2"):  # the metric's value, the progress bar's line
        cell.until(lambda now, row=row: has_row(now.shown, *row))  # type: ignore[misc]
    assert not stored(orchestrator_home, "f").status.is_terminal
    gate.open()
    cell.end()
    assert cell.text == "fits 3.0 [8, 2] none\n\rstep 0\rstep 1\rstep 2\n"
    told = kernel.run(
        """
import json, tarfile
result = job.result()
with tarfile.open(job.download("there")) as archive:
    weights = archive.extractfile("weights").read().decode()
curve = job.curve("loss")
print(json.dumps([result.status, result.metrics, weights, curve["steps"], curve["values"]]))
"""
    )
    assert json.loads(told.text) == ["Completed", {"loss": 1.0}, "[8, 2]", [0, 1, 2], [3, 1.5, 1]]


def test_a_function_that_needs_the_notebook_is_refused_by_name(kernel: Kernel) -> None:
    kernel.run("import math\nscale = 2\ndef lost():\n    print(math.pi * scale)")
    [(name, lines)] = kernel.cell("trainer(lost).train()").end().errors
    assert name == "InvalidSpec"
    assert "uses math, scale of its surroundings; import or define that inside" in lines[-1]


def test_a_shell_derived_from_ipythons_is_a_notebook_too(kernel: Kernel) -> None:
    told = kernel.run(
        """
from orchestrator.sdk.notebook import in_notebook
class Shell(type(get_ipython())):
    "As Colab's is."
get_ipython().__class__ = Shell
print(in_notebook())
"""
    )
    assert told.text == "True\n"


# -- what objects look like ----------------------------------------------------------------------


def test_a_saved_notebook_has_readable_jobs_results_and_failures(
    folders: Path, orchestrator_home: Path, setup: str, gate: Gate
) -> None:
    gate.open()
    cells = (
        setup,
        TRAINED,
        "job = trainer(fit, hyperparameters={'rate': 0.5, 'layers': []}).train(job_name='good')",
        "job",
        "job.result()",
        "def broken():\n    raise ValueError('no <b>such</b> column')",
        "job = trainer(broken).train(job_name='bad', logs=False)\njob",
        "try:\n    job.result()\nexcept JobFailed as error:\n    print(error)",
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folders)}}).execute()
    _, _, train, job, result, _, failed, told = (cell.outputs for cell in notebook.cells)

    [waited] = [output for output in train if output.output_type == "display_data"]
    [shown] = job
    assert shown.data["text/plain"] == "TrainingJob('good', Completed/Completed)"
    for page in (waited.data["text/html"], shown.data["text/html"]):  # saved in its last state
        assert "<b>good</b>" in page
        assert "Completed / Completed" in page
        assert has_row(page, "loss", "0.166667")
        assert "model.tar.gz" in page
    [page] = [output.data["text/html"] for output in result]
    for part in ("<b>good</b>", "Completed (completed)", "0.166667", "model.tar.gz"):
        assert part in page

    reason = "ValueError: no &lt;b&gt;such&lt;/b&gt; column"
    assert [output.output_type for output in failed] == ["display_data", "execute_result"]
    for output in failed:
        page = output.data["text/html"]
        assert "Failed / Failed" in page
        assert page.count(reason) == 1  # said, and said once
        assert "broken.py:" in page
    [printed] = told
    assert "training job bad failed: ValueError: no <b>such</b> column" in printed.text
    assert "raise ValueError" in printed.text  # the end of the log
    nothing_runs(orchestrator_home)


# -- interrupts and coming back ------------------------------------------------------------------


def interrupted(kernel: Kernel, cell: Cell, name: str) -> None:
    """Interrupt a cell that follows a job: it ends at once and says how to come back."""
    kernel.interrupt()
    cell.end()
    [(kind, lines)] = cell.errors
    assert kind == "KeyboardInterrupt"
    back = f"detached; training job {name} goes on. Come back with TrainingJob.get({name!r}): "
    assert lines == [back + ".wait(logs=True) follows it, .stop() stops it"]


def test_interrupting_detaches_and_a_later_cell_follows_to_the_end(
    kernel: Kernel, orchestrator_home: Path, gate: Gate
) -> None:
    home = orchestrator_home
    cell = kernel.cell(
        "for name in ('long', 'never'):\n    trainer(program).train(job_name=name)\nprint('on')"
    )
    cell.until(in_progress)
    driver, supervisor = driver_pid(home), supervisor_of(home, "long")
    interrupted(kernel, cell, "long")
    assert "on" not in cell.text  # the rest of the cell was interrupted, too
    assert kernel.run("print(*(job.name for job in TrainingJob.list()))").text == "long\n"

    later = kernel.cell("job = TrainingJob.get('long').wait(logs=True)")
    later.until(lambda cell: cell.text == "ready\n")  # the log from its beginning
    interrupted(kernel, later, "long")

    last = kernel.cell("job = TrainingJob.get('long').wait(logs=True); job")
    last.until(lambda cell: cell.text == "ready\n" and in_progress(cell))  # here, too
    assert driver_pid(home) == driver
    assert is_alive(supervisor)
    assert stored(home, "long").secondary_status == "Training"
    gate.open()
    last.end()
    assert last.text == "ready\nthrough\n"
    assert "Completed / Completed" in last.shown
    assert (runs(home, "long"), stored(home, "long").attempt) == (1, 1)

    kernel.end()
    nothing_runs(home)


def test_what_was_detached_is_stopped_by_a_later_cell(
    kernel: Kernel, orchestrator_home: Path
) -> None:
    cell = kernel.cell("trainer(program).train(job_name='long')").until(in_progress)
    interrupted(kernel, cell, "long")
    shown = kernel.run("job = TrainingJob.get('long')\njob").shown
    assert "InProgress / Training" in shown
    assert "Stopped / Stopped" in kernel.run("job.stop(wait=True)\njob").shown
    assert stored(orchestrator_home, "long").end_reason == "user_stop"
    kernel.end()
    nothing_runs(orchestrator_home)


@pytest.mark.parametrize("way", ["shut down", "killed"])
def test_a_job_outlives_its_kernel_and_another_notebook_takes_it_up(
    way: str, start: Callable[[], Kernel], orchestrator_home: Path, gate: Gate
) -> None:
    home = orchestrator_home
    first = start()
    first.cell("trainer(program).train(job_name='left')").until(in_progress)
    if way == "killed":
        os.kill(first.pid, signal.SIGKILL)  # as when its memory is short
    first.end()
    assert is_alive(supervisor_of(home, "left"))

    second = start()
    cell = second.cell("job = TrainingJob.get('left').wait(logs=True); job")
    cell.until(lambda cell: cell.text == "ready\n")
    gate.open()
    cell.end()
    assert cell.text == "ready\nthrough\n"
    assert "Completed / Completed" in cell.shown
    assert (runs(home, "left"), stored(home, "left").attempt) == (1, 1)
    second.end()
    nothing_runs(home)


def test_interrupting_a_loop_over_lines_leaves_the_handle_usable(
    kernel: Kernel, orchestrator_home: Path
) -> None:
    kernel.run("job = trainer(program).train(job_name='long', wait=False)")
    cell = kernel.cell("for line in job.logs(follow=True):\n    print(line)")
    cell.until(lambda cell: cell.text == "ready\n")
    kernel.interrupt()
    [(kind, _)] = cell.end().errors
    assert kind == "KeyboardInterrupt"
    # The answer that the interrupt cut off must not be taken for the next call's.
    assert "InProgress / Training" in kernel.run("job.refresh()").shown
    assert "Stopped / Stopped" in kernel.run("job.stop(wait=True)\njob").shown
    kernel.end()
    nothing_runs(orchestrator_home)
