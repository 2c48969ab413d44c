"""Forecast the monthly carbon dioxide in the air at Mauna Loa with an LSTM in PyTorch.

    python train.py                                  # in a terminal, results in ./output
    python train.py --epochs 100 --seed 1
    orchestrator run jobs/series_lstm                # as a training job
    orchestrator run jobs/series_lstm -- --epochs 100

The series (526 months, March 1958 to December 2001, in parts per million) ships inside statsmodels.
A `train` channel takes its place: one .csv with a row per step, its label first and its value last.
From the last 24 changes the network tells the next one. It has to beat two forecasts that cost
nothing: "as last month", and "last month, plus what this month of last year brought".
Written for SageMaker's script mode (hyperparameters are arguments, directories are SM_* variables),
so the same file runs in a terminal, in a job of the orchestrator, and on SageMaker.
"""

import argparse
import csv
import json
import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import torch
from statsmodels.datasets import co2
from torch import Tensor, nn
from torch.nn import functional

try:  # only inside a job of the orchestrator: sends a metric together with its step
    from orchestrator_runtime import report_metric
except ImportError:  # anywhere else the printed name=value lines are all that is needed
    report_metric = None  # type: ignore[assignment]

stop_asked = threading.Event()  # set by SIGTERM: finish the step, save, leave with 0


def parse_args() -> argparse.Namespace:
    env = os.environ.get
    parser = argparse.ArgumentParser(description="Forecast a series with an LSTM.")
    add = parser.add_argument
    # hyperparameters
    add("--epochs", type=int, default=60)  # passes over the training windows
    add("--batch-size", type=int, default=32)  # windows per step
    add("--learning-rate", type=float, default=5e-3)  # of Adam; falls to 0 along a cosine
    add("--window", type=int, default=24)  # changes that the network sees
    add("--hidden-size", type=int, default=32)  # of the LSTM
    add("--period", type=int, default=12)  # steps per season, for the seasonal baseline
    add("--seed", type=int, default=0)  # of the weights and the batches
    add("--num-threads", type=int, default=1)  # enough here, and sums are added up in one order
    # directories
    add("--train", default=env("SM_CHANNEL_TRAIN"))  # your own data; None: statsmodels'
    add("--model-dir", type=Path, default=env("SM_MODEL_DIR", "output/model"))
    add("--output-data-dir", type=Path, default=env("SM_OUTPUT_DATA_DIR", "output/data"))
    usual = "/opt/ml/checkpoints" if os.path.isdir("/opt/ml/checkpoints") else None  # noqa: PTH112
    add("--checkpoint-dir", type=Path, default=env("SM_CHECKPOINT_DIR", usual))  # None: keep none
    args = parser.parse_args()
    if args.window < args.period:
        parser.error(f"--window >= --period must hold, got {args.window} < {args.period}")
    return args


def load_data(channel: str | None) -> tuple[list[str], np.ndarray]:
    """A label and a value for each step."""
    if channel is None:
        weeks = co2.load_pandas().data["co2"]
        months = weeks.resample("MS").mean().interpolate()
        return [f"{month:%Y-%m}" for month in months.index], months.to_numpy()
    if not (tables := sorted(Path(channel).glob("*.csv"))):
        raise SystemExit(f"channel train must hold a .csv file, none is in {channel}")
    with tables[0].open(newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        float(rows[0][-1])
    except ValueError:  # a header
        del rows[0]
    return [row[0] for row in rows], np.array([float(row[-1]) for row in rows])


class Forecaster(nn.Module):
    """An LSTM over the window (n, window) and a linear layer on its last state."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The next change (n,)."""
        states, _ = self.lstm(x[..., None])
        change: Tensor = self.head(states[:, -1])[:, 0]
        return change


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, batch_size: int
) -> float | None:
    """Mean loss of one pass in random order; None if a stop was asked for on the way."""
    total = 0.0
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch_size):
        if stop_asked.is_set():
            return None
        batch = order[start : start + batch_size]
        loss = functional.mse_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(x)


def rmse_and_mae(prefix: str, errors: np.ndarray) -> dict[str, float]:
    rmse, mae = float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors)))
    return {f"{prefix}rmse": rmse, f"{prefix}mae": mae}


def report(name: str, value: float, step: int) -> None:
    if report_metric is not None:
        report_metric(name, value, step=step)


