"""What a channel in Pipe mode gives: its items in order, and their objects put where they are read.

An item is an object, or a line of an augmented manifest, whose attributes are its parts. Objects
are numbered, so that no key has to be the name of a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.blobs.base import BlobStore, Selection
from orchestrator.blobs.files import partial_file
from orchestrator.blobs.transfer import each, manifest_objects, objects_of
from orchestrator.errors import InputError

REFERENCE_SUFFIX = "-ref"
LONGEST_LINE_BYTES = 1 << 20
WORKERS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """The content of an object, or a text.

    Attributes:
        uri: Address of the object; empty for a text.
        key: Its name below the channel's location; empty for what is at the location itself.
    """

    uri: str = ""
    key: str = ""
    text: str = ""


Item = tuple[Part, ...]


def stream_items(
    store: BlobStore, uri: str, selection: Selection, attributes: Sequence[str] = ()
) -> Iterator[Item]:
    """Yield the items of a channel that one host may get, in order.

    What is shuffled is dealt out anew for every epoch, so every host may get each of them.

    Args:
        store: Where they are.
        uri: Prefix, manifest or augmented manifest.
        selection: Which of them.
        attributes: Of an augmented manifest, in the order in which they are given.

    Raises:
        InputError: Nothing is there, or a manifest is malformed.
    """
    items = _all_items(store, uri, selection, attributes)
    if selection.distribution == "ShardedByS3Key" and selection.seed is None:
        return islice(items, selection.rank, None, selection.hosts)
    return items


def _all_items(
    store: BlobStore, uri: str, selection: Selection, attributes: Sequence[str]
) -> Iterator[Item]:
    if selection.data_type == "AugmentedManifestFile":
        return _lines(store, uri, attributes)
    if selection.data_type == "ManifestFile":
        return ((Part(found.uri, found.key),) for found in manifest_objects(store, uri))
    found = objects_of(store, uri, by_beginning=selection.by_beginning)
    objects = sorted(found, key=lambda found: found.key)
    whole = store.stat(uri)
    return (
        (Part(found.uri, "" if whole is not None and found.uri == whole.uri else found.key),)
        for found in objects
    )


def _lines(store: BlobStore, uri: str, attributes: Sequence[str]) -> Iterator[Item]:
    with store.open(uri) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE_BYTES + 1):
            number += 1
            if line.strip():
                yield parse_line(line, attributes, f"line {number} of {uri}")


def parse_line(line: bytes, attributes: Sequence[str], where: str) -> Item:
    """Read one line of an augmented manifest.

    Args:
        line: A JSON object; other attributes than the wanted ones are passed over.
        attributes: The wanted ones; what ends in ``-ref`` names an object.
        where: For messages.

    Raises:
        InputError: It is no JSON object, lacks an attribute, or a reference is no address.
    """
    if len(line) > LONGEST_LINE_BYTES:
        raise InputError(f"{where} must have at most {LONGEST_LINE_BYTES} bytes; shorten it")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} must be a JSON object: {error}; correct the line") from None
    if not isinstance(values, dict):
        raise InputError(f"{where} must be a JSON object, it is none; correct the line")
    return tuple(_attribute(values, name, where) for name in attributes)


def _attribute(values: dict[str, Any], name: str, where: str) -> Part:
    if name not in values:
        raise InputError(
            f"{where} must have attribute {name!r} of AttributeNames, it has {sorted(values)[:16]}; "
            "add it, or leave it out of AttributeNames"
        )
    value = values[name]
    if not name.endswith(REFERENCE_SUFFIX):
        return Part(text=json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    if not isinstance(value, str) or not value.startswith(("s3://", "file:///", "/")):
        raise InputError(
            f"{where}: attribute {name!r} must be the address of an object (s3://...), got "
            f"{value!r}; attributes whose names end in -ref are streamed as what they refer to"
        )
    return Part(uri=value)


def stage_stream(
    store: BlobStore, items: Iterable[Item], order: Path, objects: Path | None
) -> None:
    """Write the list of a channel's items, and put their objects into a directory. Idempotent.

    The list has a line of JSON for each item; see ``PipePlan`` of the runtime's contract.

    Args:
        store: Where the objects are.
        items: The items.
        order: The file of the list; it appears when all is there.
        objects: Where the objects go, as links if possible; None = they are read where they are,
            by their keys.

    Raises:
        InputError: An object is missing.
    """
    names: dict[str, str] = {}
    with partial_file(order) as partial:
        with partial.open("w", encoding="utf-8") as file:
            for item in items:
                parts = [_entry(part, names, objects is not None) for part in item]
                file.write(json.dumps(parts) + "\n")
        if objects is not None:
            _fetch(store, names, objects)
        partial.replace(order)


def _entry(part: Part, names: dict[str, str], numbered: bool) -> dict[str, str]:
    if not part.uri:
        return {"text": part.text}
    file = names.setdefault(part.uri, f"{len(names):08}") if numbered else part.key
    return {"file": file, "name": part.uri}


def _fetch(store: BlobStore, names: dict[str, str], objects: Path) -> None:
    objects.mkdir(exist_ok=True)

    def fetch(item: tuple[str, str]) -> int:
        uri, name = item
        return store.fetch_to(uri, objects / name, writable=False)

    for _ in each(fetch, names.items(), WORKERS):
        pass
