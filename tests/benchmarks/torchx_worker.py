"""TorchX in a warm process of its own environment: `SCHEDULER SCRIPT` in, seconds out, a line each.

It looks at the job every 10 ms here; its own default is 10 s, its command's 1 s.
"""

import sys
import time

from torchx.runner import get_runner

IMAGE = "orchestrator-test/base:latest"


def main() -> None:
    """Serve standard input."""
    runner = get_runner()
    for line in sys.stdin:
        scheduler, script = line.split()
        words = ["--script", script]
        words += ["--image", IMAGE] if scheduler == "local_docker" else []
        start = time.perf_counter()
        handle = runner.run_component("utils.python", words, scheduler)
        status = runner.wait(handle, wait_interval=0.01)
        seconds = time.perf_counter() - start
        if status is None or status.state.name != "SUCCEEDED":
            raise SystemExit(f"torchx: {status}")
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
