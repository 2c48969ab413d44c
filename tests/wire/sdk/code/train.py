"""Shows what a script of SDK v3 is given, and leaves a model, data and a checkpoint."""

import json
import os
import sys
from pathlib import Path

import a_local_package  # type: ignore[import-not-found]  # by requirements.txt

channels = {
    name: sorted(path.name for path in Path(os.environ[f"SM_CHANNEL_{name.upper()}"]).iterdir())
    for name in ("train", "test")
}
seen = {
    "arguments": sys.argv[1:],
    "hyperparameters": json.loads(os.environ["SM_HPS"]),
    "channels": channels,
    "greeting": os.environ["GREETING"],
    "package": a_local_package.NAME,
    "hosts": json.loads(os.environ["SM_HOSTS"]),
    "job": os.environ["TRAINING_JOB_NAME"],
}
for step in range(3):
    print(f"loss={1 / (step + 1)};")
Path(os.environ["SM_MODEL_DIR"], "weights.json").write_text("[1, 2, 3]")
Path(os.environ["SM_OUTPUT_DATA_DIR"], "seen.json").write_text(json.dumps(seen))
Path("/opt/ml/checkpoints/step-3").write_text("3")
