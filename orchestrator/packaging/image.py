"""Builds images by content: the same base, requirements and source are built once.

The only file here that uses the Docker SDK, which is loaded at the first call.
"""

from __future__ import annotations

import io
import secrets
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from orchestrator.errors import EngineUnreachable, ImageError, InvalidSpec
from orchestrator.packaging import context
from orchestrator.packaging.archive import tar_digest
from orchestrator.packaging.file_server import PackageServer
from orchestrator.packaging.pip_settings import PipSettings
from orchestrator.packaging.requirements import (
    check_requirements,
    names_local_files,
    normalised,
)
from orchestrator.packaging.tar_reader import FIXED_TIME, SOURCE_LIMITS, ArchiveReader, header_of

BUILD_SECONDS = 3600
TAIL_LINES = 30
MEMORY_BYTES = 16 * 1024 * 1024

Output = Callable[[str], None]


DEBUGGER_FILE = "hook/site/orchestrator_debugger.pth"
"""Of the runtime: brings the debugger into programs that Python runs with -E or -I."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that was built, or found."""

    tag: str
    image_id: str
    digest: str
    """Of base, requirements and source; the tag has its first 12 digits."""
    built: bool
    """False if it was there already."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What goes into an image."""

    name: str
    base_image: str
    source_archive: Path | None = None
    """A tar.gz made by ``pack_source``; None makes an image of requirements only."""
    entry_script: str = ""
    """The program's file in the source."""
    requirements: str | None = None
    """Text of the requirements file."""
    requirements_name: str = "requirements.txt"
    python: str = "python3"
    """The base image's interpreter."""


