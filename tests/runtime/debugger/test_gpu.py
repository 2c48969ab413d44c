"""On a GPU: one copy a step, nothing that waits for the device, the same numbers.

Run by hand where there is one: ``python -m tests.gpu``, which also runs other tests of the debugger
with their programs on the GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime.hook import watch
from orchestrator_runtime.hook.system import Sampler
from orchestrator_runtime.trace import read_trace

torch = pytest.importorskip("torch")

# Only where it is asked for: to speak to a GPU changes the process (no fork any more).
IS_WANTED = os.environ.get("ORCHESTRATOR_TEST_DEVICE") == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.torch,
    pytest.mark.skipif(
        not IS_WANTED or not torch.cuda.is_available(),
        reason="no GPU is wanted, or PyTorch sees none: python -m tests.gpu",
    ),
]
STEPS = 60
EVERYTHING = {
    "gradients/abs_max": 1, "gradients/zeros": 1, "gradients/idle_units": 1, "gradients/spread": 1,
    "gradients/non_finite": 1, "gradients/moved:1e-9": 1, "weights/l2": 1, "weights/variance": 1,
    "weights/update_ratio": 1, "outputs/zeros": 1, "outputs/idle_units": 1, "outputs/saturated": 1,
    "outputs/inactive:1.0": 1, "inputs/mean": 1,
}  # fmt: skip


class Training:
    """A small classifier; numbers are made on the processor, so that they are the same anywhere."""

    def __init__(self, device: str = "cuda", *, rate: float = 1e-3, **more: Any) -> None:
        torch.manual_seed(0)
        with torch.device("cpu"):
            layers = torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
            x, y = torch.randn(32, 64), torch.randint(0, 10, (32,))
        self.model = torch.nn.Sequential(*layers).to(device)
        self.x, self.y = x.to(device), y.to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, **more)
        self.losses: list[Any] = []

    def step(self) -> None:
        """The usual one."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def loss(self) -> Any:
        """Of the whole batch; it is kept."""
        loss = torch.nn.functional.cross_entropy(self.model(self.x), self.y)
        self.losses.append(loss.detach())
        return loss

    def run(self, steps: int = STEPS) -> None:
        for _ in range(steps):
            self.step()

    def result(self) -> list[Any]:
        """What must not depend on whether it was watched."""
        weights = [each.detach().cpu().flatten().tolist() for each in self.model.parameters()]
        return [[float(loss) for loss in self.losses], weights]


@contextmanager
def seen(training: Training, directory: Path, **more: Any) -> Iterator[Any]:
    """Watch a training."""
    with watch(training.model, training.optimizer, directory=directory, **more) as watching:
        yield watching


def trace_in(directory: Path) -> Any:
    (path,) = directory.glob("*.trace")
    trace = read_trace(str(path))
    assert trace.damage is None
    return trace


