"""Jobs that ask for a debugger which cannot see anything are said to be unmonitored, and precisely why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import Compute, Debugger, DebugRule, ModelTrainer, SourceCode, TrainingJob
from orchestrator.embedded import LocalTransport
from orchestrator.packaging.image import ImageBuilder, ImageRequest
from orchestrator.packaging.source import pack_source
from orchestrator.spec.findings import DebugState, RuleStatus
from tests.jobs import running

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.timeout(240)]

WATCHES = Debugger(rules=(DebugRule(rule="non_finite"),))
TRAINS = """
import torch
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.01)
for step in range(20):
    optimizer.zero_grad()
    model(torch.ones(2, 3)).pow(2).mean().backward()
    optimizer.step()
"""


def reason_of(job: TrainingJob) -> str:
    """Why an ended job is unmonitored; no rule of it may look healthy."""
    assert job.wait(logs=False).record.status == "Completed"
    found = job.findings()
    assert found.state is DebugState.UNMONITORED
    assert {rule.status for rule in found.rules} == {RuleStatus.ERROR}
    return found.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("python=$(command -v python3); exec $python -S -c 'print()'", "no Python that "),
        ("exit 0", "no Python that "),
    ],
)
def test_a_shell_script(
    orchestrator_transport: LocalTransport, tmp_path: Path, line: str, reason: str
) -> None:
    (tmp_path / "train.sh").write_text(line, encoding="utf-8")
    source = SourceCode(source_dir=str(tmp_path), entry_script="train.sh")
    trainer = ModelTrainer(
        source_code=source, debugger=WATCHES, transport=orchestrator_transport
    )  # fmt: skip
    said = reason_of(trainer.train(wait=False))
    assert said.startswith(reason)
    assert "-I, -E or -S" in said


def test_a_script_without_a_framework(
    orchestrator_transport: LocalTransport, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("print()", encoding="utf-8")
    source = SourceCode(source_dir=str(tmp_path), entry_script="train.py")
    trainer = ModelTrainer(
        source_code=source, debugger=WATCHES, transport=orchestrator_transport,
        compute=Compute(python=running.interpreter("digits_cnn")),
    )  # fmt: skip
    said = reason_of(trainer.train(wait=False))
    assert said == "the program imported no framework that is watched (torch, keras, tf_keras)"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, pytorch_image: str) -> Iterator[str]:
    """An image of `orchestrator build` that has a program; its base has PyTorch."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "source").mkdir()
    (folder / "source" / "train.py").write_text(TRAINS, encoding="utf-8")
    packed = folder / "source.tar.gz"
    with packed.open("wb") as stream:
        pack_source(folder / "source", stream)
    request = ImageRequest("debugger-test", pytorch_image, packed, "train.py")
    with closing(ImageBuilder()) as builder:
        ref = builder.build(request)
        yield ref.tag
        builder.remove(ref.tag)


def in_docker(transport: LocalTransport, image: str, words: Sequence[str] = ()) -> TrainingJob:
    trainer = ModelTrainer(
        training_image=image, debugger=WATCHES, transport=transport, entrypoint=words or None
    )
    return trainer.train(wait=False)


@pytest.mark.docker
class TestImagesThatWereBuilt:
    @pytest.mark.parametrize("words", [(), ("python3", "-I", "train.py"), ("python3", "train.py")])
    def test_are_watched(
        self, orchestrator_transport: LocalTransport, built: str, words: Sequence[str]
    ) -> None:
        job = in_docker(orchestrator_transport, built, words)
        assert job.wait(logs=False).record.status == "Completed"
        found = job.findings()
        assert (found.state, found.report.steps) == (DebugState.ENDED, 20)

    def test_say_which_option_keeps_the_debugger_out(
        self, orchestrator_transport: LocalTransport, built: str
    ) -> None:
        job = in_docker(orchestrator_transport, built, ("python3", "-S", "-c", "print()"))
        assert reason_of(job) == "Python's option -S keeps the debugger out; leave it out"
        job = in_docker(orchestrator_transport, built, ("python3", "-I", "-c", "print()"))
        assert reason_of(job).startswith("Python's option -I keeps the debugger out")
