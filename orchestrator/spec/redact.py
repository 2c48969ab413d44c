"""Hides values whose names say that they are secret, wherever a specification is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.spec.job import TrainingJobSpec
    from orchestrator.spec.record import TrainingJobRecord
    from orchestrator.spec.tuned import TuningJobRecord

HIDDEN = "***"

MIN_MASKED_CHARACTERS = 8
"""Shorter values are too often words: hiding each ``gpt2`` would make a log unreadable."""
MIN_MASKED_PASSWORD = 6
"""The same behind SECRET, PASSWORD and CREDENTIAL, which are seldom said of anything else."""

_ALWAYS_SECRET = re.compile(r"secret|passw(?:or)?d|credential", re.IGNORECASE)
# A word that ends in TOKEN or KEY: neither a tokenizer nor a keyboard.
_OFTEN_SECRET = re.compile(r"(?:[Tt]oken|[Kk]ey)s?(?![a-z])|(?:TOKEN|KEY)S?(?![A-Za-z])")
_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d*)?(?:e-?\d{1,3})?", re.IGNORECASE)


# What SageMaker's SDK calls so is a public key, which it reads again to check a function's result.
_PUBLIC = "REMOTE_FUNCTION_SECRET_KEY"


def is_secret_name(name: str) -> bool:
    """Return whether a name says SECRET, TOKEN, PASSWORD, KEY or CREDENTIAL, in any case."""
    return name != _PUBLIC and bool(_ALWAYS_SECRET.search(name) or _OFTEN_SECRET.search(name))


def redacted_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of secret names hidden."""
    return {name: HIDDEN if is_secret_name(name) else value for name, value in values.items()}


def redacted_hyper_parameters(values: Mapping[str, str]) -> dict[str, str]:
    """Return hyperparameters with the values of secret names hidden, also inside JSON values.

    A number behind TOKEN or KEY counts something (``max_tokens``, ``num_key_value_heads``) and is
    shown.
    """
    return {name: _shown(name, value) for name, value in values.items()}


def redacted_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return a command line with secret values hidden.

    Understands ``--name=value``, ``NAME=value`` and ``--name value``.
    """
    if not is_secret_name(" ".join(arguments)):
        return tuple(arguments)
    shown: list[str] = []
    option = ""  # the secret option before, whose value comes next
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if option and not argument.startswith("-"):
            shown.append(_shown(option, argument))
        elif separator and " " not in name and is_secret_name(name):
            shown.append(f"{name}={_shown(name, value)}")
        else:
            shown.append(argument)
        option = argument if _is_secret_option(argument) else ""
    return tuple(shown)


def shown_address(url: str) -> str:
    """Return a web address without what lets others post to it: user, path and query."""
    scheme, _, rest = url.partition("://")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return f"{scheme}://{place.rpartition('@')[2]}/{HIDDEN}"


def redacted_spec(spec: TrainingJobSpec) -> TrainingJobSpec:
    """Return a specification that can be shown: the same object when it hides nothing."""
    changes: dict[str, Any] = {}
    if spec.create_request is not None:  # what it says is said by the rest, with secrets hidden
        changes["create_request"] = None
    if is_secret_name(" ".join(spec.environment)):
        changes["environment"] = redacted_environment(spec.environment)
    given = spec.hyper_parameters
    if is_secret_name(" ".join([*given, *given.values()])):  # seldom; the rest is slow
        hyper_parameters = redacted_hyper_parameters(given)
        if hyper_parameters != given:
            changes["hyper_parameters"] = hyper_parameters
    algorithm = spec.algorithm_specification
    command = {
        field: redacted_arguments(arguments)
        for field in ("container_entrypoint", "container_arguments")
        if (arguments := getattr(algorithm, field)) is not None
    }
    if any(shown != getattr(algorithm, field) for field, shown in command.items()):
        changes["algorithm_specification"] = algorithm.model_copy(update=command)
    source = spec.source_code
    if source is not None and (shown := redacted_arguments(source.arguments)) != source.arguments:
        changes["source_code"] = source.model_copy(update={"arguments": shown})
    debugger = spec.debugger
    if debugger is not None and debugger.webhook is not None:
        shown_webhook = shown_address(debugger.webhook)
        changes["debugger"] = debugger.model_copy(update={"webhook": shown_webhook})
    return spec.model_copy(update=changes) if changes else spec


def redacted_record(record: TrainingJobRecord) -> TrainingJobRecord:
    """Return a job's record that can be shown: the same object when it hides nothing."""
    spec = redacted_spec(record.spec)
    return record if spec is record.spec else record.model_copy(update={"spec": spec})


