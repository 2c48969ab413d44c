"""What a job or a build gets of the machine's pip settings."""

import configparser
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.packaging.file_server import PackageServer
from orchestrator.packaging.pip_settings import (
    PipSettings,
    host_settings,
    local_path,
    parse_settings,
    pip_environment,
)
from tests.unit.packaging.wheels import make_wheel

LISTING = """\
:env:.find-links='/opt/wheels ./more'
:env:.disable-pip-version-check='1'
global.find-links='/elsewhere'
global.index-url='https://user:word@index/simple'
global.extra-index-url='file:///opt/py%20pi/simple https://second/simple'
global.cert='/etc/ca.pem'
install.constraint='/etc/constraints.txt'
install.no-index='false'
download.timeout='10'
"""


def test_the_environment_wins_over_files_and_the_section_over_global():
    found = parse_settings(LISTING, {"https_proxy": "http://proxy", "PATH": "/bin"})
    assert found.options == {
        "index-url": "https://user:word@index/simple",
        "extra-index-url": "file:///opt/py%20pi/simple https://second/simple",
        "find-links": "/opt/wheels ./more",
        "constraint": "/etc/constraints.txt",
        "no-index": "false",
    }
    assert found.certificates == Path("/etc/ca.pem")
    assert found.proxies == {"https_proxy": "http://proxy"}


def test_certificates_may_come_from_the_environment():
    assert parse_settings("", {"SSL_CERT_FILE": "/a.pem"}).certificates == Path("/a.pem")
    assert parse_settings("", {}).certificates is None


def test_directories_of_this_machine_are_renamed_and_the_rest_is_kept():
    found = parse_settings(LISTING, {})
    assert found.local_places() == [
        Path("/opt/py pi/simple"),
        Path("/opt/wheels"),
        Path.cwd() / "more",
    ]
    changed = found.with_places(lambda path: f"http://server/{path.name}/")
    assert changed.options["find-links"] == "http://server/wheels/ http://server/more/"
    assert changed.options["extra-index-url"] == "http://server/simple/ https://second/simple"
    assert changed.options["index-url"] == "https://user:word@index/simple"


def test_the_file_is_one_that_pip_reads():
    settings = PipSettings({"index-url": "https://a/simple", "find-links": "/a /b", "pre": "true"})
    parser = configparser.RawConfigParser()
    parser.read_string(settings.pip_conf(trusted_host="one two"))
    assert parser["global"]["index-url"] == "https://a/simple"
    assert parser["global"]["find-links"].split() == ["/a", "/b"]
    assert parser["global"]["trusted-host"].split() == ["one", "two"]


def test_only_what_pip_needs_is_passed_on():
    assert pip_environment(
        {"PIP_CERT": "a", "HTTPS_PROXY": "b", "no_proxy": "c", "AWS_SECRET": "d", "PATH": "e"}
    ) == {"PIP_CERT": "a", "HTTPS_PROXY": "b", "no_proxy": "c"}


def test_the_settings_of_this_machine_are_read(tmp_path):
    environment = {**os.environ, "PIP_FIND_LINKS": "/some/where", "PIP_CONFIG_FILE": os.devnull}
    assert host_settings(environment).options["find-links"] == "/some/where"
    (tmp_path / "broken.conf").write_text("[[")
    with pytest.raises(InvalidSpec, match="pip's settings are needed"):
        host_settings({**os.environ, "PIP_CONFIG_FILE": str(tmp_path / "broken.conf")})


@pytest.mark.parametrize(
    ("word", "path"),
    [("/a", "/a"), ("file:///a%20b", "/a b"), ("https://a", None), ("git+https://a", None)],
)
def test_local_places_are_recognised(word, path):
    assert local_path(word) == (None if path is None else Path(path))


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def test_directories_are_served_while_the_server_runs(tmp_path):
    make_wheel(tmp_path / "wheels", "small", "1.0")
    index = tmp_path / "index" / "simple" / "small"
    index.mkdir(parents=True)
    (tmp_path / "index" / "files").mkdir()
    (tmp_path / "index" / "files" / "small.whl").write_text("wheel")
    (index / "index.html").write_text("<a href=../../files/small.whl>small.whl</a>")
    simple = tmp_path / "index" / "simple"
    with PackageServer([tmp_path / "wheels", simple, tmp_path / "missing"]) as server:
        assert server.serves
        assert "small-1.0-py3-none-any.whl" in fetch(server.url(tmp_path / "wheels"))
        assert "small.whl" in fetch(f"{server.url(simple)}small/")
        assert fetch(f"{server.url(simple)}small/../../files/small.whl") == "wheel"
        assert server.url(tmp_path / "missing") == str(tmp_path / "missing")
        url = server.url(simple)
        for path in ("/", "/x/0/simple/", url.split("/", 3)[3].split("/")[0], "/../../etc/passwd"):
            with pytest.raises(urllib.error.HTTPError):
                fetch("/".join([*url.split("/")[:3], path.lstrip("/")]))
        with pytest.raises(urllib.error.HTTPError):
            fetch(f"{url}/../../../../../../../etc/passwd")
    with pytest.raises(urllib.error.URLError):
        fetch(url)


def test_nothing_is_started_when_there_is_nothing_to_serve(tmp_path):
    with PackageServer([tmp_path / "missing"]) as server:
        assert not server.serves
