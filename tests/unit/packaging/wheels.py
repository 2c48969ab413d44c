"""Tiny wheels and interpreters, made on the fly: no network is needed."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path


def make_wheel(directory: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel with one module, whose ``version`` says which one was imported."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def make_sdist(directory: Path, name: str, version: str) -> Path:
    """Write a source distribution that cannot be built."""
    import io
    import tarfile

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}.tar.gz"
    setup = b"raise SystemExit('no compiler here')\n"
    with tarfile.open(path, "w:gz") as archive:
        header = tarfile.TarInfo(f"{name}-{version}/setup.py")
        header.size = len(setup)
        archive.addfile(header, io.BytesIO(setup))
    return path


class Parent:
    """An interpreter with packages of its own: a virtual environment without the usual cost."""

    def __init__(self, directory: Path, *, with_pip: bool = True) -> None:
        venv.EnvBuilder(symlinks=True).create(directory)
        self.python = str(directory / "bin" / "python")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.packages = directory / "lib" / version / "site-packages"
        if with_pip:
            import pip

            (self.packages / "pip").symlink_to(Path(pip.__file__).parent)

    def add(self, name: str, version: str) -> None:
        """Give it a package."""
        (self.packages / f"{name}.py").write_text(f"version = {version!r}\n")
        info = self.packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )


def offline_environment(wheels: Path, **more: str) -> dict[str, str]:
    """Return an environment in which pip knows nothing but one directory of wheels."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        **more,
    }


def run(argv, **how) -> subprocess.CompletedProcess[str]:
    """Run a command; its output comes back as text, errors included."""
    return subprocess.run(
        argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **how
    )
