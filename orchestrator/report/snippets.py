"""How to run a job again, as words for the shell and as Python: pure functions of its spec."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.spec.redact import is_secret_name

if TYPE_CHECKING:
    from orchestrator.spec.job import SourceArchive, StoppingCondition, TrainingJobSpec

LINE = 88
LOCAL = "local"
FLAGS = frozenset({"--network-isolation"})


def shell_words(spec: TrainingJobSpec) -> list[str]:
    """Return the ``orchestrator run`` command that asks for the same, as an argv.

    Values of variables with secret names are left out: they are taken from the environment.
    """
    words = ["orchestrator", "run"]
    source = spec.source_code
    if source is not None:
        words += [".", "--entry-script", source.entry_script]
        words += ["--requirements", source.requirements] if source.requirements else []
    words += list(_where(spec))
    for name, value in spec.hyper_parameters.items():
        words += ["-H", f"{name}={value}"]
    for name, value in spec.environment.items():
        words += ["--env", name if is_secret_name(name) else f"{name}={value}"]
    for name in spec.secrets:
        words += ["--secret", name]
    for channel in spec.input_data_config:
        words += ["--channel", f"{channel.channel_name}={channel.uri}"]
    for metric in spec.algorithm_specification.metric_definitions:
        words += ["--metric", f"{metric.name}={metric.regex}"]
    for tag in spec.tags:
        words += ["--tag", f"{tag.key}={tag.value}"]
    rest = source.arguments if source else spec.algorithm_specification.container_arguments
    return [*words, "--", *rest] if rest else words


def _where(spec: TrainingJobSpec) -> Iterator[str]:
    """Yield the words that say where it runs and what it takes, less the defaults."""
    image = spec.algorithm_specification.training_image
    if image is not None:
        yield from ("--image", image)
    elif spec.python is not None:
        yield from ("--python", spec.python)
    config, resources = spec.resource_config, spec.resources
    numbers = {
        "--instance-type": config.instance_type if config.instance_type != LOCAL else None,
        "--instance-count": config.instance_count if config.instance_count > 1 else None,
        "--cpus": resources.cpus if resources.cpus != 1 else None,
        "--gpus": resources.gpus,
        "--memory-gib": resources.memory_gib,
        "--max-runtime": _limit(spec.stopping_condition),
        "--priority": spec.priority or None,
        "--output": spec.output_data_config.s3_output_path,
        "--checkpoints": spec.checkpoint_config.s3_uri if spec.checkpoint_config else None,
    }
    for option, value in numbers.items():
        if value is not None:
            yield from (option, f"{value:g}" if isinstance(value, float) else str(value))
    if spec.enable_network_isolation:
        yield "--network-isolation"


def _limit(condition: StoppingCondition) -> int | None:
    seconds = condition.max_runtime_in_seconds
    return None if seconds == type(condition)().max_runtime_in_seconds else seconds


def shell_command(spec: TrainingJobSpec) -> str:
    """Return that command, quoted, on several lines when it is long."""
    lines, line = [], ""
    for part in _parts(list(map(shlex.quote, shell_words(spec)))):
        if line and len(line) + len(part) > LINE:
            lines.append(line)
            line = "   "
        line = f"{line} {part}" if line else part
    return " \\\n".join([*lines, line])


def _parts(words: list[str]) -> Iterator[str]:
    """Yield what belongs on one line: a word, or an option with its value."""
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield " ".join([word, *rest])
        elif word.startswith("-") and word not in FLAGS:
            yield f"{word} {next(rest)}"
        else:
            yield word


def python_code(spec: TrainingJobSpec) -> str:
    """Return the same as a program that uses the SDK."""
    arguments = dict(_trainer_arguments(spec))
    lines = ["import os", ""] if any("os.environ" in text for text in arguments.values()) else []
    lines += [f"from orchestrator import {', '.join(_names(spec))}", "", "trainer = ModelTrainer("]
    lines += [f"    {name}={text}," for name, text in arguments.items()]
    return "\n".join([*lines, ")", "job = trainer.train()", "print(job.result())"]) + "\n"


def _names(spec: TrainingJobSpec) -> list[str]:
    names = ["Compute", "ModelTrainer"]
    names += ["InputData"] if spec.input_data_config else []
    names += ["SourceCode"] if spec.source_code else []
    return sorted(names)


def _trainer_arguments(spec: TrainingJobSpec) -> Iterator[tuple[str, str]]:
    """Yield keyword arguments of ModelTrainer with the text of their values, less the defaults."""
    algorithm = spec.algorithm_specification
    if spec.source_code is not None:
        yield "source_code", _source(spec.source_code)
    yield "compute", _call("Compute", _compute(spec))
    plain: dict[str, Any] = {
        "training_image": algorithm.training_image,
        "entrypoint": list(algorithm.container_entrypoint or ()),
        "arguments": list(algorithm.container_arguments or ()),
        "hyperparameters": dict(spec.hyper_parameters),
        "secrets": list(spec.secrets),
        "metric_definitions": [
            {"Name": metric.name, "Regex": metric.regex} for metric in algorithm.metric_definitions
        ],
        "tags": {tag.key: tag.value for tag in spec.tags},
        "priority": spec.priority,
        "enable_network_isolation": spec.enable_network_isolation,
    }
    yield from ((name, repr(value)) for name, value in plain.items() if value)
    if spec.environment:
        yield "environment", _environment(spec)
    if spec.input_data_config:
        channels = (
            _call("InputData", {"channel_name": c.channel_name, "data_source": c.uri})
            for c in spec.input_data_config
        )
        yield "input_data_config", f"[{', '.join(channels)}]"


def _source(source: SourceArchive) -> str:
    fields = {
        "source_dir": ".",
        "entry_script": source.entry_script,
        "requirements": source.requirements,
        "arguments": source.arguments or None,
    }
    return _call("SourceCode", fields)


def _compute(spec: TrainingJobSpec) -> dict[str, Any]:
    config, resources = spec.resource_config, spec.resources
    return {
        "instance_type": config.instance_type if config.instance_type != LOCAL else None,
        "instance_count": config.instance_count if config.instance_count > 1 else None,
        "cpus": resources.cpus if resources.cpus != 1 else None,
        "gpus": resources.gpus,
        "memory_gib": resources.memory_gib,
        "backend": spec.backend,
        "python": spec.python,
    }


def _environment(spec: TrainingJobSpec) -> str:
    parts = (
        f"{name!r}: " + (f"os.environ[{name!r}]" if is_secret_name(name) else repr(value))
        for name, value in spec.environment.items()
    )
    return f"{{{', '.join(parts)}}}"


def _call(name: str, fields: dict[str, Any]) -> str:
    given = (f"{key}={value!r}" for key, value in fields.items() if value is not None)
    return f"{name}({', '.join(given)})"


def spec_json(spec: TrainingJobSpec) -> str:
    """Return a specification as indented JSON, less its defaults."""
    data = spec.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(data, indent=2, ensure_ascii=False)
