"""XML, as little of it as S3 needs: elements with elements or with text. No DTDs."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat  # nosec B407  # declarations are refused

from orchestrator.api.aws.errors import AwsError

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
# What XML 1.0 has no way to write goes out as AWS writes it.
_ESCAPES |= {code: f"&#x{code:x};" for code in (*range(9), 11, 12, *range(13, 32), 0xFFFE, 0xFFFF)}


@dataclass(slots=True)
class Element:
    """One element of a document, its namespace left out."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """Return the children of a name."""
        return [child for child in self.children if child.name == name]


def escape(text: str) -> str:
    """Return text as the content of an element."""
    return text.translate(_ESCAPES)


def read(document: bytes) -> Element:
    """Return the root of a document.

    Raises:
        AwsError: MalformedXML.
    """
    root = Element("")
    open_elements = [root]

    def start(name: str, _attributes: dict[str, str]) -> None:
        element = Element(name.rpartition(" ")[2])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_name: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    def declared(*_: object) -> None:
        raise malformed("a document type may not be declared")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, declared
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise malformed(str(error)) from None
    return root.children[0]


def malformed(reason: str) -> AwsError:
    """Return the error of a document that is not what it must be."""
    return AwsError(
        "MalformedXML",
        f"The XML you provided was not well-formed or did not validate against our published "
        f"schema ({reason})",
    )
