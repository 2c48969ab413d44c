"""Errors as AWS words them. Each protocol writes the same value in its own form."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import OrchestratorError


class AwsError(Exception):
    """A request is answered with an error.

    Attributes:
        code: AWS's name of the kind of error; clients branch on it.
        message: AWS's text where it has one.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def validation_error(message: str) -> AwsError:
    """Return the error for a request that breaks a rule of the model or of the service."""
    return AwsError("ValidationException", message)


def serialization_error(message: str) -> AwsError:
    """Return the error for a body that cannot be read as what the operation takes."""
    return AwsError("SerializationException", message)


def unknown_operation(asked: str, served: Iterable[str]) -> AwsError:
    """Return the error for an operation that does not exist here; status 400 ends all retries."""
    names = ", ".join(sorted(served))
    return AwsError(
        "UnknownOperationException", f"{asked} is not served here; served are: {names or 'none'}"
    )


def throttled(message: str = "Rate exceeded") -> AwsError:
    """Return the error that makes every SDK wait and try again."""
    return AwsError("ThrottlingException", message)


def request_too_large(most: int) -> AwsError:
    """Return the error for a body above the limit."""
    return AwsError(
        "RequestEntityTooLargeException", f"the request may have at most {most:,} bytes", 413
    )


def internal_failure() -> AwsError:
    """Return the answer to a fault of ours, which says nothing of it; the log does."""
    return AwsError(
        "InternalFailure",
        "The request processing has failed because of an unknown error, exception or failure.",
        500,
    )


def from_ours(error: OrchestratorError) -> AwsError:
    """Return one of our errors as AWS would name it; the classes themselves hold the table."""
    if error.wire_name == OrchestratorError.wire_name:
        return internal_failure()
    status = 503 if error.wire_name == "ServiceUnavailable" else 400
    return AwsError(error.wire_name, error.message, status)
