"""S3 servers, each in a process of its own: the whole service, moto's server and rclone's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.api.aws.keys import issue
from orchestrator.home import TOKEN_FILE, prepare_home
from tests.benchmarks.measure import eventually
from tests.benchmarks.processes import cpu_seconds, status_mb
from tests.benchmarks.world import ORCHESTRATOR, ROOT, clean_variables

TOKEN = "a-token-for-measuring"  # of a service that ends with the run
KEY = issue(TOKEN)
BENCH_BIN = ROOT / ".venv-bench" / "bin"


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        url: Its end point.
        pid: Of its process.
    """

    url: str
    pid: int

    def peak_mb(self) -> float:
        """Most memory that it had, in MB."""
        return status_mb(self.pid, "VmHWM")

    def reset_peak(self) -> None:
        """Forget the peak so far."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def cpu_seconds(self) -> float:
        """Processor time that it has had."""
        return cpu_seconds([self.pid])

    def client(self) -> Any:
        """A boto3 client of it."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=KEY.id,
            aws_secret_access_key=KEY.secret,
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=20),
        )


def commands(folder: Path) -> dict[str, list[str]]:
    """How each server that is installed is started; the port takes the place of `PORT`."""
    ours, rclone = folder / "ours", folder / "rclone"
    rclone.mkdir(exist_ok=True)
    prepare_home(ours)
    (ours / TOKEN_FILE).write_text(TOKEN, encoding="ascii")
    found = {
        "ours": [ORCHESTRATOR, "serve", "--port", "PORT", "--home", str(ours)],
        "moto server": [sys.executable, "-c", "from moto.server import main; main(['-pPORT'])"],
    }
    if (BENCH_BIN / "rclone").exists():
        found["rclone"] = [
            str(BENCH_BIN / "rclone"), "serve", "s3", "--auth-key", f"{KEY.id},{KEY.secret}",
            "--addr", "127.0.0.1:PORT", "--vfs-cache-mode", "off", str(rclone),
        ]  # fmt: skip
    return found


@contextmanager
def serving(name: str, command: list[str], folder: Path) -> Iterator[Running]:
    """Run a server until the end of the context."""
    port = _free_port()
    argv = [word.replace("PORT", str(port)) for word in command]
    variables = {**clean_variables(), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    log = folder / f"{name.replace(' ', '-')}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(argv, stdout=errors, stderr=errors, env=variables, cwd=folder) as process,
    ):
        try:
            eventually(lambda: _answers(port) or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {log.read_text('utf-8')[-2000:]}")
            yield Running(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
