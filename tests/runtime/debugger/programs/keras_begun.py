"""Steps of eager code, counted while another thread is in the middle of reading them."""

import sys
import threading

import keras
import tensorflow as tf
from orchestrator_runtime.hook.keras.watch import Watch
from orchestrator_runtime.hook.schedule import Interval, Schedule


class HeldSchedule(Schedule):
    """Its answer is waited for: so long, who reads is in the middle of it."""

    def __init__(self):
        super().__init__({"gradients/l2": Interval(every=1)})
        self.is_read, self.go_on = threading.Event(), threading.Event()

    def due(self, step):
        self.is_read.set()
        assert self.go_on.wait(60)
        return super().due(step)


class FakeMonitor:
    def __init__(self):
        self.schedule = HeldSchedule()
        self.read = 0

    def burst(self, steps):
        self.read += len(steps)

    def note(self, text):
        raise AssertionError(text)


def main():
    monitor, optimizer = FakeMonitor(), keras.optimizers.SGD()
    variable = keras.Variable([1.0, 2.0], name="weight")
    watch = Watch(optimizer, 0, monitor, "/device:CPU:0", lambda record: None)

    def step():
        watch.after([variable], [tf.constant([0.5, 0.5])], None, {}, None)

    for _ in range(5):
        step()
    reader = threading.Thread(target=watch.drain, kwargs={"last": True})
    reader.start()
    assert monitor.schedule.is_read.wait(60)
    counts = [watch.begun]
    step()
    counts.append(watch.begun)
    monitor.schedule.go_on.set()
    reader.join()
    counts.append(watch.begun)
    tf.function(step)()  # one that eager code does not count
    watch.drain(last=True)
    counts.append(watch.begun)
    sys.stdout.write(f"{counts} {monitor.read}\n")


main()
