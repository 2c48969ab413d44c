"""The table of CreateTrainingJob's members in orchestrator/api/aws/README.md. To write it anew: python -m tests.docs.members"""

from __future__ import annotations

from itertools import groupby

from orchestrator.api.aws.sagemaker.members import MEMBERS, Member
from tests.docs.markdown import ROOT

DOCUMENT = ROOT / "orchestrator" / "api" / "aws" / "README.md"
BEGIN, END = "<!-- members -->\n", "<!-- /members -->\n"


def table() -> str:
    """The table as it must stand in the document; neighbours with the same meaning share a row."""
    rows = [
        _row(list(group))
        for _, group in groupby(MEMBERS, lambda m: (_above(m), m.treatment, m.meaning))
    ]
    return "".join(
        f"{row}\n" for row in ("| member | here | what it means |", "|---|---|---|", *rows)
    )


def _above(member: Member) -> str:
    return member.path.rpartition(".")[0]


def _row(members: list[Member]) -> str:
    first, *others = members
    names = ", ".join(
        [f"`{first.path}`", *(f"`{each.path.rpartition('.')[2]}`" for each in others)]
    )
    return f"| {names} | {first.treatment} | {first.meaning} |"


def written(text: str) -> str:
    """A document with the table between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    assert mark, f"{DOCUMENT} has lost its marks"
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8")), "utf-8")
