"""The image map: what stands on this machine for an image that a request names.

A rule has a pattern (``*`` matches anything) and says which image of the local engine, or which
interpreter of the process back end, takes the place of the images it matches. The first rule that
fits counts; the user's come before those that are shipped.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from orchestrator.errors import ImageError, InvalidSpec
from orchestrator.spec.base import Spec
from orchestrator.spec.violations import violations_text

if TYPE_CHECKING:
    from collections.abc import Callable

FILE_NAME = "images.toml"
DEFAULT_PYTHON = "default"
"""Stands for the interpreter that jobs get which name none."""

Preference = Literal["auto", "process", "docker"]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class ImageRule(Spec):
    """What stands for the images that a pattern matches."""

    pattern: _Text
    """Shell pattern over the whole reference, case counts."""
    docker: _Text | None = None
    """Image of the local engine; ``{name}`` and ``{tag}`` are those of the reference."""
    process: _Text | None = None
    """Interpreter of the process back end: a path, or ``default``."""
    if_present: bool = False
    """``docker`` counts only where the engine has that image."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.docker is None and self.process is None:
            raise ValueError(
                f"a rule must have docker or process, the one for {self.pattern!r} has neither; "
                "add one"
            )
        return self


class _File(Spec):
    image: tuple[ImageRule, ...] = Field(default=(), max_length=1000)


@dataclass(frozen=True)
class Target:
    """Where a job runs.

    Attributes:
        backend: ``process`` or ``docker``.
        image: Image of the local engine; None on the process back end.
        python: Interpreter of the process back end; None = the default one.
    """

    backend: str
    image: str | None = None
    python: str | None = None


_REGISTRY = "*.dkr.ecr.*.amazonaws.com*"
_PUBLIC = "public.ecr.aws/deep-learning-containers"
_BASE, _PYTORCH, _TENSORFLOW = (
    f"orchestrator/{name}" for name in ("base", "pytorch", "tensorflow")
)
_OF_AWS = {
    f"{_REGISTRY}/pytorch-training[:@]*": _PYTORCH,
    f"{_REGISTRY}/tensorflow-training[:@]*": _TENSORFLOW,
    f"{_REGISTRY}/huggingface-pytorch-training[:@]*": _PYTORCH,
    f"{_REGISTRY}/huggingface-tensorflow-training[:@]*": _TENSORFLOW,
    f"{_REGISTRY}/sagemaker-pytorch[:@]*": _PYTORCH,
    f"{_REGISTRY}/sagemaker-tensorflow-scriptmode[:@]*": _TENSORFLOW,
    f"{_REGISTRY}/sagemaker-base-python*": _BASE,
    f"{_REGISTRY}/sagemaker-distribution-prod[:@]*": _PYTORCH,
    f"{_REGISTRY}/sagemaker-scikit-learn[:@]*": _PYTORCH,
    f"{_REGISTRY}/sagemaker-xgboost[:@]*": _PYTORCH,
    f"{_PUBLIC}/tensorflow-training[:@]*": _TENSORFLOW,
    f"{_PUBLIC}/*-training[:@]*": _PYTORCH,
    "public.ecr.aws/sagemaker/sagemaker-distribution[:@]*": _PYTORCH,
}
SHIPPED = tuple(
    ImageRule(pattern=pattern, docker=image, process=DEFAULT_PYTHON, if_present=True)
    for pattern, image in _OF_AWS.items()
)
"""AWS's images for Python training: their scripts run in the image that containers/images builds,
where the engine has it, else in the service's own environment."""


def load(home: Path) -> tuple[ImageRule, ...]:
    """Return all rules: those of ``images.toml`` in the home directory, then the shipped ones.

    Raises:
        InvalidSpec: The file is no TOML, or a rule is broken.
    """
    path = home / FILE_NAME
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return SHIPPED
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path} must be TOML: {error}; correct it") from error
    try:
        return _File.model_validate(given).image + SHIPPED
    except ValidationError as error:
        raise InvalidSpec(f"{path}: {violations_text(error.errors(), 'image map')}") from error


def resolve(
    image: str,
    rules: tuple[ImageRule, ...],
    prefer: Preference,
    *,
    is_present: Callable[[str], bool],
) -> Target:
    """Return what runs for an image.

    An image that is here by its own name needs no rule.

    Args:
        image: Reference as it was asked for.
        rules: In the order in which they count.
        prefer: ``auto`` takes what is there, the container first.
        is_present: Whether the local engine has an image.

    Raises:
        ImageError: Nothing on this machine stands for it.
    """
    rule = next((each for each in rules if fnmatchcase(image, each.pattern)), None)
    mapped = None if rule is None or rule.docker is None else _filled(rule.docker, image)
    if prefer != "process":
        if mapped is not None and not (rule and rule.if_present and not is_present(mapped)):
            return Target("docker", image=mapped)
        if is_present(image):
            return Target("docker", image=image)
    if prefer != "docker" and rule is not None and rule.process is not None:
        python = None if rule.process == DEFAULT_PYTHON else rule.process
        return Target("process", python=python)
    built = f", or build {mapped!r}, which would stand for it" if mapped is not None else ""
    raise ImageError(
        f"an image must be on this machine or in the image map, {image!r} is neither"
        f"{'' if prefer == 'auto' else f' for the {prefer} back end'}; load it into the engine"
        f"{built if prefer == 'docker' else ''}, or add a rule to {FILE_NAME} in the home directory"
    )


def _filled(text: str, image: str) -> str:
    """Return an image name with name and tag of another one filled in."""
    reference = image.partition("@")[0]
    name, _, tag = reference.rpartition("/")[2].partition(":")
    return text.replace("{name}", name).replace("{tag}", tag or "latest")
