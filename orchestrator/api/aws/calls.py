"""Calls of operations, after the signature: input from the body, handler, answer in its form."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from orchestrator.api.aws import names as table
from orchestrator.api.aws.caller import Caller
from orchestrator.api.aws.errors import AwsError, from_ours, internal_failure, unknown_operation
from orchestrator.api.aws.forms import Form
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.model import Model, Models, Operation
from orchestrator.api.aws.operations import Answers, Gathered, Handler, Input, Operations
from orchestrator.api.aws.parse import load_json, parse_json
from orchestrator.api.aws.parse_query import parse_query
from orchestrator.api.aws.refusals import Refusal, refused
from orchestrator.api.aws.validate import VALIDATION, validate
from orchestrator.errors import OrchestratorError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One operation, asked for by somebody whose signature holds.

    Attributes:
        service: botocore's name.
        operation: As the client wrote it; may not exist.
        body: As it came, unpacked.
        caller: Who asks.
        form: How the answer looks.
        parameters: Of the query protocol; None where the body is JSON.
    """

    service: str
    operation: str
    body: bytes
    caller: Caller
    form: Form
    parameters: tuple[tuple[str, str], ...] | None = None


def worded(error: Exception, request_id: str) -> AwsError:
    """Return an error as it is answered; of a fault of ours, only the log says more."""
    if isinstance(error, AwsError):
        return error
    shown = from_ours(error) if isinstance(error, OrchestratorError) else internal_failure()
    if shown.status >= 500:
        logger.error("AWS request %s failed", request_id, exc_info=error)
    return shown


class Calls:
    """Answers calls. Its methods block: run them in a thread.

    Args:
        services: What is served, by botocore's name.
        access: What jobs may do with the key that they get.
    """

    def __init__(self, services: Mapping[str, Operations], access: JobAccess) -> None:
        self._handlers = {name: service.handlers() for name, service in services.items()}
        self._names = table.served_names(services)
        self._models = Models(self._handlers)
        self._access = access

    @property
    def names(self) -> Sequence[str]:
        """All that is served, as it is told to who asks for something else."""
        return self._names

    @property
    def gathered(self) -> list[tuple[str, str]]:
        """Service and name of the operations whose calls are better answered together."""
        return [
            (service, operation)
            for service, handlers in self._handlers.items()
            for operation, handler in handlers.items()
            if isinstance(handler, Gathered)
        ]

    def rest_operation(self, service: str, method: str, path: str) -> str:
        """Return the operation that a method and a path mean, both as they are if none."""
        asked = f"{method} {path}"
        if service not in self._handlers:
            return asked
        operations = self._models.of(service).operations.values()
        found = (o.name for o in operations if f"{o.method} {o.uri}" == asked)
        return next(found, asked)

    def perform(self, call: Call) -> Response:
        """Return the answer to a call, also to one that fails in a way that is foreseen."""
        try:
            handler = self._handler(call)
            output = handler(self._input(call), call.caller)
        except (AwsError, OrchestratorError) as error:
            return self._refusal(call, error)
        return self._output(call, output)

    def perform_together(self, calls: Sequence[Call]) -> list[Response | None]:
        """Return the answers to calls of one of the ``gathered`` operations, in order.

        None stands for one that would hold up the others: it is to be performed alone.
        """
        handler = self._handler(calls[0])
        assert isinstance(handler, Gathered)
        answers: list[Response | None] = [None] * len(calls)
        inputs = []
        for place, call in enumerate(calls):
            try:
                inputs.append((place, (self._input(call), call.caller)))
            except Exception as error:  # noqa: BLE001  # this one's answer, whatever it is
                answers[place] = self._refusal(call, error)
        outputs = self._together(handler, [given for _, given in inputs], calls[0])
        for (place, _), output in zip(inputs, outputs, strict=True):
            answers[place] = self._answer(calls[place], output)
        return answers

    def _together(self, handler: Gathered, inputs: Sequence[Input], first: Call) -> Answers:
        """Return all outputs; what stops all is everybody's answer, a fault of ours nobody's."""
        try:
            return handler.together(inputs)
        except OrchestratorError as error:
            return [worded(error, first.form.request_id)] * len(inputs)
        except Exception:
            logger.exception("AWS requests as %s failed together", first.form.request_id)
            return [None] * len(inputs)

    def _refusal(self, call: Call, error: Exception) -> Response:
        is_served = call.operation in self._handlers.get(call.service, {})
        model = self._models.of(call.service) if is_served else None
        return call.form.error(worded(error, call.form.request_id), model)

    def _handler(self, call: Call) -> Handler:
        handler = self._handlers.get(call.service, {}).get(call.operation)
        if handler is None:
            raise unknown_operation(f"{call.service}:{call.operation}"[:200], self._names)
        return handler

    def _input(self, call: Call) -> dict[str, Any]:
        """Return a call's input, valid by the model.

        Raises:
            AwsError: It is not valid, or the caller may not ask for it.
        """
        model = self._models.of(call.service)
        if call.caller.service != model.signing_name:
            raise refused(Refusal.WRONG_SERVICE, call.form.dialect)
        self._access.check(call.caller.access_key, call.service, call.operation)
        operation = model.operations[call.operation]
        return {} if operation.input is None else _parsed(operation, call)

    def _answer(self, call: Call, output: dict[str, Any] | Exception | None) -> Response | None:
        if output is None:
            return None
        try:
            if isinstance(output, Exception):
                return self._refusal(call, output)
            return self._output(call, output)
        except Exception as error:  # noqa: BLE001  # this one's answer
            return self._refusal(call, error)

    def _output(self, call: Call, output: dict[str, Any]) -> Response:
        model: Model = self._models.of(call.service)
        return call.form.output(model, model.operations[call.operation], output)


def _parsed(operation: Operation, call: Call) -> dict[str, Any]:
    assert operation.input is not None
    if call.parameters is not None:
        given = parse_query(call.parameters, operation.input)
    else:
        given = parse_json(load_json(call.body), operation.input)
    validate(given, operation.input, table.VALIDATION_CODES.get(call.service, VALIDATION))
    return given
