"""What every value of the vocabulary shares."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import InvalidSpec


class Spec(BaseModel):
    """A frozen value that users write: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Build the value from plain data.

        Raises:
            InvalidSpec: When a rule is broken; one message names every broken rule.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidSpec(describe_violations(error)) from error


class Saved(BaseModel):
    """A frozen value that this program wrote itself: unknown fields of newer writers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


def describe_violations(error: ValidationError) -> str:
    """Return one message that names rule, place and value of every violation."""
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in item["loc"]) or "specification"
        rule = item["msg"].removeprefix("Value error, ")
        value = (
            "" if item["type"] in {"missing", "value_error"} else f", got {_short(item['input'])}"
        )
        lines.append(f"{where}: {rule}{value}")
    count = len(lines)
    return f"{count} rule{'s' if count > 1 else ''} of the specification broken: " + "; ".join(
        lines
    )


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
