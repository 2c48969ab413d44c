"""Images are built once per content, run what they hold, and leave nothing behind."""

import gc
import uuid
from pathlib import Path

import pytest
from orchestrator_runtime import install

from orchestrator.errors import EngineUnreachable, ImageError, InputError, InvalidSpec
from orchestrator.packaging.context import STAGE_LABEL
from orchestrator.packaging.image import DEBUGGER_FILE, ImageBuilder, ImageRequest
from orchestrator.packaging.pip_settings import PipSettings
from orchestrator.packaging.source import pack_source
from tests.unit.packaging.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.docker


@pytest.fixture
def engine():
    import docker

    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def name():
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def builder(engine, name):
    """A builder whose images are removed, after a look at what else is left."""
    builder = ImageBuilder()
    yield builder
    for ref in sorted(builder.list(), key=lambda ref: "-env:" in ref.tag):
        if ref.tag.startswith(f"orchestrator/{name}"):
            builder.remove(ref.tag)
    left = [ref.tag for ref in builder.list() if name in ref.tag]
    builder.close()
    for found in (engine.images, engine.containers):
        stages = found.list(filters={"label": STAGE_LABEL}, all=True)
        left += [str(each) for each in stages if name in stage_of(each)]
    assert left == []


def stage_of(thing):
    return thing.labels.get(STAGE_LABEL, "")


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "lib").mkdir(parents=True)
    (root / "train.py").write_text("import sys, lib.util\nprint(lib.util.name(), sys.prefix)\n")
    (root / "lib" / "util.py").write_text("def name():\n    return 'first'\n")
    return root


@pytest.fixture
def pip(tmp_path):
    """Settings by which a build finds nothing but wheels made here."""
    make_wheel(tmp_path / "wheels", "small", "1.0")
    make_wheel(tmp_path / "wheels", "small", "2.0")
    make_sdist(tmp_path / "wheels", "unbuildable", "1.0")
    (tmp_path / "constraints.txt").write_text("small<2\n")
    (tmp_path / "ca.pem").write_text("certificates of nobody")
    return PipSettings(
        {
            "no-index": "true",
            "find-links": str(tmp_path / "wheels"),
            "constraint": str(tmp_path / "constraints.txt"),
        },
        certificates=tmp_path / "ca.pem",
    )


def archive(root, path):
    with path.open("wb") as stream:
        pack_source(root, stream)
    return path


def request(name, base_image, source, tmp_path, **more):
    return ImageRequest(
        name,
        base_image,
        source_archive=archive(source, tmp_path / "source.tar.gz"),
        entry_script="train.py",
        **more,
    )


def run(engine, tag, command=None):
    """Return what a container prints, read after its end: following it loses quick output."""
    container = engine.containers.create(tag, command, network_mode="none")
    try:
        container.start()
        container.wait()
        return container.logs().decode().strip()
    finally:
        container.remove(force=True)


def test_an_image_of_a_source_runs_it_and_is_built_once(
    builder, engine, name, base_image, source, tmp_path
):
    first = builder.build(request(name, base_image, source, tmp_path))
    assert first.built
    assert first.tag == f"orchestrator/{name}:{first.digest[:12]}"
    assert builder.exists(first.tag)
    assert run(engine, first.tag).startswith("first ")
    again = builder.build(request(name, base_image, source, tmp_path))
    assert (again.built, again.image_id, again.tag) == (False, first.image_id, first.tag)
    (source / "lib" / "util.py").write_text("def name():\n    return 'other'\n")
    other = builder.build(request(name, base_image, source, tmp_path))
    builder.remove_leftovers()
    assert other.built
    assert other.tag != first.tag
    assert run(engine, other.tag).startswith("other ")
    builder.remove(other.tag)
    builder.remove(other.tag)
    assert not builder.exists(other.tag)


def test_requirements_are_baked_in_and_built_once_for_many_sources(
    builder, engine, name, base_image, source, tmp_path, pip
):
    (source / "train.py").write_text("import small\nprint('small', small.version)\n")
    lines: list[str] = []
    how = {"requirements": "small\n"}
    first = builder.build(
        request(name, base_image, source, tmp_path, **how), pip=pip, on_output=lines.append
    )
    assert run(engine, first.tag) == "small 1.0"  # the constraint holds
    assert any("Successfully installed small-1.0" in line for line in lines)
    lines.clear()
    (source / "new.py").write_text("")
    second = builder.build(
        request(name, base_image, source, tmp_path, **how), pip=pip, on_output=lines.append
    )
    assert second.built
    assert not any("install" in line for line in lines)
    assert len([ref for ref in builder.list() if f"/{name}-env:" in ref.tag]) == 1


