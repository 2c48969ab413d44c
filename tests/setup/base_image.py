"""A Debian image with Python for the tests, made without any image registry: debootstrap, then `docker import`.

The archive is kept in the cache folder under the digest of its recipe, so that it is made once for a machine.
`ORCHESTRATOR_TEST_BASE_IMAGE` names an image to use instead (it needs python3 with venv and pip).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.setup import apt
from tests.setup.cache import SetupError, cache_folder, say

NAME = "orchestrator-test/debian"
PACKAGES = ("python3", "python3-pip", "python3-venv", "ca-certificates")
DEBIAN = ("http://deb.debian.org/debian", "bookworm")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the image holds."""

    mirror: str
    suite: str
    components: str
    architecture: str = platform.machine()
    packages: tuple[str, ...] = PACKAGES
    revision: int = 1

    def digest(self) -> str:
        """Short digest, the tag of the image."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


def host_release() -> dict[str, str]:
    """The key-value lines of /etc/os-release."""
    return platform.freedesktop_os_release()


def one_line_sources(text: str) -> list[tuple[str, str]]:
    """(address, suite) pairs of a sources.list file."""
    pairs = []
    for line in text.splitlines():
        words = [word for word in line.split() if not word.startswith(("[", "signed-by", "arch="))]
        if len(words) >= 3 and words[0] == "deb":
            pairs.append((words[1], words[2]))
    return pairs


def paragraph_sources(text: str) -> list[tuple[str, str]]:
    """(address, suite) pairs of a deb822 .sources file."""
    pairs = []
    for paragraph in text.split("\n\n"):
        fields = {
            key.strip().lower(): value.split()
            for key, colon, value in (line.partition(":") for line in paragraph.splitlines())
            if colon and not key.startswith("#")
        }
        if "deb" in fields.get("types", []):
            pairs += [(uri, suite) for uri in fields["uris"] for suite in fields["suites"]]
    return pairs


def apt_mirror(suite: str, etc: Path = Path("/etc/apt")) -> str | None:
    """The address from which this machine's own apt takes the suite, if it says so."""
    pairs = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            pairs += one_line_sources(path.read_text(encoding="utf-8"))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        pairs += paragraph_sources(path.read_text(encoding="utf-8"))
    for address, named in pairs:
        if named == suite and urlsplit(address).scheme in {"http", "https", "file"}:
            return address
    return None


def recipe() -> Recipe:
    """The recipe for this machine: its own distribution where that is Debian or Ubuntu."""
    release = host_release()
    suite = release.get("VERSION_CODENAME", "")
    mirror = apt_mirror(suite) if suite else None
    if mirror is None:
        return Recipe(*DEBIAN, "main")
    return Recipe(mirror, suite, "main,universe" if release.get("ID") == "ubuntu" else "main")


def docker(*words: str) -> str:
    """Output of one docker call.

    Raises:
        SetupError: The call failed.
    """
    command = [apt.find_program("docker") or "docker", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"docker {words[0]} failed: {result.stderr.strip()[-2000:]}")
    return result.stdout.strip()


def has_image(name: str) -> bool:
    """Whether the engine holds an image of this name."""
    return bool(docker("image", "ls", "--quiet", name))


def bootstrap(wanted: Recipe, archive: Path) -> None:
    """Make the archive of a root file system."""
    if os.geteuid() != 0:
        raise SetupError(
            "the base image is made with debootstrap, which needs root; or name a Debian image with Python in "
            "ORCHESTRATOR_TEST_BASE_IMAGE"
        )
    apt.ensure(["debootstrap"])
    say(f"  debootstrap {wanted.suite} from {wanted.mirror} (about 300 MB, 1 minute)")
    with tempfile.TemporaryDirectory(prefix="debootstrap-", dir=archive.parent) as scratch:
        root = Path(scratch) / "root"
        log = archive.with_suffix(".log")
        command = [
            apt.find_program("debootstrap") or "debootstrap",
            "--variant=minbase",
            f"--include={','.join(wanted.packages)}",
            f"--components={wanted.components}",
            wanted.suite,
            str(root),
            wanted.mirror,
        ]
        with log.open("wb") as file:
            result = subprocess.run(command, stdout=file, stderr=file, check=False)
        if result.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise SetupError(f"debootstrap failed; see {log}:\n{tail}")
        shutil.rmtree(root / "var" / "cache" / "apt" / "archives", ignore_errors=True)
        part = archive.with_suffix(".part")
        subprocess.run(["tar", "-C", str(root), "-cf", str(part), "."], check=True)
        part.replace(archive)


def ensure_base() -> str:
    """Make sure that the engine has the base image; returns its name."""
    if named := os.environ.get("ORCHESTRATOR_TEST_BASE_IMAGE"):
        return named
    wanted = recipe()
    name = f"{NAME}:{wanted.digest()}"
    if has_image(name):
        return name
    archive = cache_folder() / f"base-{wanted.digest()}.tar"
    if not archive.exists():
        bootstrap(wanted, archive)
    say(f"  docker import {name}")
    docker("import", str(archive), name)
    return name
