"""What an image build is told: Dockerfile texts, file lists and digests. Pure.

Two images are made, because they change at different times. The environment image is the base
image plus requirements, installed by the runtime's own ``install.py`` as in a job; it is built in
a stage of its own, so that certificates and pip settings (which may hold passwords) are in no
layer of the result. The program image is that plus the source, and is what a job runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import InvalidSpec

BUILD_DIRECTORY = "/opt/orchestrator-build"
ENVIRONMENT_DIRECTORY = "/opt/orchestrator-environment"
PROGRAM_DIRECTORY = "/opt/program"
DIGEST_LABEL = "orchestrator.digest"
KIND_LABEL = "orchestrator.image"
STAGE_LABEL = "orchestrator.stage"
FORMAT = 1
_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class BuildFile:
    """A file of the build context."""

    name: str
    content: bytes


def image_tag(name: str, digest: str) -> str:
    """Return the tag of an image.

    Raises:
        InvalidSpec: The name is not one that Docker takes.
    """
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise InvalidSpec(
            "an image name must be lower-case letters and digits, joined by `.`, `_` or `-`, "
            f"got {name!r}"
        )
    return f"orchestrator/{name}:{digest[:12]}"


def environment_digest(base_id: str, requirements: str, installer: bytes, source: str) -> str:
    """Return the digest of an environment image.

    Args:
        base_id: Content digest of the base image.
        requirements: Text of the requirements file, normalised.
        installer: The program that installs them, and what it puts beside them.
        source: Content digest of the source if the requirements name files of it, else empty.
    """
    return _digest(
        "environment", base_id, requirements, hashlib.sha256(installer).hexdigest(), source
    )


def program_digest(base_id: str, source: str, entry_script: str) -> str:
    """Return the digest of a program image.

    Args:
        base_id: Content digest of the image it is built upon.
        source: Content digest of the source.
        entry_script: The program's file in it.
    """
    return _digest("program", base_id, source, entry_script)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *parts]).encode()).hexdigest()


def environment_dockerfile(
    base: str, stage: str, *, requirements: str, python: str = "python3", trusts: bool = False
) -> str:
    """Return the Dockerfile of an environment image.

    The build context has ``build/`` with install.py, the debugger's .pth, pip.conf, the
    certificates (ca.pem) if ``trusts``, and the requirements file below ``build/source/``.

    Args:
        base: The base image.
        stage: Marks the images of the first stage, so that they can be removed.
        requirements: Name of the requirements file.
        python: The base image's interpreter.
        trusts: Whether the build has its own certificates.
    """
    settings = {"PIP_CONFIG_FILE": f"{BUILD_DIRECTORY}/pip.conf", "PIP_NO_CACHE_DIR": "1"}
    if trusts:
        settings |= dict.fromkeys(
            ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), f"{BUILD_DIRECTORY}/ca.pem"
        )
    venv = f"{ENVIRONMENT_DIRECTORY}/venv"
    step = [python, f"{BUILD_DIRECTORY}/install.py", ENVIRONMENT_DIRECTORY, requirements]
    return _text(
        f"FROM {base} AS build",
        f"LABEL {STAGE_LABEL}={_quoted(stage)}",
        "USER root",
        f"COPY build/ {BUILD_DIRECTORY}/",
        f"ENV {_pairs(settings)}",
        f"WORKDIR {BUILD_DIRECTORY}/source",
        f"RUN {json.dumps(step)}",
        f"FROM {base}",
        f"COPY --from=build {venv} {venv}",
        f"ENV PATH={venv}/bin:$PATH VIRTUAL_ENV={venv}",
    )


def program_dockerfile(base: str, entry_script: str) -> str:
    """Return the Dockerfile of a program image; the build context has the source in ``source/``.

    The variables are those by which SageMaker's training toolkit, and our runtime, find a
    program; /opt/ml would be the usual place, but a job's own /opt/ml hides it.

    Args:
        base: Base or environment image.
        entry_script: The program's file in the source.
    """
    shell = "bash" if entry_script.endswith(".sh") else "python3"
    settings = {"SAGEMAKER_PROGRAM": entry_script, "SAGEMAKER_SUBMIT_DIRECTORY": PROGRAM_DIRECTORY}
    return _text(
        f"FROM {base}",
        f"COPY source/ {PROGRAM_DIRECTORY}/",
        f"ENV {_pairs(settings)}",
        f"WORKDIR {PROGRAM_DIRECTORY}",
        f"CMD {json.dumps([shell, entry_script])}",
    )


def _pairs(settings: Mapping[str, str]) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in settings.items())


def _quoted(value: str) -> str:
    """Quote a value for ENV and LABEL, where variables would be expanded."""
    if any(ord(character) < 32 for character in value):
        raise InvalidSpec(f"a name in an image must not have control characters, got {value!r}")
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"
