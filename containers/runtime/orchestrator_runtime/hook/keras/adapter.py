"""All optimizers of a process that trains with Keras on TensorFlow."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from orchestrator_runtime.hook.guard import Guard
from orchestrator_runtime.hook.keras.outputs import Outputs
from orchestrator_runtime.hook.keras.reader import Reader
from orchestrator_runtime.hook.keras.signals import Signals, is_at_hand
from orchestrator_runtime.hook.keras.strays import Strays, joined, raw
from orchestrator_runtime.hook.keras.watch import Watch
from orchestrator_runtime.trace.record import STRAYS_L2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator_runtime.hook.keras.watch import Extra
    from orchestrator_runtime.hook.monitor import Monitor

CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")
OUTPUTS = "outputs/"
NO_METRICS = frozenset(("loss", "learning_rate", "lr"))
"""What an epoch's logs hold besides metrics; its loss is a running mean, not a step's."""


class Apply:
    """One call of an optimizer's ``apply`` under way.

    Attributes:
        loss: What its gradients are of.
        variables: What it was given, where the optimizer does not keep them.
        micro_batches: How many gradients a step accumulates.
        norm: Total norm before clipping, where there is clipping.
        snapshot: Samples of the weights before the step.
    """

    def __init__(self, loss: Any, variables: Sequence[Any] = ()) -> None:
        self.loss = loss
        self.variables = variables
        self.micro_batches = 1
        self.norm: Any = None
        self.snapshot: Any = None


class Adapter:
    """What the listeners tell, and what is made of it."""

    def __init__(self, monitor: Monitor, framework: str) -> None:
        self.monitor = monitor
        self.guard = Guard()
        self.signals = Signals()
        self.outputs = Outputs()
        self.strays = Strays()
        self._framework = framework
        self._lock = threading.RLock()
        self._reader = Reader(self.guard(self.drain))
        self._local = threading.local()
        self._watches: dict[int, Watch] = {}
        self._count = 0
        self._extras: dict[int, Extra] = {}
        self._sums: dict[int, Any] = {}
        self._steps = 0
        self._said: set[str] = set()

    def enter(self, gradients: Sequence[Any], variables: Sequence[Any] = ()) -> None:
        """Begin a call of ``apply``; within another (a scaler's) it is a part of that."""
        depth = getattr(self._local, "depth", 0)
        self._local.depth = depth + 1
        if depth == 0:
            self._local.apply = None
            if self._is_alone():
                self._local.apply = Apply(self.signals.take(gradients), variables)
                self._local.apply.norm = self.signals.norm_before(gradients)

    def unwatched(self, optimizer: Any) -> None:
        """Say that an optimizer is of a kind that cannot be watched."""
        self._say_once(
            f"{type(optimizer).__module__}.{type(optimizer).__name__} is an optimizer of before "
            "Keras 2.11; use the one of the same name in keras.optimizers to have it watched"
        )

    def leave(self) -> None:
        """End a call of ``apply``."""
        self._local.depth -= 1

    def scaled(self, optimizer: Any, loss: Any, result: Any) -> None:
        """Take the loss before its gradients are computed: activations are measured here too."""
        self.signals.on_scale(loss, result)
        target = _innermost(optimizer)
        if self._is_alone() and self.monitor.schedule.has(OUTPUTS):
            watch = self._watch(target)
            groups = self.monitor.schedule.groups
            extra = self.outputs.take(watch.step, watch.index, groups)
            if extra is not None:
                self._extras[id(target)] = extra

    def accumulate(self, optimizer: Any) -> None:
        """Add up the loss of a micro batch."""
        apply: Apply | None = self._local.apply
        if apply is None:
            return
        apply.micro_batches = optimizer.gradient_accumulation_steps or 1
        if apply.loss is None or apply.micro_batches == 1:
            return
        watch = self._watch(optimizer)
        watch.losses.assign_add(tf.cast(tf.reshape(apply.loss, []), tf.float32), read_value=False)
        apply.loss = None

    def before(self, optimizer: Any, gradients: Sequence[Any]) -> None:
        """See gradients that are about to be used, before they are clipped."""
        apply: Apply | None = getattr(self._local, "apply", None)
        if apply is None or not self._local.depth:
            return
        variables = _variables(optimizer) or apply.variables
        watch = self._watch(optimizer)
        if any(getattr(optimizer, name, None) for name in CLIPPING):
            apply.norm = watch.norm(gradients)
        apply.snapshot = watch.before(variables)

    def after(
        self, optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any], rate: Any
    ) -> None:
        """Write an executed step."""
        apply: Apply | None = getattr(self._local, "apply", None)
        if apply is None or not self._local.depth:
            return
        every = _variables(optimizer) or apply.variables
        self.strays.own(every)
        watch = self._watch(optimizer)
        used = {_identity(variable): each for variable, each in zip(variables, gradients)}
        scalars = self._scalars(apply, watch, rate)
        mine = [used.get(_identity(variable)) for variable in every]
        extra = self._extras.pop(id(optimizer), None)
        if extra is not None and not is_at_hand(extra.numbers):
            extra = None
        if extra is None and self.outputs.forget():
            self.monitor.note(
                "outputs of activations are not recorded in a loop that does not call the "
                "optimizer's scale_loss before the gradients are computed"
            )
        watch.after(every, mine, apply.snapshot, scalars, joined(extra, self._strays_of(watch)))
        self._look_on(watch)

    def _strays_of(self, watch: Watch) -> Extra | None:
        """Return the gradients of what no optimizer has: eager code makes them only when due."""
        pairs = self.signals.take_sources()
        if watch.index:
            return None
        if tf.executing_eagerly() and STRAYS_L2 not in self.monitor.schedule.due(watch.begun):
            return None
        return self.strays.measured(pairs, watch.step, self.monitor.schedule.groups)

    def skipped(self, optimizer: Any) -> None:
        """Write a step that was left out because of gradients that are not finite."""
        apply: Apply | None = getattr(self._local, "apply", None)
        if apply is not None:
            watch = self._watch(optimizer)
            watch.skipped(self._scalars(apply, watch, optimizer.learning_rate))

    def batch(self, steps: int) -> None:
        """Read rows if a batch, or several in one execution, might be the last that fits."""
        self._steps += steps
        if self._steps * 2 >= min((each.capacity for each in self._watches.values()), default=1):
            self.drain()

    def epoch(self, optimizer: Any, logs: Mapping[str, Any]) -> None:
        """Add an epoch's metrics to its last step."""
        metrics = {name: float(logs[name]) for name in logs if name not in NO_METRICS}
        target = _innermost(optimizer)
        with self._lock:
            self.drain()
            mine = self._watches.get(id(target))
            others = [watch for watch in self._watches.values() if watch is not mine]
            for watch in [mine, *others] if mine else others:
                if watch.report(metrics):
                    break
            for watch in self._watches.values():
                watch.release()

    def drain(self, *, last: bool = False) -> None:
        """Hand on what was written."""
        with self._lock:
            self._steps = 0
            self.monitor.backwards = self.signals.backwards
            for identity, watch in list(self._watches.items()):
                gone = watch.optimizer() is None
                watch.drain(last=last or gone)
                if gone:
                    del self._watches[identity]

    def end(self) -> None:
        """Hand on what is left, before the trace is closed."""
        self._reader.stop()
        self.drain(last=True)

    def _scalars(self, apply: Apply, watch: Watch, rate: Any) -> dict[str, Any]:
        scalars: dict[str, Any] = {"learning_rate": tf.convert_to_tensor(rate)}
        if apply.micro_batches > 1:
            scalars["loss"] = watch.losses.read_value() / apply.micro_batches
            scalars["backwards"] = tf.constant(float(apply.micro_batches))
            watch.losses.assign(0.0, read_value=False)
        elif apply.loss is not None:
            scalars["loss"] = apply.loss
        if apply.norm is not None:
            scalars["norm_before_clip"] = apply.norm
        return scalars

    def _look_on(self, watch: Watch) -> None:
        """Do what only eager code can, between two of its steps."""
        if not tf.executing_eagerly():
            return
        if watch.called * 2 >= watch.capacity:
            self.drain()
        due = self.monitor.schedule.due(watch.begun)
        self.outputs.wanted = any(series.startswith(OUTPUTS) for series in due)

    def _watch(self, optimizer: Any) -> Watch:
        known = self._watches.get(id(optimizer))
        if known is not None and known.optimizer() is optimizer:
            return known
        with self._lock:
            self.monitor.framework = self._framework
            device = _device(_variables(optimizer))
            watch = Watch(optimizer, self._count, self.monitor, device, self.strays.drop_owned)
            self._count += 1
            self._watches[id(optimizer)] = watch
        self._reader.start()
        return watch

    def _is_alone(self) -> bool:
        strategy = tf.distribute.get_strategy()
        if strategy.num_replicas_in_sync == 1:
            return True
        self._say_once(
            f"{type(strategy).__name__} trains on {strategy.num_replicas_in_sync} replicas in one "
            "process, whose gradients are added up where nothing can look; run one process per "
            "device to have it watched"
        )
        return False

    def _say_once(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            self.monitor.unmonitored(reason)


def _innermost(optimizer: Any) -> Any:
    """Return the optimizer that does the steps: scalers of losses contain it."""
    while getattr(optimizer, "inner_optimizer", None) is not None:
        optimizer = optimizer.inner_optimizer
    return optimizer


def _variables(optimizer: Any) -> Sequence[Any]:
    variables: Sequence[Any] = getattr(optimizer, "_trainable_variables", ())
    return variables


def _device(variables: Sequence[Any]) -> str:
    """Return where the variables are; nothing, which is where others would be, if there are none.

    A graph that XLA compiles may use variables of its own device only.
    """
    for variable in variables:
        device = getattr(getattr(variable, "value", variable), "device", "")
        return device if isinstance(device, str) else ""
    return ""


def _identity(variable: Any) -> int:
    return id(raw(variable))
