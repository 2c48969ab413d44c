"""obstore (Rust's object_store), an independent client; it asks for ranges in parallel."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.s3.live import KEY, LiveGateway, client

obstore: Any = pytest.importorskip("obstore", reason="obstore is not installed")

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["ours", "moto"])
def store(request: pytest.FixtureRequest, gateway: LiveGateway, moto: str) -> Any:
    """A new bucket of either server: what holds for one must hold for the other."""
    name = f"b-{uuid.uuid4().hex}"
    url = {"ours": gateway.url, "moto": moto}[request.param]
    s3 = client(url)
    s3.create_bucket(Bucket=name)
    s3.close()
    return obstore.store.S3Store(
        name,
        endpoint=url,
        region="us-east-1",
        access_key_id=KEY.id,
        secret_access_key=KEY.secret,
        client_options={"allow_http": True},
    )


def test_objects_come_back_as_they_were(store):
    for key in ("a", "p", "p/q", "ü ☃", "a b+c&d"):
        store.put(key, key.encode())
    for key in ("a", "p", "p/q", "ü ☃", "a b+c&d"):
        assert bytes(store.get(key).bytes()) == key.encode()
    listed = sorted(one["path"] for page in store.list() for one in page)
    assert listed == sorted(["a", "p", "p/q", "ü ☃", "a b+c&d"])
    by_folder = store.list_with_delimiter()
    assert list(by_folder["common_prefixes"]) == ["p"]


def test_uploads_in_parts_and_parallel_ranges(store):
    data = os.urandom(23 * MIB + 5)
    store.put("big", data, use_multipart=True, chunk_size=5 * MIB, max_concurrency=4)
    assert bytes(store.get("big").bytes()) == data
    starts = [0, 10 * MIB, 20 * MIB]
    parts = store.get_ranges("big", starts=starts, lengths=[1000] * 3)
    assert [bytes(part) for part in parts] == [data[start : start + 1000] for start in starts]
    store.copy("big", "copy")
    assert store.head("copy")["size"] == len(data)
    store.delete(["big", "copy"])
    assert not [one for page in store.list() for one in page]


def test_conditions(store):
    from obstore.exceptions import AlreadyExistsError

    store.put("a", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("a", b"2", mode="create")
    tag = store.head("a")["e_tag"]
    store.put("a", b"3", mode={"e_tag": tag})
    assert bytes(store.get("a").bytes()) == b"3"
    with pytest.raises(FileNotFoundError):
        store.head("nothing")
