"""Train a small convolutional network on handwritten digits with Keras.

    python train.py                                  # in a terminal, results in ./output
    python train.py --epochs 30 --seed 1
    orchestrator run jobs/digits_keras                 # as a training job
    orchestrator run jobs/digits_keras -- --epochs 30

The data are the 1,797 images of 8 x 8 pixels that ship inside scikit-learn. A `train` channel takes
their place: one .npz with `x` and `y`, or .csv files without header, pixels first and the label last.
Written for SageMaker's script mode (hyperparameters are arguments, directories are SM_* variables),
so the same file runs in a terminal, in a job of the orchestrator, and on SageMaker.
Keras 3 on the TensorFlow back end, which is its default.
"""

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

try:  # only inside a job of the orchestrator: sends a metric together with its step
    from orchestrator_runtime import report_metric
except ImportError:  # anywhere else the printed name=value lines are all that is needed
    report_metric = None  # type: ignore[assignment]

stop_asked = threading.Event()  # set by SIGTERM: finish the step, save, leave with 0


def parse_args() -> argparse.Namespace:
    env = os.environ.get
    parser = argparse.ArgumentParser(description="Train a CNN on handwritten digits.")
    add = parser.add_argument
    # hyperparameters
    add("--epochs", type=int, default=15)  # passes over the training images
    add("--batch-size", type=int, default=32)  # images per step
    add("--learning-rate", type=float, default=2e-3)  # of Adam
    add("--dropout", type=float, default=0.25)  # before the last layer
    add(
        "--channels", type=int, default=32
    )  # of the first convolution; twice as many in the second
    add("--seed", type=int, default=0)  # of the split, the weights, the batches and the dropout
    add("--num-threads", type=int, default=1)  # enough here, and sums are added up in one order
    # directories
    add("--train", default=env("SM_CHANNEL_TRAIN"))  # your own data; None: scikit-learn's
    add("--model-dir", type=Path, default=env("SM_MODEL_DIR", "output/model"))
    add("--output-data-dir", type=Path, default=env("SM_OUTPUT_DATA_DIR", "output/data"))
    usual = "/opt/ml/checkpoints" if os.path.isdir("/opt/ml/checkpoints") else None  # noqa: PTH112
    add("--checkpoint-dir", type=Path, default=env("SM_CHECKPOINT_DIR", usual))  # None: keep none
    # SageMaker's TensorFlow estimator (SDK v2) adds this argument, an S3 address; not needed
    add("--model_dir", dest="s3_model_dir", help=argparse.SUPPRESS)
    return parser.parse_args()


