"""Dockerfile texts and digests are pure."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec
from orchestrator.packaging import context


def test_the_environment_is_built_in_a_stage_that_leaves_no_settings():
    text = context.environment_dockerfile(
        "base:1", "d" * 64, requirements="requirements.txt", trusts=True
    )
    assert text == (
        "FROM base:1 AS build\n"
        f'LABEL orchestrator.stage="{"d" * 64}"\n'
        "USER root\n"
        "COPY build/ /opt/orchestrator-build/\n"
        'ENV PIP_CONFIG_FILE="/opt/orchestrator-build/pip.conf" PIP_NO_CACHE_DIR="1" '
        'PIP_CERT="/opt/orchestrator-build/ca.pem" SSL_CERT_FILE="/opt/orchestrator-build/ca.pem" '
        'REQUESTS_CA_BUNDLE="/opt/orchestrator-build/ca.pem"\n'
        "WORKDIR /opt/orchestrator-build/source\n"
        'RUN ["python3", "/opt/orchestrator-build/install.py", "/opt/orchestrator-environment", '
        '"requirements.txt"]\n'
        "FROM base:1\n"
        "COPY --from=build /opt/orchestrator-environment/venv /opt/orchestrator-environment/venv\n"
        "ENV PATH=/opt/orchestrator-environment/venv/bin:$PATH "
        "VIRTUAL_ENV=/opt/orchestrator-environment/venv\n"
    )


def test_the_program_is_named_as_the_training_toolkit_does():
    assert context.program_dockerfile("base:1", "lib/train.py") == (
        "FROM base:1\n"
        "COPY source/ /opt/program/\n"
        'ENV SAGEMAKER_PROGRAM="lib/train.py" SAGEMAKER_SUBMIT_DIRECTORY="/opt/program"\n'
        "WORKDIR /opt/program\n"
        'CMD ["python3", "lib/train.py"]\n'
    )
    assert 'CMD ["bash", "run.sh"]' in context.program_dockerfile("base:1", "run.sh")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_odd_names_stay_one_word(name):
    line = context.program_dockerfile("base", name).splitlines()[2]
    assert line.startswith("ENV SAGEMAKER_PROGRAM=")
    quoted = line.removeprefix("ENV ").removesuffix(' SAGEMAKER_SUBMIT_DIRECTORY="/opt/program"')
    # A shell reads such a word as the engine does.
    assert shlex.split(quoted.replace(r"\$", "$")) == [f"SAGEMAKER_PROGRAM={name}"]


@pytest.mark.parametrize("name", ["a\nRUN evil.py", "a\r.py", "\x00.py"])
def test_a_name_cannot_add_an_instruction(name):
    with pytest.raises(InvalidSpec, match="control characters"):
        context.program_dockerfile("base", name)


def test_digests_depend_on_each_part():
    digests = [
        context.environment_digest("base", "numpy", b"installer", ""),
        context.environment_digest("other", "numpy", b"installer", ""),
        context.environment_digest("base", "scipy", b"installer", ""),
        context.environment_digest("base", "numpy", b"other", ""),
        context.environment_digest("base", "numpy", b"installer", "source"),
        context.program_digest("base", "source", "train.py"),
        context.program_digest("other", "source", "train.py"),
        context.program_digest("base", "other", "train.py"),
        context.program_digest("base", "source", "other.py"),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", ["train", "my-model_2.x", "a__b", "a--b"])
def test_names_that_docker_takes_become_tags(name):
    assert context.image_tag(name, "0123456789abcdef") == f"orchestrator/{name}:0123456789ab"


@pytest.mark.parametrize("name", ["", "Train", "a/b", "../a", "-a", "a:b", "a" * 101, "a..b"])
def test_other_names_are_refused(name):
    with pytest.raises(InvalidSpec, match="image name"):
        context.image_tag(name, "0" * 64)
