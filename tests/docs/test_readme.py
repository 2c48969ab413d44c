"""The README's quick start, then the SDK's, typed in as they stand: files, shell lines and Python, top to bottom."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import TrainingJob
from orchestrator.embedded import LocalTransport
from tests.docs.markdown import ROOT, Block, blocks

README = (ROOT / "README.md").read_text("utf-8")
SDK = (ROOT / "orchestrator" / "sdk" / "README.md").read_text("utf-8")
BLOCKS = [*blocks(README), *blocks(SDK)]
PORT = "8765"
BLOCK_SECONDS = 100

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


class Reader:
    """Somebody who follows the README in an empty directory.

    Args:
        folder: The directory.
        port: A free port, typed wherever the README names its own.
        temporary: For the homes of the suite that the README runs; a short path.
    """

    def __init__(self, folder: Path, port: int, temporary: str) -> None:
        self.folder = folder
        self.temporary = temporary
        self.port = str(port)
        self.said: dict[int, str] = {}

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.file is not None:
            (self.folder / block.file).write_text(block.text, "utf-8")
        elif block.language == "python":
            self._run(block, [sys.executable, "-c", block.text])
        elif block.commands():
            typed = "\n".join(block.commands()).replace(PORT, self.port)
            self._run(block, ["bash", "-euo", "pipefail", "-c", typed])

    def _run(self, block: Block, argv: list[str]) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # A file, not a pipe: what stays in the background would keep a pipe open.
        with (self.folder.parent / "said").open("w+") as output:
            done = subprocess.run(
                argv,
                cwd=self.folder,
                env={**os.environ, "PATH": path, "PYTEST_DEBUG_TEMPROOT": self.temporary},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=BLOCK_SECONDS,
                check=False,
            )
            output.seek(0)
            said = output.read()
        assert done.returncode == 0, f"README.md:{block.line}\n{said}"
        self.said[block.line] = said


@pytest.fixture
def home(orchestrator_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh home whose driver stays as long as a user's does; a service that was left is ended."""
    monkeypatch.delenv("ORCHESTRATOR_DRIVER_LINGER_SECONDS")
    yield orchestrator_home
    orchestrator = Path(sys.executable).parent / "orchestrator"
    subprocess.run([orchestrator, "serve", "--stop"], capture_output=True, check=False)


def block_with(text: str) -> Block:
    """Return the block that has a text in it."""
    return next(block for block in BLOCKS if text in block.text)


class TestTheQuickStart:
    def test_works_as_written(self, tmp_path: Path, home: Path, free_port: int):
        folder = tmp_path / "reader"
        folder.mkdir()
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="reader-") as temporary:
            reader = Reader(folder, free_port, temporary)
            for block in BLOCKS:
                reader.follow(block)
        shell = reader.said[block_with("orchestrator list").line]
        assert "epoch=4 loss=0.200" in shell
        assert "Completed" in shell
        assert "train:loss" in shell
        with tarfile.open(next(folder.glob("**/model.tar.gz"))) as archive:
            assert archive.getnames() == ["model.txt"]
        assert "</html>" in (folder / "report.html").read_text("utf-8")
        printed = reader.said[block_with("ModelTrainer(").line].splitlines()[-1].split()
        assert printed[:2] == ["Completed", "0.2"]
        assert Path(printed[2]).is_file()
        assert "1 passed" in reader.said[block_with("pytest -q").line]
        assert "epoch=2 loss=0.333" in reader.said[block_with("orchestrator serve").line]
        assert "epoch=2 loss=0.333" in reader.said[block_with("orchestrator env").line]
        transport = LocalTransport(home)
        jobs = TrainingJob.list(transport=transport)
        transport.close()
        searched = 4
        assert [job.status for job in jobs] == ["Completed"] * (4 + searched)

    def test_types_nothing_that_would_not_be_tried(self):
        known = {"console", "python"}
        assert {block.language for block in BLOCKS} <= known
        lines = [line for b in BLOCKS if b.language == "console" for line in b.text.splitlines()]
        assert all(line.startswith("$ ") for line in lines)
