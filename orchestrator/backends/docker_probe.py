"""What an image is like: looked up on the engine, and for its Python tried once in a container.

The trial takes as long as a short job, so its answer is kept for each image digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator_runtime import contract

from orchestrator.backends import staging
from orchestrator.backends.docker_engine import Engine, Refused
from orchestrator.backends.docker_values import LABEL_HOME, DockerSettings, ImageFacts
from orchestrator.errors import BackendError, ImageError

CACHE_FILE = "docker-images.json"
RUNTIME_COPIES = "docker-runtimes"
OLDEST_PYTHON = (3, 9)

# Runs in the image's own Python, as the user that jobs run as.
_PROGRAM = """
import json, os, shutil, sys
print(json.dumps({"python": sys.executable, "version": sys.version.split()[0],
                  "train": bool(shutil.which("train")), "tag": sys.implementation.cache_tag}))
if sys.version_info >= (3, 9) and os.access("%s", os.W_OK):
    import compileall
    from py_compile import PycInvalidationMode
    compileall.compile_dir("%s", quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
"""
_NO_PROGRAM = ("executable file not found", "no such file or directory", "permission denied")


class ImageProbe:
    """Knows the images of one engine.

    Args:
        engine: The engine.
        settings: Of the back end.
        user: User and group id that containers run as.
    """

    def __init__(self, engine: Engine, settings: DockerSettings, user: tuple[int, int]) -> None:
        self._engine = engine
        self._settings = settings
        self._user = user
        self._lock = threading.Lock()
        self._tried: dict[str, dict[str, Any]] | None = None

    def look(self, reference: str) -> ImageFacts:
        """Return what the engine says of an image; nothing is started or pulled.

        Raises:
            ImageError: It is missing, or made for another machine.
            EngineUnreachable: The engine does not answer.
        """
        found = self._engine.image(reference)
        if found is None:
            raise ImageError(
                f"image {reference!r} must exist on this machine's Docker engine; build or pull "
                "it first, or set ORCHESTRATOR_DOCKER_PULL=1 to have missing images pulled"
            )
        engine = self._engine.facts().architecture
        if found["Architecture"] not in {engine, ""} or found["Os"] not in {"linux", ""}:
            raise ImageError(
                f"image {reference!r} must be made for linux/{engine}, got "
                f"{found['Os']}/{found['Architecture']}; pull or build it with "
                f"--platform linux/{engine}"
            )
        config = found.get("Config") or {}
        return ImageFacts(
            reference=reference,
            id=found["Id"],
            architecture=found["Architecture"],
            entrypoint=tuple(config.get("Entrypoint") or ()),
            command=tuple(config.get("Cmd") or ()),
            working_directory=config.get("WorkingDir") or "/",
            path=_path(found),
        )

    def facts(self, reference: str) -> ImageFacts:
        """Return all about an image; its Python is tried in a container the first time.

        Raises:
            ImageError: It is missing, or made for another machine.
            EngineUnreachable: The engine does not answer.
        """
        image = self.look(reference)
        key = self._key(image)
        with self._lock:
            cache = self._cache()
            tried = cache.get(key)
            if tried is None or not _copy_exists(tried):
                tried = cache[key] = self._try(image)
                staging.write_json(self._settings.home / CACHE_FILE, cache)
        return _completed(image, tried)

    def known(self, image: ImageFacts) -> ImageFacts | None:
        """Return all about an image if that is known without trying it."""
        with self._lock:
            tried = self._cache().get(self._key(image))
        return None if tried is None else _completed(image, tried)

    def _cache(self) -> dict[str, dict[str, Any]]:
        if self._tried is None:
            self._tried = _read_cache(self._settings.home / CACHE_FILE)
        return self._tried

    def forget_gone(self) -> None:
        """Forget the images that the engine no longer has, and their copies of the runtime."""
        with self._lock:
            known = _read_cache(self._settings.home / CACHE_FILE)
            gone = [key for key in known if self._engine.image(key.partition(" ")[0]) is None]
            for key in gone:
                runtime = known.pop(key)["runtime"]
                if runtime:
                    shutil.rmtree(runtime, ignore_errors=True)
            if gone:
                self._tried = known
                staging.write_json(self._settings.home / CACHE_FILE, known)

    def make_sure(self, reference: str) -> None:
        """Pull an image that is missing, where that is wished.

        Raises:
            ImageError: It cannot be had.
        """
        if self._settings.pull and self._engine.image(reference) is None:
            self._engine.pull(reference)

    def _key(self, image: ImageFacts) -> str:
        user = "{}:{}".format(*self._user)
        return (
            f"{image.id} {user} {self._settings.profile} {runtime_digest(self._settings.runtime)}"
        )

    # -- the trial -------------------------------------------------------------------------

    def _try(self, image: ImageFacts) -> dict[str, Any]:
        """Run the image's Python once."""
        copy = self._runtime_copy(image)
        answer: dict[str, Any] = {}
        for program in ("python3", "python"):
            answer = self._run(image, program, copy)
            if answer.get("python"):
                break
        usable = bool(answer) and _numbers(answer.get("version", "0.0")) >= OLDEST_PYTHON
        # The service's own copy does as well if it was compiled for this version already.
        compiled = bool(answer.get("python")) and _is_compiled(self._settings.runtime, answer)
        keep = usable and not compiled and _is_compiled(copy, answer)
        if not keep:
            shutil.rmtree(copy, ignore_errors=True)
        return {
            "python": answer["python"] if usable else None,
            "version": answer["version"] if usable else None,
            "train": bool(answer.get("train")),
            "runtime": str(copy) if keep else None,
        }

    def _runtime_copy(self, image: ImageFacts) -> Path:
        """Copy the runtime for one image: it may be written to by the image's own Python."""
        name = hashlib.sha256(self._key(image).encode()).hexdigest()[:16]
        copy = self._settings.home / RUNTIME_COPIES / name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._settings.runtime, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, *self._user)
        return copy

    def _run(self, image: ImageFacts, program: str, copy: Path) -> dict[str, Any]:
        name = f"orchestrator-{self._settings.home_id}-probe-{os.urandom(6).hex()}"
        body = self._body(image, [program, "-I", "-S", "-c", _PROGRAM % ((contract.RUNTIME,) * 2)])
        body["HostConfig"]["Mounts"] = [
            {"Type": "bind", "Source": str(copy), "Target": contract.RUNTIME, "ReadOnly": False}
        ]
        self._engine.create(name, body)
        try:
            try:
                self._engine.start(name)
            except Refused as error:
                return self._no_program(error, image, name)
            self._engine.wait(name)
            return _parse(self._engine.output(name))
        finally:
            self._engine.remove(name)

    def _no_program(self, error: Refused, image: ImageFacts, name: str) -> dict[str, Any]:
        words = error.message.lower()
        if "exec format error" in words:
            raise ImageError(
                f"image {image.reference!r} must be made for this machine: {error.message}"
            ) from error
        if not any(reason in words for reason in _NO_PROGRAM):
            raise BackendError(error.message) from error
        places = [part.rstrip("/") for part in image.path.split(":") if part.startswith("/")]
        return {"train": any(self._engine.has_file(name, f"{place}/train") for place in places)}

    def _body(self, image: ImageFacts, argv: list[str]) -> dict[str, Any]:
        return {
            "Image": image.id,
            "User": "{}:{}".format(*self._user),
            "Entrypoint": argv,
            "Cmd": [],
            "WorkingDir": "/",
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {LABEL_HOME: str(self._settings.home)},
            "HostConfig": {
                "Init": True,
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": 64,
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "64k"}},
            },
        }


