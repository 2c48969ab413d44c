"""Says which frameworks could be imported where it runs, without the time to do so."""

import importlib.util
import json
import os
import sys
from pathlib import Path

found = {
    "torch": importlib.util.find_spec("torch") is not None,
    "tensorflow": importlib.util.find_spec("tensorflow") is not None,
    "workers": json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster"),
    "arguments": [word for word in sys.argv[1:] if not word.startswith("s3://")],
}
Path(os.environ["SM_MODEL_DIR"], "found.json").write_text(json.dumps(found))
