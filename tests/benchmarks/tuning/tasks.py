"""Three real tasks of scikit-learn, evaluated once: each point of a grid is looked up in a table.

The tables are made by `python -m tests.benchmarks.tuning.tasks --make`, in some ten minutes of one
core; with `--check 20` some points are computed again.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.spec.ranges import CategoricalParameter, IntegerParameter, Parameter
from orchestrator.tuner.points import grid
from tests.benchmarks.tuning.problems import Problem, Values

TABLES = Path(__file__).with_name("tables")
DIGITS = 6
"""Significant digits of a table's numbers."""


@dataclass(frozen=True)
class Task:
    """A task that can be computed, and looked up.

    Attributes:
        name: Of its table.
        parameters: A space of finitely many points.
        compute: Losses of points that differ in the last parameter only, in its order.
    """

    name: str
    parameters: tuple[Parameter, ...]
    compute: Callable[[Sequence[Values]], list[float]]

    @property
    def path(self) -> Path:
        """Where its table is."""
        return TABLES / f"{self.name}.json"

    def rows(self) -> list[list[dict[str, str]]]:
        """All points, in groups that differ in the last parameter only."""
        points, size = list(grid(self.parameters)), int(self.parameters[-1].size)
        return [points[start : start + size] for start in range(0, len(points), size)]


def _whole(name: str, first: int, last: int, step: int = 1) -> IntegerParameter:
    return IntegerParameter(
        name=name, min_value=first, max_value=last, step=step, scaling_type="Linear"
    )


def _one_of(name: str, *values: str) -> CategoricalParameter:
    return CategoricalParameter(name=name, values=values)


def _error(model: Any, inputs: Any, labels: Any, scoring: str) -> float:
    from sklearn.model_selection import cross_val_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a short training has not converged
        return -float(cross_val_score(model, inputs, labels, cv=3, scoring=scoring).mean())


def digits_svm(points: Sequence[Values]) -> list[float]:
    """Share of 600 handwritten digits that a support vector machine takes for others."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC

    inputs, labels = load_digits(return_X_y=True)
    inputs, labels = inputs[:600] / 16, labels[:600]
    found = []
    for values in points:
        model = make_pipeline(
            StandardScaler() if values["scaling"] == "standard" else FunctionTransformer(),
            PCA(2 ** int(values["log2_components"]), random_state=0),
            SVC(C=2.0 ** int(values["log2_c"]), gamma=2.0 ** int(values["log2_gamma"])),
        )
        found.append(1 + _error(model, inputs, labels, "accuracy"))
    return found


def cancer_mlp(points: Sequence[Values]) -> list[float]:
    """Logarithmic loss of a small network on the breast cancer set, after 20 epochs."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, labels = load_breast_cancer(return_X_y=True)
    found = []
    for values in points:
        model = make_pipeline(
            StandardScaler(),
            MLPClassifier(
                2 ** int(values["log2_width"]),
                activation=values["activation"],
                alpha=2.0 ** int(values["log2_alpha"]),
                batch_size=2 ** int(values["log2_batch"]),
                learning_rate_init=2.0 ** int(values["log2_learning_rate"]),
                max_iter=20,
                random_state=0,
            ),
        )
        found.append(_error(model, inputs, labels, "neg_log_loss"))
    return found


def diabetes_boosting(points: Sequence[Values]) -> list[float]:
    """Error (RMSE) of boosted trees on the diabetes set; one fit tells of all numbers of trees."""
    import numpy
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.model_selection import KFold

    inputs, targets = load_diabetes(return_X_y=True)
    first = points[0]
    counts = [2 ** int(values["log2_trees"]) for values in points]
    errors = []
    for train, test in KFold(3).split(inputs):
        model = GradientBoostingRegressor(
            n_estimators=max(counts),
            learning_rate=2.0 ** int(first["log2_learning_rate"]),
            max_depth=int(first["depth"]),
            subsample=int(first["tenths"]) / 10,
            min_samples_leaf=2 ** int(first["log2_leaf"]),
            random_state=0,
        ).fit(inputs[train], targets[train])
        staged = list(model.staged_predict(inputs[test]))
        errors.append([numpy.mean((staged[count - 1] - targets[test]) ** 2) for count in counts])
    return [float(each) for each in numpy.sqrt(numpy.mean(errors, axis=0))]


TASKS = (
    Task(
        "digits-svm",
        (
            _whole("log2_c", -5, 10),
            _whole("log2_gamma", -14, -1),
            _one_of("scaling", "none", "standard"),
            _whole("log2_components", 3, 6),
        ),
        digits_svm,
    ),
    Task(
        "cancer-mlp",
        (
            _whole("log2_learning_rate", -10, -3),
            _whole("log2_alpha", -12, 0, step=3),
            _one_of("activation", "relu", "tanh"),
            _whole("log2_batch", 4, 6),
            _whole("log2_width", 2, 5),
        ),
        cancer_mlp,
    ),
    Task(
        "diabetes-boosting",
        (
            _whole("log2_learning_rate", -8, 0),
            _whole("depth", 1, 6),
            _whole("tenths", 4, 10, step=2),
            _whole("log2_leaf", 0, 4, step=2),
            _whole("log2_trees", 3, 8),
        ),
        diabetes_boosting,
    ),
)


def _key(task: Task, values: Values) -> tuple[str, ...]:
    return tuple(values[parameter.name] for parameter in task.parameters)


def table_of(task: Task) -> dict[tuple[str, ...], float]:
    """Return the losses of all points, by their values in the order of the parameters."""
    losses = json.loads(task.path.read_text(encoding="utf-8"))["losses"]
    points = grid(task.parameters)
    return {_key(task, values): loss for values, loss in zip(points, losses, strict=True)}


def problem_of(task: Task) -> Problem:
    """Return a task as it is looked up."""
    table = table_of(task)
    return Problem(
        task.name, task.parameters, lambda values: table[_key(task, values)], min(table.values())
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def make(task: Task, processes: int) -> None:
    """Compute a table."""
    import sklearn

    with ProcessPoolExecutor(processes) as pool:
        rows = list(pool.map(task.compute, task.rows(), chunksize=4))
    document = {
        "task": task.name,
        "scikit-learn": sklearn.__version__,
        "losses": [_rounded(loss) for row in rows for loss in row],
    }
    task.path.parent.mkdir(exist_ok=True)
    task.path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def differences(task: Task, rows: int) -> list[str]:
    """Compute some rows again; return where they differ from the table by more than a rounding."""
    found, table = [], table_of(task)
    for points in random.Random(0).sample(task.rows(), rows):
        for values, loss in zip(points, task.compute(points), strict=True):
            known = table[_key(task, values)]
            if abs(known - loss) > 1e-4 * max(abs(known), abs(loss)):
                found.append(f"{task.name} {values}: table {known}, computed {loss}")
    return found


def main() -> None:
    """Make the tables, or check some of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tuning.tasks")
    parser.add_argument("--make", action="store_true", help="compute all tables anew")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--check", type=int, metavar="ROWS", help="compute this many rows again")
    given = parser.parse_args()
    for task in TASKS:
        if given.make:
            make(task, given.processes)
        for line in differences(task, given.check or 0):
            print(line)
        print(task.name, f"{len(table_of(task)):,} points")


if __name__ == "__main__":
    main()
