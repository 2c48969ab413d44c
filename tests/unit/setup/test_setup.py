"""The pure parts of what prepares the test machine."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.setup import base_image, environment, wheelhouse
from tests.setup.pin import pins

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] http://mirror.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
"""
PARAGRAPHS = """Types: deb
# a comment: with a colon
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
"""


@pytest.mark.parametrize(
    ("file", "text"),
    [("sources.list", ONE_LINE), ("sources.list.d/debian.sources", PARAGRAPHS)],
)
def test_the_mirror_is_the_one_that_apt_uses(tmp_path, file, text):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / file).write_text(text)
    assert base_image.apt_mirror("bookworm", tmp_path) == "http://mirror.example/debian"
    assert base_image.apt_mirror("trixie", tmp_path) is None


def test_another_recipe_gets_another_tag():
    recipe = base_image.Recipe("http://mirror.example/debian", "bookworm", "main")
    other = base_image.Recipe("http://mirror.example/debian", "trixie", "main")
    assert recipe.digest() == base_image.Recipe(*recipe.__dict__.values()).digest()
    assert recipe.digest() != other.digest()


def test_only_settings_that_mean_the_same_inside_reach_the_container():
    text = wheelhouse.container_pip_conf(
        {
            "index-url": "https://index.example/simple",
            "extra-index-url": "file:///srv/simple https://more.example/simple",
            "find-links": "/srv/wheels",
            "cert": "/etc/ssl/certs/ca-certificates.crt",
            "default-timeout": "180",
        }
    )
    assert text.splitlines() == [
        "[global]",
        "index-url = https://index.example/simple",
        "extra-index-url = https://more.example/simple",
        "timeout = 180",
    ]


@pytest.mark.parametrize(
    ("folder", "refused"),
    [
        ("nvidia_cublas-13.0.dist-info", True),
        ("triton-3.5.dist-info", True),
        ("numpy-2.dist-info", False),
    ],
)
def test_a_cuda_package_in_an_environment_is_found(tmp_path, folder, refused):
    (tmp_path / "lib" / "python3.11" / "site-packages" / folder).mkdir(parents=True)
    assert bool(environment.cuda_packages(tmp_path)) == refused


def test_the_pins_leave_out_the_project_and_the_kind_of_build():
    frozen = "# Editable install (orchestrator==0.1.0)\n-e git+https://example/x\nnumpy==2.4.6\npip==23.2.1\ntorch==2.13.0+cpu\nAnyIO==4\n"
    lines = [line for line in pins(frozen).splitlines() if not line.startswith("#")]
    assert lines == ["AnyIO==4", "numpy==2.4.6", "torch==2.13.0"]


def test_everything_the_project_depends_on_is_pinned():
    project = tomllib.loads((environment.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in environment.DEV_EXTRAS)]
    wanted = {re.split(r"[\[><=~; ]", line)[0] for group in groups for line in group}
    lines = environment.CONSTRAINTS.read_text().splitlines()
    assert wanted <= {line.partition("==")[0].lower() for line in lines}