def runtime_digest(runtime: Path) -> str:
    """Return what changes when a file of the runtime changes."""
    digest = hashlib.sha256(str(runtime).encode())
    for path in sorted(runtime.rglob("*.py")):
        stat = path.stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _is_compiled(runtime: Path, answer: Mapping[str, Any]) -> bool:
    package = runtime / contract.__name__.partition(".")[0] / "__pycache__"
    return (package / f"contract.{answer.get('tag')}.pyc").exists()


def _path(image: Mapping[str, Any]) -> str:
    variables = (image.get("Config") or {}).get("Env") or []
    return next(
        (v[5:] for v in variables if v.startswith("PATH=")), "/usr/local/bin:/usr/bin:/bin"
    )


def _parse(output: str) -> dict[str, Any]:
    """Return what the trial printed; an interpreter that says nothing sensible is none."""
    try:
        answer = json.loads(output.splitlines()[0])
        version = str(answer["version"])
        _numbers(version)
        return {
            "python": str(answer["python"]),
            "version": version,
            "train": bool(answer["train"]),
            "tag": re.sub(r"[^a-z0-9-]", "", str(answer["tag"])),
        }
    except (IndexError, KeyError, TypeError, ValueError):
        return {}


def _numbers(version: str) -> tuple[int, ...]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _completed(image: ImageFacts, tried: Mapping[str, Any]) -> ImageFacts:
    runtime = Path(tried["runtime"]) if tried["runtime"] else None
    return replace(
        image,
        python=tried["python"],
        version=tried.get("version"),  # a cache of before knows none
        has_train=tried["train"],
        runtime=runtime,
    )


def _read_cache(path: Path) -> dict[str, dict[str, Any]]:
    found = staging.read_json(path)
    return found if isinstance(found, dict) else {}


def _copy_exists(tried: Mapping[str, Any]) -> bool:
    return not tried["runtime"] or Path(tried["runtime"]).is_dir()