@contextmanager
def nothing_may_wait() -> Iterator[None]:
    """Have PyTorch raise where a call waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def same(train: Callable[[Training], Any], directory: Path, **options: Any) -> tuple[Any, Any]:
    """Train twice, the second time watched; return that training and its trace."""
    bare, other = Training(), Training()
    train(bare)
    with seen(other, directory, **options):
        train(other)
    assert other.result() == bare.result()
    return other, trace_in(directory)


class TestNumbers:
    def test_training_is_the_same_and_so_is_what_is_recorded(self, tmp_path: Path) -> None:
        training, trace = same(Training.run, tmp_path)
        losses = [float(loss) for loss in training.losses]
        assert [step.scalars["loss"] for step in trace.steps] == pytest.approx(losses)
        last = [float(each.grad.norm()) for each in training.model.parameters()]
        found = trace.steps[-1].blocks["gradients/l2"].values
        assert list(found) == pytest.approx(last, rel=1e-5)

    def test_every_statistic_is_that_of_a_processor(self, tmp_path: Path) -> None:
        traces = []
        for device in ("cpu", "cuda"):
            training = Training(device)
            with seen(training, tmp_path / device, every=EVERYTHING):
                training.run(4)
            traces.append(trace_in(tmp_path / device))
        for one, other in zip(*(trace.steps for trace in traces), strict=True):
            assert set(one.blocks) == set(other.blocks)
            for name, block in one.blocks.items():
                assert list(block.values) == pytest.approx(
                    list(other.blocks[name].values), rel=1e-3, abs=1e-6
                ), name
        assert set(EVERYTHING) <= set(traces[1].steps[-1].blocks)

    def test_whole_tensors_and_histograms(self, tmp_path: Path) -> None:
        training, trace = same(
            lambda training: training.run(3), tmp_path, arrays={"gradients": 1, "weights": 1},
            histograms={"gradients": 1},
        )  # fmt: skip
        last = {
            array.name: array
            for array in trace.arrays
            if (array.collection, array.step) == ("gradients", 2)
        }
        for name, parameter in training.model.named_parameters():
            own = parameter.grad.cpu().contiguous()
            assert last[name].shape == tuple(own.shape)
            assert last[name].data == own.numpy().tobytes()
        assert any(array.collection == "gradients.histogram" for array in trace.arrays)

    def test_a_model_of_which_a_part_is_in_main_memory(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        body, head = torch.nn.Linear(8, 8, device="cpu"), torch.nn.Linear(8, 4, device="cuda")
        model = torch.nn.ModuleDict({"body": body, "head": head})
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        x = torch.randn(16, 8, device="cpu")
        with watch(model, optimizer, directory=tmp_path):
            for _ in range(12):
                optimizer.zero_grad()
                head(body(x).relu().cuda()).square().mean().backward()
                optimizer.step()
        steps = trace_in(tmp_path).steps
        last = [float(each.grad.norm()) for each in model.parameters()]
        assert list(steps[-1].blocks["gradients/l2"].values) == pytest.approx(last, rel=1e-5)
        assert steps[10].blocks["weights/update_ratio"].values[0] > 0

    def test_a_stream_of_its_own(self, tmp_path: Path) -> None:
        def train(training: Training) -> None:
            torch.cuda.synchronize()
            with torch.cuda.stream(torch.cuda.Stream()):
                training.run()
            torch.cuda.synchronize()

        training, trace = same(train, tmp_path)
        assert [step.scalars["loss"] for step in trace.steps] == pytest.approx(
            [float(loss) for loss in training.losses]
        )


def scaled(training: Training, steps: int = STEPS) -> None:
    """Half precision with a fused optimizer: all of it on the device."""
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**24)
    for _ in range(steps):
        training.optimizer.zero_grad()
        with torch.autocast("cuda", dtype=torch.float16):
            loss = training.loss()
        scaler.scale(loss).backward()
        scaler.step(training.optimizer)
        scaler.update()


def clipped(training: Training, steps: int = STEPS) -> None:
    for _ in range(steps):
        training.optimizer.zero_grad()
        training.loss().backward()
        torch.nn.utils.clip_grad_norm_(training.model.parameters(), 0.1)
        training.optimizer.step()


class TestWaiting:
    @pytest.mark.parametrize("kind", ["plain", "everything", "clipped", "scaled", "histograms"])
    def test_nothing_waits_for_the_device(
        self, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        train = {"scaled": scaled, "clipped": clipped}.get(kind, Training.run)
        more: dict[str, Any] = {
            "everything": {"every": EVERYTHING},
            "histograms": {"histograms": {"gradients": 1, "weights": 1}},
        }.get(kind, {})
        training = Training(fused=True)
        with seen(training, tmp_path, **more) as watching:
            train(training)
            with nothing_may_wait():
                train(training)
        assert watching.steps == 2 * STEPS
        said = capfd.readouterr().err
        assert "could not be recorded" not in said
        assert "not measured" not in said

    @pytest.mark.parametrize("series", [None, *EVERYTHING])
    def test_a_step_is_brought_over_in_one_copy(self, series: str | None, tmp_path: Path) -> None:
        training = Training(fused=True)  # else PyTorch itself may ask the device for step counts
        with seen(training, tmp_path, every={} if series is None else {series: 1}):
            training.run(2)
            torch.cuda.synchronize()
            activities = [torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as profile:
                training.run(5)
                torch.cuda.synchronize()
        copies = [event for event in profile.events() if "DtoH" in event.name]
        assert len(copies) == 5

    def test_what_is_measured_needs_little_memory(self, tmp_path: Path) -> None:
        peaks = []
        for watched in (False, True):
            model = torch.nn.Linear(8192, 4096, device="cuda")  # 128 MiB
            optimizer = torch.optim.SGD(model.parameters(), 1e-4)
            x = torch.randn(4, 8192, device="cuda")
            torch.cuda.reset_peak_memory_stats()
            with watch(model, optimizer, directory=tmp_path) if watched else nullcontext():
                for _ in range(12):
                    optimizer.zero_grad()
                    model(x).square().mean().backward()
                    optimizer.step()
            peaks.append(torch.cuda.max_memory_allocated())
            del model, optimizer
        assert peaks[1] - peaks[0] <= 2**22


def warm_up(training: Training) -> None:
    """Make three steps on a stream of their own, as CUDA graphs want it before a capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        training.run(3)
    torch.cuda.current_stream().wait_stream(side)
    training.optimizer.zero_grad(set_to_none=True)


