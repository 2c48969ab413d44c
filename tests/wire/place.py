"""A live service on one back end, and programs that are run as a user of AWS would run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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
PATH = "/usr/local/bin:/usr/bin:/bin"
PATIENCE_SECONDS = 240
AS_USERS_DO = (
    'eval "$(PYTHONPATH="$1" "$2" -m orchestrator.cli.main env --shell)" && exec "$3" "$4"'
)


class Program:
    """A user's program that runs.

    Args:
        argv: Its command.
        folder: Where it runs.
        environment: All of its variables.
    """

    def __init__(self, argv: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._printed = folder / "printed.txt"
        with self._printed.open("wb") as stream:
            self._process = subprocess.Popen(
                argv,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def ended(self) -> int:
        """Wait for its end and return its exit code; it must not have left this machine."""
        code = self._process.wait(PATIENCE_SECONDS)
        assert LEFT not in self.printed, self.printed[-12000:]
        return code

    @property
    def printed(self) -> str:
        """All that it printed."""
        return self._printed.read_text(encoding="utf-8", errors="replace")

    def answer(self) -> dict[str, Any]:
        """Return what it wrote to the file ``answer.json``, once it has ended well."""
        assert self.ended() == 0, self.printed[-12000:]
        found: dict[str, Any] = json.loads((self.folder / "answer.json").read_text("utf-8"))
        return found

    def end(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Place:
    """Where programs run their jobs.

    Attributes:
        backend: ``process`` or ``docker``.
        server: The service.
        folder: For what programs read and write.
    """

    backend: str
    server: Server
    folder: Path

    def start(self, name: str, python: Path, program: Path, *words: str) -> Program:
        """Start a program with what ``orchestrator env`` prints, and a folder of its own."""
        folder = self.folder / name
        folder.mkdir()
        variables = aws_environment.variables(self.server.service.home, self.server.url)
        argv = [str(python), str(program), str(folder / "answer.json"), *words]
        return Program(argv, folder, self._shell() | variables)

    def start_in_shell(self, name: str, python: Path, folder: Path) -> Program:
        """Start ``launch.py`` of a copy of a folder in a shell that evaluates ``orchestrator env``."""
        copy = self.folder / name
        shutil.copytree(folder, copy)
        ours = os.pathsep.join(path for path in sys.path if path)
        argv = [
            "/bin/bash",
            "-c",
            AS_USERS_DO,
            "sh",
            ours,
            sys.executable,
            str(python),
            "launch.py",
        ]
        home = {"ORCHESTRATOR_HOME": str(self.server.service.home)}
        return Program(argv, copy, self._shell() | home)

    def _shell(self) -> dict[str, str]:
        """Return the variables of a bare shell, in which no program leaves this machine."""
        return {
            "HOME": str(self.folder),
            "PATH": PATH,
            "TMPDIR": os.environ["TMPDIR"],
            "PYTHONPATH": str(HERE / "guard"),
        }

    def packed(self, uri: str) -> dict[str, bytes]:
        """Return the files of an archive in the service's buckets."""
        fetched = self.folder / "fetched.tar.gz"
        self.server.service.blobs.fetch_to(uri, fetched)
        found = {}
        with tarfile.open(fetched) as archive:
            for member in archive.getmembers():
                stream = archive.extractfile(member)
                if stream is not None:
                    found[member.name] = stream.read()
        return found


def write_wheel(folder: Path, name: str, text: str) -> Path:
    """Write a package of one module, as pip installs it without a network or a build."""
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    tags = "Root-Is-Purelib: true\nTag: py3-none-any\n"
    files = {
        f"{name}.py": text,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\n{tags}",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
        archive.writestr(f"{about}/RECORD", record)
    return wheel