def load_data(channel: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, side, side, 1) as float32 from 0 to 1, and labels (n,) as int64 from 0."""
    if channel is None:
        x, y = load_digits(return_X_y=True)
    elif archives := sorted(Path(channel).glob("*.npz")):
        with np.load(archives[0]) as archive:
            x, y = archive["x"], archive["y"]
    elif tables := sorted(Path(channel).glob("*.csv")):
        rows = np.concatenate([np.loadtxt(path, delimiter=",", ndmin=2) for path in tables])
        x, y = rows[:, :-1], rows[:, -1]
    else:
        raise SystemExit(f"channel train must hold an .npz or .csv file, none is in {channel}")
    side = round(np.prod(x.shape[1:]) ** 0.5)
    x = x.reshape(len(x), side, side, 1).astype(np.float32)
    return x / x.max(), y.astype(np.int64)


def split(x: np.ndarray, y: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """70 % train, 15 % validation (watched every epoch), 15 % test (looked at once, at the end)."""
    x, x_held, y, y_held = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    x_validation, x_test, y_validation, y_test = train_test_split(
        x_held, y_held, test_size=0.5, stratify=y_held, random_state=seed
    )
    return [(x, y), (x_validation, y_validation), (x_test, y_test)]


def build_model(args: argparse.Namespace, side: int, classes: int) -> keras.Model:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((side, side, 1)),
            layers.Conv2D(args.channels, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(2 * args.channels, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(args.dropout, name="dropout"),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(args.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def score(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Precision, recall, F1 and one-vs-rest ROC-AUC are plain means over the classes."""
    guesses = probabilities.argmax(1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, guesses, average="macro", zero_division=0
    )
    return {
        "accuracy": float(metrics.accuracy_score(labels, guesses)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(metrics.roc_auc_score(labels, probabilities, multi_class="ovr")),
    }


def report(name: str, value: float, step: int) -> None:
    if report_metric is not None:
        report_metric(name, value, step=step)


def save(model: keras.Model, path: Path) -> None:
    """Write beside, then rename: a restart finds the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp.keras")
    model.save(beside)
    beside.replace(path)


def write_results(
    directory: Path, scores: dict[str, float], labels: np.ndarray, probabilities: np.ndarray
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n")
    guesses = probabilities.argmax(1)
    classes = range(probabilities.shape[1])
    counts = metrics.confusion_matrix(labels, guesses, labels=classes)  # one row per true class
    header = ",".join(f"predicted_{k}" for k in classes)
    path = directory / "confusion_matrix.csv"
    np.savetxt(path, counts, "%d", delimiter=",", header=header, comments="")
    rows = np.column_stack([labels, guesses, probabilities.max(1)])
    header = "label,prediction,probability"
    path = directory / "predictions.csv"
    np.savetxt(path, rows, "%d,%d,%.6f", header=header, comments="")


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: stop_asked.set())
    tf.config.threading.set_intra_op_parallelism_threads(args.num_threads)
    images, labels = load_data(args.train)
    side, classes = images.shape[1], int(labels.max()) + 1
    train, validation, test = split(images, labels, args.seed)
    print(f"images: {len(train[0])} train, {len(validation[0])} validation, {len(test[0])} test")

    keras.utils.set_random_seed(args.seed)
    epoch = 0  # epochs done
    # the number of epochs stands in the name, so that one rename makes model and number change
    kept = sorted(args.checkpoint_dir.glob("epoch-*[0-9].keras")) if args.checkpoint_dir else []
    if kept:
        model = keras.models.load_model(kept[-1])  # with its optimizer
        epoch = int(kept[-1].stem.removeprefix("epoch-"))
        print(f"resumed after epoch {epoch} from {kept[-1]}")
    else:
        model = build_model(args, side, classes)

    def end_epoch_when_asked(*_: object, **_logs: object) -> None:
        model.stop_training = stop_asked.is_set()

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=end_epoch_when_asked)
    while epoch < args.epochs:
        started = time.perf_counter()
        # a resumed run draws the same batches and dropout as one that was never interrupted
        order = np.random.default_rng(args.seed + epoch + 1).permutation(len(train[0]))
        model.get_layer("dropout").seed_generator.state.assign([args.seed + epoch + 1, 0])
        history = model.fit(
            train[0][order],
            train[1][order],
            batch_size=args.batch_size,
            shuffle=False,
            validation_data=validation,
            callbacks=[callback],
            verbose=0,
        ).history
        if stop_asked.is_set():
            print(f"stop asked for in epoch {epoch + 1}: saving the model as it is")
            break
        epoch += 1
        loss, validation_loss = history["loss"][0], history["val_loss"][0]
        seconds = time.perf_counter() - started
        print(  # job.toml's metric definition reads validation:accuracy from this line
            f"epoch {epoch}/{args.epochs} train_loss={loss:.4f} validation_loss={validation_loss:.4f}"
            f" validation_accuracy={history['val_accuracy'][0]:.4f} seconds={seconds:.2f}",
            flush=True,
        )
        report("train:loss", loss, epoch)
        report("validation:loss", validation_loss, epoch)
        if args.checkpoint_dir:
            save(model, args.checkpoint_dir / f"epoch-{epoch:04}.keras")
            for older in kept:
                older.unlink()
            kept = [args.checkpoint_dir / f"epoch-{epoch:04}.keras"]

    probabilities = model.predict(test[0], verbose=0).astype(np.float64)
    probabilities /= probabilities.sum(1, keepdims=True)
    scores = score(test[1], probabilities)
    for name, value in scores.items():
        print(f"test_{name}={value:.4f}")
        report(f"test:{name}", value, epoch)
    write_results(args.output_data_dir, scores, test[1], probabilities)
    save(model, args.model_dir / "model.keras")
    keys = ("batch_size", "learning_rate", "dropout", "channels", "seed")
    card = {
        "input_shape": [side, side, 1],
        "classes": list(range(classes)),
        "epochs": epoch,
        "hyperparameters": {key: vars(args)[key] for key in keys},
        "test_metrics": scores,
    }
    (args.model_dir / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"model in {args.model_dir}, results in {args.output_data_dir}")


if __name__ == "__main__":
    main()
