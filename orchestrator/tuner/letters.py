"""Questions and answers as lines of JSON, between the service and the process that searches."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter

from orchestrator.spec.ranges import Parameter
from orchestrator.tuner.points import Point, Question

_PARAMETERS: TypeAdapter[tuple[Parameter, ...]] = TypeAdapter(tuple[Parameter, ...])


def question_line(number: int, question: Question) -> bytes:
    """Return a question as a line."""
    members = {field.name: getattr(question, field.name) for field in fields(question)}
    members["parameters"] = _PARAMETERS.dump_python(question.parameters, mode="json")
    members["points"] = [asdict(point) for point in question.points]
    return _line({"number": number, "question": members})


def read_question(line: bytes) -> tuple[int, Question]:
    """Return a question and its number."""
    letter = json.loads(line)
    members = letter["question"]
    points = tuple(
        Point(
            point["values"],
            None if point["losses"] is None else tuple(point["losses"]),
            tuple(point["excess"]),
        )
        for point in members.pop("points")
    )
    parameters = _PARAMETERS.validate_python(members.pop("parameters"))
    return letter["number"], Question(parameters=parameters, points=points, **members)


def answer_line(number: int, *, values: dict[str, str] | None = None, error: str = "") -> bytes:
    """Return an answer, or why there is none, as a line."""
    return _line({"number": number, "values": values, "error": error})


def read_answer(line: bytes) -> tuple[int, dict[str, str] | None, str]:
    """Return number, values and error of an answer."""
    letter = json.loads(line)
    return letter["number"], letter["values"], letter["error"]


def _line(letter: dict[str, Any]) -> bytes:
    return json.dumps(letter, separators=(",", ":")).encode() + b"\n"
