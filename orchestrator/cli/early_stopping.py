"""From ``--early-stop`` of ``orchestrator run`` to what is asked for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from orchestrator.spec.early import EarlyStopping


def early_stopping(given: EarlyStopping | None, words: str | None) -> EarlyStopping | None:
    """Return when the run is ended early; None = never.

    Args:
        given: That of the job file.
        words: ``METRIC,NAME=VALUE,...``; replaces it.

    Raises:
        InvalidSpec: A name or value is not one of those that exist.
    """
    if words is None:
        return given
    from orchestrator.spec.early import EarlyStopping

    metric, *rest = (word.strip() for word in words.split(","))
    if "=" in metric or not metric:
        raise InvalidSpec(
            f"--early-stop must begin with a metric, got {words!r}; write "
            "--early-stop validation:loss,patience=5"
        )
    known = [name for name in EarlyStopping.model_fields if name != "metric"]
    fields: dict[str, Any] = {"metric": metric}
    for word in rest:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            shown = ", ".join(name.replace("_", "-") for name in known)
            raise InvalidSpec(
                f"--early-stop takes NAME=VALUE of {shown} after its metric, got {word!r}; "
                "correct that part"
            )
        if name in fields:
            raise InvalidSpec(
                f"--early-stop takes {name.replace('_', '-')} once, got {word!r} as well; "
                "leave one out"
            )
        fields[name] = value.strip()
    return EarlyStopping.parse(fields)
