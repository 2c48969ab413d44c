"""Services as botocore's model describes them: loaded when first asked for, only what is served."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

from orchestrator.api.aws.shapes import Shape, Shapes


@dataclass(frozen=True)
class Operation:
    """One operation of a service.

    Attributes:
        name: In the model and on the wire.
        input: What it takes; None = nothing.
        output: What it gives; None = nothing.
        method: HTTP method of the REST protocols.
        uri: Path of the REST protocols.
    """

    name: str
    input: Shape | None
    output: Shape | None
    method: str
    uri: str


@dataclass(frozen=True)
class Model:
    """What is served of one service.

    Attributes:
        service: botocore's name.
        protocol: What the newest clients speak: ``json``, ``query`` or ``rest-json``.
        json_version: ``1.0`` or ``1.1``.
        api_version: Date that the query protocol names.
        namespace: Of XML answers.
        signing_name: Service in a credential scope.
        target_prefix: Before the operation in ``X-Amz-Target``.
        operations: Those that are served, by name.
        query_errors: Old error code by name of the error, for services that left the query
            protocol and whose clients still look for the old codes.
    """

    service: str
    protocol: str
    json_version: str
    api_version: str
    namespace: str
    signing_name: str
    target_prefix: str
    operations: Mapping[str, Operation]
    query_errors: Mapping[str, str]


class Models:
    """The models of all services, each read from botocore's files once, when it is first needed.

    Args:
        served: Names of operations by botocore's name of the service.
    """

    def __init__(self, served: Mapping[str, Iterable[str]]) -> None:
        self._served = {service: frozenset(names) for service, names in served.items()}
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()

    def of(self, service: str) -> Model:
        """Return the model of a service that is served."""
        model = self._models.get(service)
        if model is None:
            with self._lock:
                model = self._models.get(service) or load(service, self._served[service])
                self._models[service] = model
        return model


def load(service: str, operations: Iterable[str]) -> Model:
    """Return what the model says of some operations of a service.

    Raises:
        botocore.model.OperationNotFoundError: The model has no such operation.
    """
    # A loader of its own, which is dropped: the file has ten times what is kept of it.
    loader = Loader(file_loader=_Files())
    whole = ServiceModel(loader.load_service_model(service, "service-2"), service)
    metadata = whole.metadata
    shapes = Shapes()
    return Model(
        service=service,
        protocol=whole.resolved_protocol,
        json_version=metadata.get("jsonVersion", "1.1"),
        api_version=metadata["apiVersion"],
        namespace=metadata.get("xmlNamespace", ""),
        signing_name=whole.signing_name,
        target_prefix=metadata.get("targetPrefix", ""),
        operations={name: _operation(whole, name, shapes) for name in operations},
        query_errors=_query_errors(whole) if whole.is_query_compatible else {},
    )


class _Files:
    """Reads botocore's files without the documentation, which is most of them."""

    def exists(self, file_path: str) -> bool:
        """Return whether there is a file of this name, whatever its ending."""
        return any(path.is_file() for path, _ in _endings(file_path))

    def load_file(self, file_path: str) -> Any:
        """Return the content of a file, None when there is none."""
        for path, is_packed in _endings(file_path):
            if path.is_file():
                content = path.read_bytes()
                text = gzip.decompress(content) if is_packed else content
                return json.loads(text, object_pairs_hook=_undocumented)
        return None


def _endings(file_path: str) -> tuple[tuple[Path, bool], ...]:
    return (Path(f"{file_path}.json"), False), (Path(f"{file_path}.json.gz"), True)


def _undocumented(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A member may have this name; then it is no text.
    return {k: v for k, v in pairs if k != "documentation" or not isinstance(v, str)}


def _operation(whole: Any, name: str, shapes: Shapes) -> Operation:
    model = whole.operation_model(name)
    return Operation(
        name=str(name),
        input=shapes.of(model.input_shape) if model.input_shape is not None else None,
        output=shapes.of(model.output_shape) if model.output_shape is not None else None,
        method=model.http.get("method", "POST"),
        uri=model.http.get("requestUri", "/"),
    )


def _query_errors(whole: Any) -> dict[str, str]:
    return {shape.name: shape.error_code for shape in whole.error_shapes}
