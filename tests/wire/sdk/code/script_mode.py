"""Shows what a script of SDK v2 is given, and leaves a model."""

import argparse
import json
import os
from pathlib import Path

import a_dependency  # type: ignore[import-not-found]  # by dependencies=
import a_local_package  # type: ignore[import-not-found]  # by requirements.txt

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--lr", type=float)
parser.add_argument("--flag")
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
parser.add_argument("--train", default=os.environ["SM_CHANNEL_TRAIN"])
args = parser.parse_args()

for epoch in range(args.epochs):
    print(f"loss={1 / (epoch + 1)};", flush=True)
seen = {
    "arguments": {"epochs": args.epochs, "lr": args.lr, "flag": args.flag},
    "hyperparameters": json.loads(os.environ["SM_HPS"]),
    "train": sorted(path.name for path in Path(args.train).iterdir()),
    "packages": [a_dependency.NAME, a_local_package.NAME],
    "environment": os.environ["GREETING"],
}
Path(args.model_dir, "seen.json").write_text(json.dumps(seen))