def redacted_tuning(record: TuningJobRecord) -> TuningJobRecord:
    """Return a tuning job's record that can be shown: the same object when it hides nothing."""
    spec = record.spec
    shown = tuple(
        each.model_copy(update={"job": job})
        if (job := redacted_spec(each.job)) is not each.job
        else each
        for each in spec.definitions
    )
    changes: dict[str, Any] = {"definitions": shown} if shown != spec.definitions else {}
    if spec.create_request is not None:
        changes["create_request"] = None
    if not changes:
        return record
    return record.model_copy(update={"spec": spec.model_copy(update=changes)})


def masked_values(spec: TrainingJobSpec) -> tuple[str, ...]:
    """Return the values that are hidden in a job's output, too, beside those of its secrets.

    These are the values that ``redacted_spec`` hides, less those that output may well have for
    other reasons: short ones, and numbers unless the name leaves no doubt. The wish for a secret
    that is masked whatever it looks like (from 4 bytes on) is a name in ``secrets``.
    """
    found = [(n, value) for n, value in spec.environment.items() if is_secret_name(n)]
    for name, value in spec.hyper_parameters.items():
        shown = _shown(name, value)
        if shown == HIDDEN:
            found.append((name, value))
        elif shown != value:
            found.extend(_hidden_members(json.loads(value)))
    algorithm, source = spec.algorithm_specification, spec.source_code
    for arguments in (
        algorithm.container_entrypoint or (),
        algorithm.container_arguments or (),
        source.arguments if source else (),
    ):
        found.extend(_hidden_arguments(arguments))
    return tuple(dict.fromkeys(value for name, value in found if _is_masked(name, value)))


def _is_masked(name: str, value: str) -> bool:
    if not _ALWAYS_SECRET.search(name):
        return len(value) >= MIN_MASKED_CHARACTERS and not _NUMBER.fullmatch(value)
    is_word = not _NUMBER.fullmatch(value)
    return len(value) >= (MIN_MASKED_PASSWORD if is_word else MIN_MASKED_CHARACTERS)


def _hidden_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of what is hidden when a command line is shown."""
    before = ""
    for given, shown in zip(arguments, redacted_arguments(arguments), strict=True):
        if shown == HIDDEN:
            yield before, given
        elif shown != given:
            name, _, value = given.partition("=")
            yield name, value
        before = given


def _hidden_members(value: Any) -> Iterator[tuple[str, str]]:
    """Yield name and text of what is hidden when a JSON value is shown."""
    if isinstance(value, list):
        for item in value:
            yield from _hidden_members(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if _member(name, item) == HIDDEN:
                yield name, str(item)
            else:
                yield from _hidden_members(item)


def _is_secret_option(argument: str) -> bool:
    return argument.startswith("-") and "=" not in argument and is_secret_name(argument)


def _shown(name: str, value: str) -> str:
    if is_secret_name(name):
        counts = not _ALWAYS_SECRET.search(name) and _NUMBER.fullmatch(value)
        return value if counts else HIDDEN
    if value.startswith(("{", "[")) and is_secret_name(value):
        return _shown_json(value)
    return value


def _shown_json(text: str) -> str:
    """Return JSON with secret members hidden; text that is none is returned as it is."""
    try:
        value = json.loads(text)
        shown = _walk(value)
        return text if shown == value else json.dumps(shown)
    except ValueError:
        return text
    except RecursionError:
        return HIDDEN  # too deep to look into, and it may hold a secret


def _walk(value: Any) -> Any:
    if isinstance(value, list):
        return [_walk(item) for item in value]
    if isinstance(value, dict):
        return {name: _member(name, item) for name, item in value.items()}
    return value


def _member(name: str, value: Any) -> Any:
    if isinstance(value, dict | list) or not is_secret_name(name):
        return _walk(value)
    if isinstance(value, bool | int | float) and not _ALWAYS_SECRET.search(name):
        return value
    return value if value is None else HIDDEN
