"""A live service on one back end, and programs that are run as a user of AWS would run them."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cli import aws_environment
from orchestrator.server import Server

HERE = Path(__file__).parent
LEFT = "LEFT THIS MACHINE"


@dataclass(frozen=True)
class Place:
    """Where the programs of a test run their jobs.

    Attributes:
        backend: ``process`` or ``docker``.
        server: The service.
        folder: For what programs read and write.
    """

    backend: str
    server: Server
    folder: Path

    def variables(self) -> dict[str, str]:
        """Return a user's whole environment: a bare shell's, and what ``orchestrator env`` prints."""
        return {
            "HOME": str(self.folder),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TMPDIR": os.environ["TMPDIR"],
            "PYTHONPATH": str(HERE / "guard"),
            **aws_environment.variables(self.server.service.home, self.server.url),
        }

    def run(self, python: Path, program: Path, *words: str) -> dict[str, Any]:
        """Run a program to its end and return what it wrote to the file it was given first."""
        answer = self.folder / f"{program.stem}.json"
        done = subprocess.run(
            [python, program, answer, *words],
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        said = f"{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
        assert done.returncode == 0, said
        assert LEFT not in done.stderr, said
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found

    def packed(self, uri: str) -> dict[str, str]:
        """Return the files of an archive in the service's buckets."""
        fetched = self.folder / "fetched.tar.gz"
        self.server.service.blobs.fetch_to(uri, fetched)
        found = {}
        with tarfile.open(fetched) as archive:
            for member in archive.getmembers():
                stream = archive.extractfile(member)
                if stream is not None:
                    found[member.name] = stream.read().decode()
        return found


def write_wheel(folder: Path, name: str, text: str) -> Path:
    """Write a package of one module, as pip installs it without a network or a build."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    files: Mapping[str, str] = {
        f"{name}.py": text,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
        archive.writestr(f"{about}/RECORD", record)
    return wheel
