"""Every error this package raises, as one tree.

OrchestratorError
 ├─ InvalidSpec            what the user asked for breaks a rule (also a ValueError)
 │   └─ InputError         an input location or object is missing or hostile
 ├─ NotFound               no such job, host, metric or object (also a LookupError)
 ├─ AlreadyExists          the name or idempotency key is taken
 ├─ InvalidState           the operation does not fit the job's present status
 ├─ LimitExceeded          a quota, a size cap or free disk space is used up
 ├─ Unauthorized           missing or wrong token
 ├─ Unavailable            the service, store or engine cannot answer now; try again
 ├─ BackendError           a back end refused or failed
 │   ├─ CapacityUnavailable  the resources asked for do not exist on this machine
 │   ├─ ImageError           an image is missing, broken or cannot be built
 │   └─ EngineUnreachable    the container engine does not answer
 ├─ StaleLock              another driver or attempt owns the row now
 ├─ StoreError             the state store cannot be read or written
 │   └─ StoreDamaged         the database file is corrupt
 └─ JobFailed              raised by ``job.result()`` for a job that did not complete

A job that fails is a value (an end reason and a message), never an exception,
until a caller asks for its result.

Messages have three parts: the rule, the offending value and the remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class OrchestratorError(Exception):
    """Root of the tree.

    Attributes:
        code: Stable machine-readable name, used in REST and CLI ``--json`` answers.
        http_status: Status that the REST interface answers with.
        wire_name: Error name that the SageMaker wire interface answers with.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    wire_name: ClassVar[str] = "InternalFailure"

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}


class InvalidSpec(OrchestratorError, ValueError):
    """A rule of the specification is broken; the message names rule, value and remedy."""

    code = "invalid_spec"
    http_status = 400
    wire_name = "ValidationException"


class InputError(InvalidSpec):
    """An input location is missing, unreadable or hostile."""

    code = "input_error"


class NotFound(OrchestratorError, LookupError):
    """The named thing does not exist."""

    code = "not_found"
    http_status = 404
    wire_name = "ResourceNotFound"


class AlreadyExists(OrchestratorError):
    """The name, or the idempotency key with another request, is taken."""

    code = "already_exists"
    http_status = 409
    wire_name = "ResourceInUse"


class InvalidState(OrchestratorError):
    """The operation does not fit the present status."""

    code = "invalid_state"
    http_status = 409
    wire_name = "ValidationException"


class LimitExceeded(OrchestratorError):
    """A quota, cap or the free space of the disk is used up."""

    code = "limit_exceeded"
    http_status = 507
    wire_name = "ResourceLimitExceeded"


class Unauthorized(OrchestratorError):
    """The token is missing or wrong."""

    code = "unauthorized"
    http_status = 401
    wire_name = "UnrecognizedClientException"


class Unavailable(OrchestratorError):
    """Nothing is wrong with the request; the other side cannot answer now."""

    code = "unavailable"
    http_status = 503
    wire_name = "ServiceUnavailable"


class BackendError(OrchestratorError):
    """A back end refused a request or failed while serving it."""

    code = "backend_error"
    http_status = 502


class CapacityUnavailable(BackendError):
    """This machine can never satisfy the resources asked for."""

    code = "capacity"
    http_status = 409
    wire_name = "ResourceLimitExceeded"


class ImageError(BackendError):
    """An image is missing, is of the wrong architecture or cannot be built."""

    code = "image_error"
    http_status = 400
    wire_name = "ValidationException"


class EngineUnreachable(BackendError):
    """The container engine does not answer; nothing is concluded about its containers."""

    code = "engine_unreachable"
    http_status = 503
    wire_name = "ServiceUnavailable"


class StaleLock(OrchestratorError):
    """The lock token is no longer valid; the result that came with it is dropped."""

    code = "stale_lock"
    http_status = 409


class StoreError(OrchestratorError):
    """The state store cannot be read or written now."""

    code = "store_error"
    http_status = 503
    wire_name = "ServiceUnavailable"


class StoreDamaged(StoreError):
    """The database is corrupt; nothing was changed. The message names the newest backup."""

    code = "store_damaged"


class JobFailed(OrchestratorError):
    """A job whose result was asked for did not complete.

    Attributes:
        explanation: The structured explanation (reason, exit code, last lines, hint).
    """

    code = "job_failed"
    http_status = 409

    def __init__(self, message: str, *, explanation: dict[str, Any] | None = None) -> None:
        super().__init__(message, details=explanation)
        self.explanation = explanation or {}


def _subclasses(cls: type[OrchestratorError]) -> list[type[OrchestratorError]]:
    found = [cls]
    for child in cls.__subclasses__():
        found.extend(_subclasses(child))
    return found


def error_from_code(
    code: str, message: str, details: dict[str, Any] | None = None
) -> OrchestratorError:
    """Rebuild the error that the other side of a transport raised.

    Args:
        code: ``OrchestratorError.code`` as sent by the other side.
        message: Its message.
        details: Its details.
    """
    for cls in _subclasses(OrchestratorError):
        if cls.code != code:
            continue
        if cls is JobFailed:
            return JobFailed(message, explanation=details)
        return cls(message, details=details)
    return OrchestratorError(message, details=details)


def no_artifact(name: str, kind: str, artifacts: Iterable[str], status: str) -> NotFound:
    """Return the error for an artifact that a job does not have."""
    there = ", ".join(sorted(artifacts))
    said = f"it has {there}" if there else "its program saved nothing"
    if not there and status == "InProgress":
        said = "artifacts come at its end"
    return NotFound(f"training job {name!r} has no {kind} artifact; {said} (status {status})")
