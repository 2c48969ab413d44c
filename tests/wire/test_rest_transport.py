"""The SDK over HTTP: the same handles as without a wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import ModelTrainer, OutputDataConfig, SourceCode, TrainingJob, connect
from orchestrator.errors import InvalidSpec, JobFailed, NotFound, Unauthorized
from orchestrator.sdk.http import HttpTransport
from orchestrator.server import Server

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, sys
for step in range(3):
    print(f"loss={1 / (step + 1)}", flush=True)
folder = os.environ["SM_MODEL_DIR"]
os.makedirs(f"{folder}/inner")
open(f"{folder}/inner/weights", "w").write("w" * 1000)
open(f"{os.environ['SM_OUTPUT_DATA_DIR']}/scores", "w").write("1.0")
"""


@pytest.fixture
def trainer(tmp_path: Path, transport: HttpTransport) -> ModelTrainer:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text(SCRIPT)
    return ModelTrainer(
        source_code=SourceCode(source_dir=str(tmp_path / "source"), entry_script="train.py"),
        metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        transport=transport,
    )


def test_training_waiting_and_collecting_over_http(
    trainer: ModelTrainer, transport: HttpTransport, tmp_path: Path
) -> None:
    lines: list[str] = []
    job = trainer.train(on_line=lambda line: lines.append(line.text))
    assert lines == ["loss=1.0", "loss=0.5", "loss=0.3333333333333333"]
    result = job.result()
    assert result.metrics == {"loss": pytest.approx(1 / 3)}
    assert list(job.logs()) == lines
    assert job.curve("loss")["values"] == [1.0, 0.5, pytest.approx(1 / 3)]
    model = job.download(tmp_path / "got")
    assert model == tmp_path / "got" / "model.tar.gz"
    assert result.model is not None
    assert model.stat().st_size == result.model.bytes
    assert [found.name for found in TrainingJob.list(transport)] == [job.name]
    again = trainer.train(job_name="second", logs=False)
    assert again.status == "Completed"
    with pytest.raises(NotFound):
        TrainingJob.get("absent", transport)


def test_a_folder_of_artifacts_arrives_as_a_folder(trainer: ModelTrainer, tmp_path: Path) -> None:
    trainer.output_data_config = OutputDataConfig(compression_type="NONE")
    job = trainer.train(logs=False)
    folder = job.download(tmp_path / "got")
    assert folder == tmp_path / "got" / "model"
    assert (folder / "inner" / "weights").read_text() == "w" * 1000
    assert job.download(tmp_path / "got") == folder  # again, over what is there
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == ["model"]


def test_a_failure_explains_itself_over_http(trainer: ModelTrainer, tmp_path: Path) -> None:
    (tmp_path / "source" / "train.py").write_text("raise ValueError('wrong shape')")
    job = trainer.train(logs=False)
    with pytest.raises(JobFailed, match="wrong shape"):
        job.result()
    with pytest.raises(NotFound, match="output artifact"):
        job.download(tmp_path, kind="output")


def test_a_source_is_uploaded_once(
    trainer: ModelTrainer, server: Server, transport: HttpTransport
) -> None:
    trainer.train(logs=False)
    trainer.train(logs=False, job_name="again")
    counts = {
        key: value
        for key, value in server.app._counts.samples().items()
        if dict(key)["method"] == "PUT"
    }
    assert list(counts.values()) == [1]


def test_the_token_comes_from_argument_variable_or_home(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = server.service.home
    with closing(HttpTransport(server.url, token=server.token)) as transport:
        assert transport.info()["pid"]
    with closing(HttpTransport(server.url, home=home)) as transport:
        assert transport.info()["pid"]
    for wrong in (
        HttpTransport(server.url, home=tmp_path / "empty"),
        HttpTransport(server.url, token="wrong", home=home),
    ):
        with closing(wrong), pytest.raises(Unauthorized, match="ORCHESTRATOR_TOKEN"):
            wrong.info()
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", server.token)
    monkeypatch.setenv("ORCHESTRATOR_URL", server.url)
    connected = connect(home=tmp_path / "empty")
    assert isinstance(connected, HttpTransport)
    assert connected.info()["home"] == str(home)
    connected.close()
    connected.close()


def test_the_home_token_is_for_this_machine_only(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 40)
    assert HttpTransport("http://127.0.0.1:1", home=tmp_path)._token == "t" * 40
    assert HttpTransport("http://example.com", home=tmp_path)._token is None


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8760", "ftp://x", "http://", "http://h:port", "http://h/?q", "http://h#f"],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidSpec, match="must look like"):
        HttpTransport(url)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("http://localhost:1/", "http://localhost:1"),
        (" https://host/base/ ", "https://host/base"),
        ("http://[::1]:80/api/v1", "http://[::1]:80"),
    ],
)
def test_urls_are_taken_in_any_usual_form(given: str, plain: str) -> None:
    assert HttpTransport(given).url == plain


class TestAnArtifactNameFromAService:
    @pytest.fixture
    def evil(self) -> Iterator[str]:
        import threading
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/gzip")
                name = "filename*=UTF-8''..%2F..%2Fescaped"
                self.send_header("Content-Disposition", f"attachment; {name}")
                self.send_header("Content-Length", "1")
                self.end_headers()
                self.wfile.write(b"x")

            def log_message(self, *_: object) -> None:
                pass

        service = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=service.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()
        service.server_close()
        thread.join()

    def test_it_cannot_leave_the_directory(self, evil: str, tmp_path: Path) -> None:
        transport = HttpTransport(evil, token="x" * 20)
        got = transport.download("job", "model", tmp_path / "in" / "here")
        assert got == tmp_path / "in" / "here" / "escaped"
        transport.close()