class TestGraphs:
    def test_a_step_within_a_graph_is_unmonitored_and_replays_as_without(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def train(training: Training) -> None:
            warm_up(training)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                training.step()
            training.losses = []
            for _ in range(10):
                graph.replay()
            torch.cuda.synchronize()

        bare, other = Training(capturable=True), Training(capturable=True)
        train(bare)
        with seen(other, tmp_path):
            train(other)
        assert other.result() == bare.result()
        assert len(trace_in(tmp_path).steps) == 3
        assert "unmonitored: an optimizer's step was captured" in capfd.readouterr().err

    def test_a_loss_within_a_graph_is_not_that_of_the_last_step_before(
        self, tmp_path: Path
    ) -> None:
        training = Training()
        with seen(training, tmp_path):
            warm_up(training)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                training.loss().backward()
            norms = []
            for _ in range(5):
                graph.replay()
                norms.append([float(each.grad.norm()) for each in training.model.parameters()])
                training.optimizer.step()
        steps = trace_in(tmp_path).steps
        assert ["loss" in step.scalars for step in steps] == [True] * 3 + [False] * 5
        for step, own in zip(steps[3:], norms, strict=True):
            assert list(step.blocks["gradients/l2"].values) == pytest.approx(own, rel=1e-5)

    def test_graphs_that_callables_are_made_of(self, tmp_path: Path) -> None:
        def train(training: Training) -> None:
            training.model = torch.cuda.make_graphed_callables(training.model, (training.x,))
            training.run()

        training, trace = same(train, tmp_path)
        assert len(trace.steps) == STEPS
        assert [step.scalars["loss"] for step in trace.steps] == pytest.approx(
            [float(loss) for loss in training.losses]
        )

    def test_graphs_that_the_compiler_makes(self, tmp_path: Path) -> None:
        def train(training: Training) -> None:
            net = torch.compile(training.model, mode="reduce-overhead")
            for _ in range(STEPS):
                torch.compiler.cudagraph_mark_step_begin()
                training.optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(training.x), training.y)
                loss.backward()
                training.losses.append(loss.detach().clone())
                training.optimizer.step()

        training, trace = same(train, tmp_path)
        losses = [float(loss) for loss in training.losses]
        assert [step.scalars["loss"] for step in trace.steps] == pytest.approx(losses)
        last = [float(each.grad.norm()) for each in training.model.parameters()]
        found = trace.steps[-1].blocks["gradients/l2"].values
        assert list(found) == pytest.approx(last, rel=1e-5)


class TestFaults:
    def test_a_debugger_that_finds_no_memory_leaves_training_alone(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def train(place: Path | None) -> list[float]:
            torch.manual_seed(0)
            model = torch.nn.Linear(16384, 8192, device="cuda")  # 512 MiB
            optimizer = torch.optim.SGD(model.parameters(), 1e-4)
            x = torch.randn(4, 16384, device="cuda")
            losses = []

            def step() -> None:
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())

            step()
            step()  # all that training needs is there from now on
            torch.cuda.empty_cache()
            room = torch.cuda.memory_reserved() + 2**24
            torch.cuda.set_per_process_memory_fraction(
                room / torch.cuda.get_device_properties(0).total_memory
            )
            every = {"gradients/abs_mean": 1, "weights/non_finite": 1}
            try:
                if place is None:
                    for _ in range(8):
                        step()
                else:
                    with watch(model, optimizer, directory=place, every=every):
                        for _ in range(8):
                            step()
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
            return [float(loss) for loss in losses]

        assert train(None) == train(tmp_path)
        assert "OutOfMemoryError" in capfd.readouterr().err
        steps = trace_in(tmp_path).steps
        assert len(steps) == 8
        assert all("gradients/l2" in step.blocks for step in steps)


class TestHost:
    def test_the_driver_tells_of_use_and_memory(self) -> None:
        held = torch.empty(2**30, dtype=torch.uint8, device="cuda")
        torch.cuda.synchronize()
        (gpu, *_) = Sampler().sample().gpus
        whole = torch.cuda.get_device_properties(0).total_memory
        assert 0 <= gpu.utilization <= 100
        assert 100 * held.numel() / whole <= gpu.memory <= 100
