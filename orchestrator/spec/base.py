"""What every value of the vocabulary shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import InvalidSpec
from orchestrator.spec.violations import violations_text


class _Named(type(BaseModel)):  # type: ignore[misc]  # pydantic's metaclass has no public name
    """Makes a value that is built by hand fail as ``parse`` does."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise InvalidSpec(describe_violations(error, cls.__name__)) from error


if TYPE_CHECKING:
    _Values = BaseModel
else:

    class _Values(BaseModel, metaclass=_Named):
        """Where the metaclass comes in."""


class Spec(_Values):
    """A frozen value that users write: unknown fields are refused.

    Raises:
        InvalidSpec: A rule is broken; one message names every broken rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    kind: ClassVar[str] = "specification"
    """What messages call it."""

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Build the value from plain data.

        Raises:
            InvalidSpec: When a rule is broken; one message names every broken rule.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidSpec(describe_violations(error, cls.kind)) from error


class Saved(BaseModel):
    """A frozen value that this program wrote itself: unknown fields of newer writers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


def describe_violations(error: ValidationError, kind: str = Spec.kind) -> str:
    """Return one message that names place, rule, value and remedy of every violation.

    Values that may be secret are not repeated.
    """
    return violations_text(error.errors(include_url=False), kind)