def test_settings_of_the_build_are_in_no_layer(
    builder, engine, name, base_image, source, tmp_path, pip
):
    ref = builder.build(
        request(name, base_image, source, tmp_path, requirements="small\n"), pip=pip
    )
    look = "ls -d /opt/orchestrator-build 2>/dev/null; env | grep -e orchestrator-build -e CERT"
    assert run(engine, ref.tag, ["sh", "-c", f"{look}; true"]) == ""
    history = str(engine.images.get(ref.tag).history())
    assert "orchestrator-build" not in history


def test_requirements_may_name_files_of_the_source(
    builder, engine, name, base_image, source, tmp_path, pip
):
    make_wheel(source / "wheels", "mine", "1.0")
    (source / "requirements.txt").write_text("-r more.txt\n")
    (source / "more.txt").write_text("./wheels/mine-1.0-py3-none-any.whl\n")
    (source / "train.py").write_text("import mine\nprint(mine.version)\n")
    how = {"requirements": (source / "requirements.txt").read_text()}
    ref = builder.build(request(name, base_image, source, tmp_path, **how), pip=pip)
    assert run(engine, ref.tag) == "1.0"


def test_requirements_alone_make_an_image(builder, engine, name, base_image, pip):
    ref = builder.build(ImageRequest(name, base_image, requirements="small\n"), pip=pip)
    assert run(engine, ref.tag, ["python3", "-c", "import small; print(small.version)"]) == "1.0"
    again = builder.build(ImageRequest(name, base_image, requirements="# same\nsmall\n"), pip=pip)
    assert (again.built, again.tag) == (False, ref.tag)


def test_a_debugger_comes_into_isolated_programs_too(builder, engine, name, base_image, pip):
    ref = builder.build(ImageRequest(name, base_image, requirements="small\n"), pip=pip)
    shown = run(engine, ref.tag, ["sh", "-c", "ls $VIRTUAL_ENV/lib/*/site-packages/*.pth"])
    assert Path(DEBUGGER_FILE).name in {Path(line).name for line in shown.split()}
    assert DEBUGGER_FILE == install.DEBUGGER_FILE


def test_odd_names_reach_the_image_as_they_are(
    builder, engine, name, base_image, source, tmp_path
):
    script = 'it\'s $HOME "ü" \\ 100%.py'
    (source / "train.py").rename(source / script)
    wish = request(name, base_image, source, tmp_path)
    ref = builder.build(ImageRequest(wish.name, wish.base_image, wish.source_archive, script))
    assert run(engine, ref.tag).startswith("first ")
    program = run(engine, ref.tag, ["sh", "-c", 'printf %s "$SAGEMAKER_PROGRAM"'])
    assert program == script


@pytest.mark.parametrize(
    ("requirements", "python", "message"),
    [
        ("nosuchpackage\n", "python3", "no version of 'nosuchpackage' fits this interpreter"),
        ("unbuildable\n", "python3", "built from source and that failed"),
        ("small\n", "python7", "python7"),
    ],
)
def test_a_build_that_fails_shows_its_last_lines(
    builder, name, base_image, pip, requirements, python, message
):
    wish = ImageRequest(name, base_image, requirements=requirements, python=python)
    with pytest.raises(ImageError, match=r"could not be built: .*; the last lines") as failure:
        builder.build(wish, pip=pip)
    assert message in str(failure.value)
    assert [ref for ref in builder.list() if name in ref.tag] == []


def test_a_base_image_that_does_not_exist_is_named(builder, name, source, tmp_path):
    with pytest.raises(ImageError, match="'no.such.registry.invalid/image:1' does not"):
        builder.build(request(name, "no.such.registry.invalid/image:1", source, tmp_path))


def test_a_hostile_source_is_refused_before_anything_is_built(builder, name, base_image, tmp_path):
    (tmp_path / "evil.tar.gz").write_bytes(b"no archive")
    wish = ImageRequest(name, base_image, tmp_path / "evil.tar.gz", "train.py")
    with pytest.raises(InputError, match=r"evil\.tar\.gz must"):
        builder.build(wish)
    with pytest.raises(InvalidSpec, match="got neither"):
        builder.build(ImageRequest(name, base_image))
    with pytest.raises(InvalidSpec, match="editable"):
        builder.build(ImageRequest(name, base_image, requirements="-e ."))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_engine_that_does_not_answer_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    builder = ImageBuilder()
    with pytest.raises(EngineUnreachable, match="start it or set DOCKER_HOST"):
        builder.exists("orchestrator/none:1")
    builder.close()
    gc.collect()  # the SDK forgets a socket that could not connect
