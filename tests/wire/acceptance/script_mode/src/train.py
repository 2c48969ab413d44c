"""A random forest, as it is trained on SageMaker in script mode."""

import argparse
import os
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--trees", type=int, default=100)
parser.add_argument("--max-depth", type=int, default=None)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
parser.add_argument("--train", default=os.environ["SM_CHANNEL_TRAIN"])
parser.add_argument("--test", default=os.environ["SM_CHANNEL_TEST"])
args = parser.parse_args()


def load(folder: str) -> tuple[np.ndarray, np.ndarray]:
    table = np.vstack([np.loadtxt(file, delimiter=",") for file in Path(folder).glob("*.csv")])
    return table[:, :-1], table[:, -1]


x, y = load(args.train)
forest = RandomForestClassifier(args.trees, max_depth=args.max_depth, random_state=0).fit(x, y)
print(f"accuracy={forest.score(*load(args.test)):.4f}")
joblib.dump(forest, Path(args.model_dir, "model.joblib"))
