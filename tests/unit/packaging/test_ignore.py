"""The quick matcher of plain patterns agrees with the full one, and loads nothing."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec
from orchestrator.packaging import ignore

names = st.text(st.sampled_from("ab.*?#~+_-é"), min_size=1, max_size=6)
paths = st.lists(names.filter(lambda n: n not in {".", ".."}), min_size=1, max_size=3)


@given(st.lists(names, max_size=4), paths, st.booleans())
def test_plain_patterns_mean_what_git_means(patterns, parts, is_directory):
    patterns = [p for p in patterns if ignore._is_plain(p)]
    path = "/".join(parts)
    quick = ignore.compile_patterns([*patterns, "/.orchestratorignore"])
    full = ignore._by_pathspec([*patterns, "/.orchestratorignore"])
    # The walk asks about the directories above first, so only the last part decides.
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    by_quick = any(quick(each, True) for each in above) or quick(path, is_directory)
    by_full = any(full(each, True) for each in above) or full(path, is_directory)
    assert by_quick == by_full


def test_the_defaults_need_no_library():
    code = (
        "import sys; from orchestrator.packaging import ignore;"
        "match = ignore.compile_patterns([*ignore.DEFAULT_PATTERNS, '/.orchestratorignore']);"
        "assert match('a/__pycache__', True) and not match('a/b.py', False);"
        "assert 'pathspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"!\n"])
def test_a_bad_ignore_file_is_an_error(tmp_path, content):
    (tmp_path / ".orchestratorignore").write_bytes(content)
    with pytest.raises(InvalidSpec, match="must be"):
        ignore.ignore_matcher(tmp_path)
