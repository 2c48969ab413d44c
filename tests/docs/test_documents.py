"""Every document of the repository: links lead somewhere, files that are named exist, nothing is left out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli.verbs import VERBS
from tests.docs import members
from tests.docs.markdown import ROOT, blocks, code, links

OURS = ("orchestrator", "containers", "jobs", "tests", "infra")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in OURS for path in (ROOT / folder).rglob("*.md"))]
)
PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]  # that tells of the past


def parametrized(documents: list[Path]) -> pytest.MarkDecorator:
    """Run a test once for each document."""
    return pytest.mark.parametrize(
        "document", documents, ids=lambda path: str(path.relative_to(ROOT))
    )


PLACES = ("", "orchestrator", "tests", "containers/runtime/orchestrator_runtime")
SUFFIXES = (".py", ".md", ".toml")


def sources() -> set[str]:
    """Return the names of all files of ours."""
    return {
        path.name
        for folder in (*OURS, "")
        for path in (ROOT / folder).glob("**/*" if folder else "*")
    }


def spelled_out(name: str) -> Iterator[str]:
    """Yield every path that `a/{b,c}.py` stands for."""
    parts = re.split(r"\{([^}]*)\}", name)
    choices = [part.split(",") if n % 2 else [part] for n, part in enumerate(parts)]
    yield from map("".join, itertools.product(*choices))


def named_files(text: str) -> Iterator[str]:
    """Yield the files of this repository that a text names in code."""
    for word in code(text):
        placeholder = re.search("[A-Z]{2}", word.rpartition(".")[0].replace("README", ""))
        if re.fullmatch(r"[\w./{},-]+", word) and word.endswith(SUFFIXES) and not placeholder:
            yield from spelled_out(word)


def exists(name: str, document: Path, known: set[str]) -> bool:
    """Whether a file is where a reader of the document looks for it."""
    if "/" not in name:
        return name in known
    folders = [document.parent, *(ROOT / place for place in PLACES)]
    return any((folder / name).exists() for folder in folders)


class TestADocument:
    @parametrized(DOCUMENTS)
    def test_links_to_places_that_exist(self, document: Path):
        text = document.read_text("utf-8")
        dead = [place for place in links(text) if not (document.parent / place).exists()]
        assert not dead

    @parametrized(PRESENT)
    def test_names_files_that_exist(self, document: Path):
        known = sources()
        text = document.read_text("utf-8")
        assert not [name for name in named_files(text) if not exists(name, document, known)]

    @parametrized(DOCUMENTS)
    def test_is_short_enough_to_be_read(self, document: Path):
        lines = document.read_text("utf-8").splitlines()
        assert len(lines) <= (150 if document == ROOT / "README.md" else 120)


class TestTheReadme:
    TEXT = (ROOT / "README.md").read_text("utf-8")

    def test_leads_to_every_part_that_has_a_document(self):
        reached = {(ROOT / place).resolve() for place in links(self.TEXT)}
        parts = set((ROOT / "orchestrator").glob("*/README.md"))
        assert not parts - reached

    def test_starts_make_with_targets_that_exist(self):
        typed = " ".join(block.text for block in blocks(self.TEXT)) + " ".join(code(self.TEXT))
        wanted = set(re.findall(r"\bmake ([a-z-]+)", typed))
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert wanted
        assert wanted <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


class TestTheCommand:
    def test_has_every_verb_in_its_document(self):
        told = (ROOT / "orchestrator" / "cli" / "README.md").read_text("utf-8")
        words = {word.split()[0] for word in code(told) if word.split()}
        assert not set(VERBS) - words

    def test_has_no_verb_in_any_document_that_it_does_not_know(self):
        for document in DOCUMENTS:
            text = document.read_text("utf-8")
            lines = [line for block in blocks(text) for line in block.text.splitlines()]
            typed = [
                line for line in [*lines, *code(text)] if re.match(r"(\$ )?orchestrator ", line)
            ]
            verbs = {re.sub(r"^\$ ", "", line).split()[1] for line in typed}
            assert {verb for verb in verbs if re.fullmatch("[a-z]+", verb)} <= set(VERBS), document


class TestTheTableOfMembers:
    def test_is_what_the_code_says(self):
        text = members.DOCUMENT.read_text("utf-8")
        assert text == members.written(text), "write it anew: python -m tests.docs.members"


class TestThePublicNames:
    def test_are_these(self):
        """A name that is taken away or added is a decision: it goes into the changelog too."""
        assert orchestrator.__all__ == [
            "Asha",
            "CategoricalParameter",
            "CheckpointConfig",
            "CompletionCriteria",
            "Compute",
            "ContinuousParameter",
            "DebugRule",
            "Debugger",
            "EarlyStopping",
            "HyperparameterTuner",
            "InputData",
            "InstanceGroup",
            "IntegerParameter",
            "MetricConstraint",
            "MetricDefinition",
            "ModelTrainer",
            "OutputDataConfig",
            "RetryStrategy",
            "SaveInterval",
            "SourceCode",
            "StoppingCondition",
            "TensorBoardOutputConfig",
            "TensorCollection",
            "TrainingJob",
            "TrainingResult",
            "TuningJob",
            "WholeTensors",
            "connect",
            "create_trial",
        ]

    @pytest.mark.parametrize("name", orchestrator.__all__)
    def test_can_be_had_and_say_what_they_are_for(self, name: str):
        assert getattr(orchestrator, name).__doc__

    def test_of_the_runtime_are_these(self):
        import orchestrator_runtime

        assert orchestrator_runtime.__all__ == ["report_metric"]


class TestTheChangelog:
    TEXT = (ROOT / "CHANGELOG.md").read_text("utf-8")

    def test_says_what_is_not_released_yet(self):
        unreleased = self.TEXT.partition("## [Unreleased]")[2].partition("\n## [")[0]
        assert re.search(
            r"^### (Added|Changed|Deprecated|Removed|Fixed|Security)$", unreleased, re.M
        )
        assert re.search(r"^- \S", unreleased, re.MULTILINE)

    def test_has_kinds_of_changes_that_the_form_knows(self):
        kinds = set(re.findall(r"^### (\w+)$", self.TEXT, re.MULTILINE))
        assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