class ImageBuilder:
    """Builds, finds and removes images of one Docker engine. Close it after use."""

    def __init__(self, client: Any = None) -> None:
        """Use an engine.

        Args:
            client: A ``docker.DockerClient``; None makes one from the environment when needed.
        """
        self._made = client

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._made is not None:
            self._made.close()

    @property
    def _client(self) -> Any:
        if self._made is None:
            import docker

            with _engine_errors("the Docker engine"):
                self._made = docker.from_env(timeout=BUILD_SECONDS)
        return self._made

    def build(
        self,
        request: ImageRequest,
        *,
        pip: PipSettings | None = None,
        on_output: Output = lambda line: None,  # noqa: ARG005
    ) -> ImageRef:
        """Build an image unless it is there. Idempotent; blocks for as long as pip needs.

        Args:
            request: What goes into it.
            pip: Settings that the build's pip needs; they are in no layer of the image.
            on_output: Gets each line that the build prints.

        Raises:
            InvalidSpec: The request breaks a rule.
            InputError: The source archive is damaged or hostile.
            ImageError: The base image is missing, or the build failed; the message has the last
                lines of its output.
            EngineUnreachable: The engine does not answer.
        """
        context.image_tag(request.name, "0" * 12)
        if request.source_archive is None and request.requirements is None:
            raise InvalidSpec("an image needs a source or requirements, got neither")
        source = ""
        if request.source_archive is not None:
            with request.source_archive.open("rb") as stream:
                source = tar_digest(stream, request.source_archive.name)
        with _engine_errors(request.base_image):
            base_id = self._base_id(request.base_image)
            ref: ImageRef | None = None
            if request.requirements is not None:
                ref = self._environment(request, base_id, source, pip or PipSettings(), on_output)
            if request.source_archive is None:
                assert ref is not None
                return ref
            if ref is None:
                return self._program(request, request.base_image, base_id, source, on_output)
            return self._program(request, ref.tag, ref.image_id, source, on_output)

    def exists(self, tag: str) -> bool:
        """Say whether an image is there."""
        with _engine_errors(tag):
            return self._find(tag) is not None

    def remove(self, tag: str) -> None:
        """Remove a tag, and the image if nothing else needs it. Idempotent."""
        with _engine_errors(tag):
            import docker

            try:
                self._client.images.remove(tag)
            except docker.errors.ImageNotFound:
                return

    def remove_leftovers(self) -> None:
        """Remove what builds of killed processes left, a day after they began."""
        with _engine_errors("the Docker engine"):
            old = {"dangling": True, "label": context.STAGE_LABEL, "until": "24h"}
            self._client.images.prune(filters=old)

    @contextmanager
    def _removing(self, stage: str) -> Iterator[None]:
        """Remove the images of a build's first stage, whatever happens."""
        try:
            yield
        finally:
            label = f"{context.STAGE_LABEL}={stage}"
            self._client.images.prune(filters={"dangling": True, "label": label})

    def list(self) -> list[ImageRef]:
        """Return all images that were built here, environment images included."""
        with _engine_errors("the Docker engine"):
            found = self._client.images.list(filters={"label": context.KIND_LABEL})
            return [
                ImageRef(tag, image.id, image.labels[context.DIGEST_LABEL], built=False)
                for image in found
                for tag in image.tags
            ]

    def _find(self, tag: str) -> Any | None:
        import docker

        try:
            return self._client.images.get(tag)
        except docker.errors.ImageNotFound:
            return None

    def _base_id(self, base: str) -> str:
        """Return the id of the base image, pulling it if it is not here."""
        import docker

        found = self._find(base)
        if found is not None:
            return str(found.id)
        repository, tag = docker.utils.parse_repository_tag(base)
        try:
            return str(self._client.images.pull(repository, tag or "latest").id)
        except docker.errors.APIError as error:
            raise ImageError(
                f"the base image must exist here or in a registry that can be reached, {base!r} "
                f"does not: {error.explanation or error}"
            ) from None

    def _environment(
        self, request: ImageRequest, base_id: str, source: str, pip: PipSettings, output: Output
    ) -> ImageRef:
        requirements = request.requirements or ""
        check_requirements(requirements, request.requirements_name)
        local = source if names_local_files(requirements) else ""
        installer, debugger = _of_runtime("install.py"), _of_runtime(DEBUGGER_FILE)
        digest = context.environment_digest(
            base_id, normalised(requirements), installer + debugger, local
        )

        def build(tag: str) -> None:
            stage = (
                f"{tag}-{secrets.token_hex(8)}"  # another build's stages are not ours to remove
            )
            text = context.environment_dockerfile(
                request.base_image,
                stage,
                requirements=request.requirements_name,
                python=request.python,
                trusts=pip.certificates is not None,
            )
            with PackageServer(pip.local_places()) as server:
                settings, constraints = _for_build(pip.with_places(server.url))
                files = [
                    context.BuildFile("build/install.py", installer),
                    context.BuildFile(f"build/{DEBUGGER_FILE}", debugger),
                    context.BuildFile("build/pip.conf", settings.encode()),
                    *constraints,
                    *_certificates(pip),
                ]
                if not local:
                    name = f"build/source/{request.requirements_name}"
                    files.append(context.BuildFile(name, requirements.encode()))
                archive = request.source_archive if local else None
                with (
                    _context(text, files, archive, "build/source") as packed,
                    self._removing(stage),
                ):
                    self._run(
                        packed,
                        tag,
                        output,
                        labels=_labels("environment", digest),
                        network_mode="host" if server.serves else None,
                        buildargs=dict(pip.proxies),
                    )

        return self._once(context.image_tag(f"{request.name}-env", digest), digest, build)

    def _program(
        self, request: ImageRequest, base: str, base_id: str, source: str, output: Output
    ) -> ImageRef:
        digest = context.program_digest(base_id, source, request.entry_script)
        text = context.program_dockerfile(base, request.entry_script)

        def build(tag: str) -> None:
            with _context(text, [], request.source_archive, "source") as packed:
                self._run(packed, tag, output, labels=_labels("program", digest))

        return self._once(context.image_tag(request.name, digest), digest, build)

    def _once(self, tag: str, digest: str, build: Callable[[str], None]) -> ImageRef:
        found = self._find(tag)
        built = found is None or found.labels.get(context.DIGEST_LABEL) != digest
        if built:
            build(tag)
            found = self._client.images.get(tag)
        assert found is not None
        return ImageRef(tag, found.id, digest, built)

    def _run(self, packed: IO[bytes], tag: str, output: Output, **how: Any) -> None:
        """Run one build to its end."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        events = self._client.api.build(
            fileobj=packed,
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
            **how,
        )
        error = _follow(events, output, tail)
        if error is not None:
            lines = "\n".join(tail)
            raise ImageError(
                f"image {tag} could not be built: {error}; the last lines of the build:\n{lines}"
            )


def _labels(kind: str, digest: str) -> dict[str, str]:
    return {context.DIGEST_LABEL: digest, context.KIND_LABEL: kind}


def build_image(
    request: ImageRequest,
    *,
    pip: PipSettings | None = None,
    on_output: Output = lambda line: None,  # noqa: ARG005
) -> ImageRef:
    """Build one image with the engine that the environment names; see ``ImageBuilder.build``."""
    builder = ImageBuilder()
    try:
        return builder.build(request, pip=pip, on_output=on_output)
    finally:
        builder.close()


def _follow(events: Iterable[dict[str, Any]], output: Output, tail: deque[str]) -> str | None:
    """Read a build's events to their end; return what went wrong."""
    error: str | None = None
    for event in events:
        if "error" in event:
            error = str(event["error"]).strip()
        for line in str(event.get("stream", "")).splitlines():
            if line.strip():
                output(line)
                tail.append(line)
    return error


