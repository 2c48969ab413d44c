"""Train a small convolutional network on handwritten digits with PyTorch.

    python train.py                                  # in a terminal, results in ./output
    python train.py --epochs 30 --seed 1
    orchestrator run jobs/digits_cnn                 # as a training job
    orchestrator run jobs/digits_cnn -- --epochs 30

The data are the 1,797 images of 8 x 8 pixels that ship inside scikit-learn. A `train` channel takes
their place: one .npz with `x` and `y`, or .csv files without header, pixels first and the label last.
Written for SageMaker's script mode (hyperparameters are arguments, directories are SM_* variables),
so the same file runs in a terminal, in a job of the orchestrator, and on SageMaker.
"""

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import torch
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

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
    add("--epochs", type=int, default=20)  # passes over the training images
    add("--batch-size", type=int, default=32)  # images per step
    add("--learning-rate", type=float, default=2e-3)  # of AdamW
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
    return parser.parse_args()


def load_data(channel: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, side, side) as float32 from 0 to 1, and labels (n,) as int64 from 0."""
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
    x = x.reshape(len(x), 1, side, side).astype(np.float32)
    return x / x.max(), y.astype(np.int64)


def split(x: np.ndarray, y: np.ndarray, seed: int) -> list[tuple[Tensor, Tensor]]:
    """70 % train, 15 % validation (watched every epoch), 15 % test (looked at once, at the end)."""
    x, x_held, y, y_held = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    x_validation, x_test, y_validation, y_test = train_test_split(
        x_held, y_held, test_size=0.5, stratify=y_held, random_state=seed
    )
    parts = [(x, y), (x_validation, y_validation), (x_test, y_test)]
    return [(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in parts]


def build_model(side: int, classes: int, channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * (side // 4) ** 2, 128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, classes),
    )


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, batch_size: int
) -> float | None:
    """Mean loss of one pass in random order; None if a stop was asked for on the way."""
    model.train()
    total = 0.0
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch_size):
        if stop_asked.is_set():
            return None
        batch = order[start : start + batch_size]
        loss = functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(x)


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    logits: Tensor = model(x)
    return logits


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


def save(content: object, path: Path) -> None:
    """Write beside, then rename: a restart finds the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


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
    torch.set_num_threads(args.num_threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = load_data(args.train)
    side, classes = images.shape[-1], int(labels.max()) + 1
    train, validation, test = [
        (x.to(device), y.to(device)) for x, y in split(images, labels, args.seed)
    ]
    print(f"images: {len(train[0])} train, {len(validation[0])} validation, {len(test[0])} test")

    torch.manual_seed(args.seed)
    model = build_model(side, classes, args.channels, args.dropout).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)
    epoch = 0  # epochs done
    checkpoint = args.checkpoint_dir and args.checkpoint_dir / "checkpoint.pt"
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        epoch = state["epoch"]
        print(f"resumed after epoch {epoch} from {checkpoint}")

    while epoch < args.epochs:
        started = time.perf_counter()
        torch.manual_seed(args.seed + epoch + 1)  # a resumed run draws what an unbroken one draws
        loss = train_epoch(model, optimizer, *train, args.batch_size)
        if loss is None:
            print(f"stop asked for in epoch {epoch + 1}: saving the model as it is")
            break
        epoch += 1
        logits = predict(model, validation[0])
        validation_loss = functional.cross_entropy(logits, validation[1]).item()
        accuracy = (logits.argmax(1) == validation[1]).float().mean().item()
        seconds = time.perf_counter() - started
        print(  # job.toml's metric definition reads validation:accuracy from this line
            f"epoch {epoch}/{args.epochs} train_loss={loss:.4f} validation_loss={validation_loss:.4f}"
            f" validation_accuracy={accuracy:.4f} seconds={seconds:.2f}",
            flush=True,
        )
        report("train:loss", loss, epoch)
        report("validation:loss", validation_loss, epoch)
        if checkpoint:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save({"epoch": epoch, **state}, checkpoint)

    probabilities = predict(model, test[0]).double().softmax(1).cpu().numpy()
    truth = test[1].cpu().numpy()
    scores = score(truth, probabilities)
    for name, value in scores.items():
        print(f"test_{name}={value:.4f}")
        report(f"test:{name}", value, epoch)
    write_results(args.output_data_dir, scores, truth, probabilities)
    save(model.state_dict(), args.model_dir / "model.pt")
    keys = ("batch_size", "learning_rate", "dropout", "channels", "seed")
    card = {
        "input_shape": [1, side, side],
        "classes": list(range(classes)),
        "epochs": epoch,
        "hyperparameters": {key: vars(args)[key] for key in keys},
        "test_metrics": scores,
    }
    (args.model_dir / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"model in {args.model_dir}, results in {args.output_data_dir}")


if __name__ == "__main__":
    main()