def save(content: object, path: Path) -> None:
    """Write beside, then rename: a restart finds the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: stop_asked.set())
    torch.set_num_threads(args.num_threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    # windows[i] holds the changes i .. i + window - 1, and the network is to tell change i + window;
    # 70 % train, 15 % validation (watched every epoch), 15 % test (looked at once), in time order
    labels, values = load_data(args.train)
    changes = np.diff(values)
    count = len(changes) - args.window
    first_validation, first_test = int(count * 0.7), int(count * 0.85)
    known = changes[: first_validation + args.window]  # only these may set the scale
    mean, scale = float(known.mean()), float(known.std())
    scaled = torch.tensor((changes - mean) / scale, dtype=torch.float32, device=device)
    windows, targets = scaled.unfold(0, args.window, 1)[:count], scaled[args.window :]
    train = windows[:first_validation], targets[:first_validation]
    print(f"steps: {len(values)}, from {labels[0]} to {labels[-1]}")
    print(f"windows: {first_validation} train, {count - first_test} test")

    torch.manual_seed(args.seed)
    model = Forecaster(args.hidden_size).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate)
    epoch = 0  # epochs done
    checkpoint = args.checkpoint_dir and args.checkpoint_dir / "checkpoint.pt"
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        epoch = state["epoch"]
        print(f"resumed after epoch {epoch} from {checkpoint}")

    @torch.no_grad()
    def errors(first: int, last: int) -> np.ndarray:
        """Forecast minus truth for the windows from first to before last, in the series' unit."""
        wrong: Tensor = model(windows[first:last]) - targets[first:last]
        return scale * wrong.double().cpu().numpy()

    while epoch < args.epochs:
        torch.manual_seed(args.seed + epoch + 1)  # a resumed run draws what an unbroken one draws
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / args.epochs))
        optimizer.param_groups[0]["lr"] = args.learning_rate * cosine
        loss = train_epoch(model, optimizer, *train, args.batch_size)
        if loss is None:
            print(f"stop asked for in epoch {epoch + 1}: saving the model as it is")
            break
        epoch += 1
        validation = rmse_and_mae("", errors(first_validation, first_test))
        print(  # job.toml's metric definition reads validation:rmse from this line
            f"epoch {epoch}/{args.epochs} train_loss={loss:.4f}"
            f" validation_rmse={validation['rmse']:.4f} validation_mae={validation['mae']:.4f}",
            flush=True,
        )
        report("train:loss", loss, epoch)
        report("validation:mae", validation["mae"], epoch)
        if checkpoint:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save({"epoch": epoch, **state}, checkpoint)

    test_errors = errors(first_test, count)
    start = first_test + args.window  # of the test part among the changes
    as_last_year = changes[start - args.period : -args.period]
    scores = {
        **rmse_and_mae("", test_errors),
        **rmse_and_mae("naive_", changes[start:]),
        **rmse_and_mae("seasonal_naive_", as_last_year - changes[start:]),
    }
    for name, value in scores.items():
        print(f"test_{name}={value:.4f}")
        report(f"test:{name}", value, epoch)
    baseline = min(scores["naive_rmse"], scores["seasonal_naive_rmse"])
    print(f"RMSE is {scores['rmse'] / baseline:.0%} of the better baseline's")

    args.output_data_dir.mkdir(parents=True, exist_ok=True)
    (args.output_data_dir / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n")
    with (args.output_data_dir / "predictions.csv").open("w", newline="") as file:
        truth = values[start + 1 :]
        csv.writer(file).writerow(["step", "value", "prediction"])
        rows = zip(labels[start + 1 :], truth, (truth + test_errors).round(4), strict=True)
        csv.writer(file).writerows(rows)
    save(model.state_dict(), args.model_dir / "model.pt")
    keys = ("batch_size", "learning_rate", "window", "hidden_size", "seed")
    card = {
        "input_shape": [args.window],
        "input": "changes from step to step, minus mean, divided by scale",
        "output": "the next change, on the same scale",
        "mean": mean,
        "scale": scale,
        "epochs": epoch,
        "hyperparameters": {key: vars(args)[key] for key in keys},
        "test_metrics": scores,
    }
    (args.model_dir / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"model in {args.model_dir}, results in {args.output_data_dir}")


if __name__ == "__main__":
    main()