def _of_runtime(file: str) -> bytes:
    spec = find_spec("orchestrator_runtime")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / file).read_bytes()


def _for_build(pip: PipSettings) -> tuple[str, list[context.BuildFile]]:
    """Return a pip.conf for the build, and the constraint files that it names."""
    files = []
    names = []
    for number, word in enumerate(pip.options.get("constraint", "").split()):
        path = Path(word)
        if path.is_file():
            name = f"constraints-{number}.txt"
            files.append(context.BuildFile(f"build/{name}", path.read_bytes()))
            word = f"{context.BUILD_DIRECTORY}/{name}"
        names.append(word)
    return pip.pip_conf(**({"constraint": " ".join(names)} if names else {})), files


def _certificates(pip: PipSettings) -> Iterator[context.BuildFile]:
    if pip.certificates is None:
        return
    try:
        yield context.BuildFile("build/ca.pem", pip.certificates.read_bytes())
    except OSError as error:
        raise InvalidSpec(
            f"the file of trusted certificates must be readable, {pip.certificates} is not: "
            f"{error.strerror}; correct PIP_CERT"
        ) from None


@contextmanager
def _context(
    dockerfile: str, files: Iterable[context.BuildFile], source: Path | None, below: str
) -> Iterator[IO[bytes]]:
    """Pack a build context; the source is checked member by member on its way."""
    with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for file in [context.BuildFile("Dockerfile", dockerfile.encode()), *files]:
                header = tarfile.TarInfo(file.name)
                header.size = len(file.content)
                header.mtime = FIXED_TIME
                archive.addfile(header, io.BytesIO(file.content))
            if source is not None:
                with source.open("rb") as stream:
                    _add_source(archive, stream, source.name, below)
        packed.seek(0)
        yield packed


def _add_source(archive: tarfile.TarFile, stream: Any, label: str, below: str) -> None:
    top = tarfile.TarInfo(below)
    top.type, top.mode, top.mtime = tarfile.DIRTYPE, 0o755, FIXED_TIME
    archive.addfile(top)
    reader = ArchiveReader(stream, f"archive {label}", SOURCE_LIMITS)
    for member in reader.members():
        header = header_of(member)
        header.name = f"{below}/{header.name}"
        archive.addfile(header, reader.stream())


@contextmanager
def _engine_errors(what: str) -> Iterator[None]:
    """Turn what the Docker SDK raises into errors that say what to do."""
    try:
        import docker
        import requests  # noqa: PLC0415 - comes with the Docker SDK
    except ImportError:
        raise ImageError(
            "images need the Docker SDK; install it: pip install 'orchestrator[docker]'"
        ) from None
    try:
        yield
    except docker.errors.APIError as error:
        text = error.explanation or str(error)
        raise ImageError(f"{what} was refused by the Docker engine: {text}") from None
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineUnreachable(
            f"the Docker engine must answer, it does not: {error}; start it or set DOCKER_HOST"
        ) from None
