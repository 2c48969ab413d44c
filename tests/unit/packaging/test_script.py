"""Entry scripts and inline metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec
from orchestrator.packaging.script import (
    check_python,
    choose_entry_script,
    choose_requirements,
    inline_metadata,
    inline_metadata_of,
)

FILES = ("README.md", "lib/util.py", "run.sh", "train.py")


@pytest.mark.parametrize("name", ["train.py", "./train.py", "lib/util.py", "run.sh"])
def test_a_script_of_the_source_is_taken(name):
    assert choose_entry_script(FILES, name) == name.removeprefix("./")


@pytest.mark.parametrize(
    ("files", "expected"), [(FILES, "train.py"), (("only.py",), "only.py"), (("go.sh",), "go.sh")]
)
def test_an_obvious_script_is_found(files, expected):
    assert choose_entry_script(files) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian.py", "did you mean 'train.py'"),
        ("util.py", "did you mean 'lib/util.py'"),
        ("zzzzzz", "scripts in it: lib/util.py, run.sh, train.py"),
        ("/etc/passwd.py", "inside the source directory"),
        ("../train.py", "inside the source directory"),
        ("lib/../train.py", "inside the source directory"),
        ("README.md", "end in .py or .sh"),
        ("lib", "must be a file"),
        ("", "must be a file"),
    ],
)
def test_a_wrong_script_is_refused_with_a_hint(name, message):
    with pytest.raises(InvalidSpec, match=message):
        choose_entry_script(FILES, name)


def test_a_source_without_an_obvious_script_needs_a_choice():
    with pytest.raises(InvalidSpec, match=r"must be given .*: a.py, b.py"):
        choose_entry_script(("a.py", "b.py"))
    with pytest.raises(InvalidSpec, match="scripts in it: none"):
        choose_entry_script(())
    with pytest.raises(InvalidSpec, match=r"… \(12 in all\)"):
        choose_entry_script(tuple(f"s{n}.py" for n in range(12)))


def test_a_requirements_file_is_of_the_source():
    assert choose_requirements(FILES, None) is None
    assert choose_requirements(("a/requirements.txt", "train.py"), None) is None
    assert choose_requirements(("requirements.txt", "train.py"), None) == "requirements.txt"
    assert choose_requirements(("requirements.txt", "train.py"), "") is None
    assert choose_requirements(("requirements.txt",), "./requirements.txt") == "requirements.txt"
    with pytest.raises(InvalidSpec, match=r"did you mean 'requirements\.txt'"):
        choose_requirements(("requirements.txt",), "requirement.txt")


def test_the_example_of_pep_723_is_read():
    script = (
        "#!/usr/bin/env python\n"
        "# /// script\n"
        '# requires-python = ">=3.11"\n'
        "# dependencies = [\n"
        '#   "requests<3",\n'
        '#   "rich",\n'
        "# ]\n"
        "#\n"
        "# [tool.uv]\n"
        '# exclude-newer = "2023-10-16T00:00:00Z"\n'
        "# ///\n"
        "import requests\n"
    )
    found = inline_metadata(script)
    assert found is not None
    assert found.requires_python == ">=3.11"
    assert found.requirements == "requests<3\nrich\n"
    check_python(found.requires_python, "3.11.7")
    check_python(found.requires_python, "3.15.0rc1")
    with pytest.raises(InvalidSpec, match=r"needs Python >=3.11, .* is 3.9.18"):
        check_python(found.requires_python, "3.9.18")


@pytest.mark.parametrize(
    "script",
    [
        "",
        "print(1)\n",
        "# /// script\n# dependencies = []\n",  # never closed
        "# /// other\n# x = 1\n# ///\n",
        "#/// script\n# x = 1\n# ///\n",
    ],
)
def test_a_script_without_a_block_has_none(script):
    assert inline_metadata(script) is None


BLOCK = "# /// script\n{}# ///\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (BLOCK.format("# x = 1\n") + "\n" + BLOCK.format("# x = 1\n"), "one `# /// script` block"),
        (BLOCK.format("# dependencies = [\n"), "must be TOML"),
        (BLOCK.format('# dependencies = "numpy"\n'), "must be a list"),
        (BLOCK.format("# dependencies = [3]\n"), "must be a list"),
        (BLOCK.format('# dependencies = [" "]\n'), "must be a list"),
        (BLOCK.format('# dependencies = ["-r other.txt"]\n'), "requirements such as"),
        (BLOCK.format('# dependencies = ["a\\n--index-url=http://evil"]\n'), "must be a list"),
        (BLOCK.format("# requires-python = 3.11\n"), "must be a string"),
        (BLOCK.format('# requires-python = "three"\n'), "version specifier"),
    ],
)
def test_a_malformed_block_is_refused(script, message):
    with pytest.raises(InvalidSpec, match=message):
        inline_metadata(script)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    for script in (text, BLOCK.format("".join(f"# {line}\n" for line in text.splitlines()))):
        try:
            inline_metadata(script)
        except InvalidSpec:
            continue


def test_a_file_that_is_no_text_has_no_block(tmp_path):
    (tmp_path / "a.py").write_bytes(b"\xff\xfe")
    assert inline_metadata_of(tmp_path / "a.py") is None
