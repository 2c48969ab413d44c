"""Chunked bodies, cut anywhere; signatures are checked in turn before the next chunk counts."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.caller import ChunkSigner
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3.chunked import ChunkedDecoder


class Recorder(ChunkSigner):
    """A signer that accepts the signatures of its list, and notes what they were for."""

    def __init__(self, *good):
        self.good = list(good)
        self.seen = []

    def verify(self, signature, digest):
        if not self.good or signature != self.good.pop(0):
            raise AwsError("SignatureDoesNotMatch", "no", 403)
        self.seen.append(digest)

    def verify_trailer(self, signature, trailer):
        self.verify(signature, trailer)


def signed(*chunks):
    return b"".join(
        b"%x;chunk-signature=s%d\r\n%s\r\n" % (len(chunk), number, chunk)
        for number, chunk in enumerate([*chunks, b""])
    )


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 30))
def test_any_cut_gives_the_same_bytes(chunks, step):
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    body += b"0\r\nx-amz-checksum-crc32: abc=\r\n\r\n"
    decoder = ChunkedDecoder()
    pieces = [decoder.feed(body[at : at + step]) for at in range(0, len(body), step)]
    decoder.end()
    assert b"".join(pieces) == b"".join(chunks)
    assert decoder.trailers == {"x-amz-checksum-crc32": "abc="}


@given(st.integers(0, 60))
def test_a_body_that_ends_early_is_no_body(length):
    body = b"4\r\ndata\r\n5\r\nother\r\n0\r\nx-amz-checksum-crc32:abc=\r\n\r\n"
    decoder = ChunkedDecoder()
    decoder.feed(body[: min(length, body.index(b"0\r\n"))])
    with pytest.raises(AwsError, match="ended early"):
        decoder.end()


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_every_chunk_is_verified_also_the_empty_one(step):
    recorder = Recorder("s0", "s1", "s2")
    decoder = ChunkedDecoder(recorder)
    body = signed(b"one", b"two")
    out = b"".join(decoder.feed(body[at : at + step]) for at in range(0, len(body), step))
    decoder.end()
    assert out == b"onetwo"
    assert recorder.seen == [hashlib.sha256(part).hexdigest() for part in (b"one", b"two", b"")]


@pytest.mark.parametrize("good", [(), ("s0",), ("s0", "other")])
def test_a_wrong_signature_ends_it(good):
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        ChunkedDecoder(Recorder(*good)).feed(signed(b"one", b"two"))


def test_a_chunk_without_a_signature_ends_it():
    with pytest.raises(AwsError, match="no signature"):
        ChunkedDecoder(Recorder("s0")).feed(b"3\r\none\r\n")


def test_a_signed_trailer_is_verified_without_its_own_signature():
    recorder = Recorder("s0", "s1", "t")
    decoder = ChunkedDecoder(recorder, signed_trailer=True)
    decoder.feed(signed(b"one")[:-2] + b"X-Amz-Checksum-Crc32: abc=\r\n")
    with pytest.raises(AwsError, match="ended early"):
        decoder.end()
    decoder.feed(b"x-amz-trailer-signature:t\r\n\r\n")
    decoder.end()
    assert recorder.seen[-1] == b"x-amz-checksum-crc32:abc=\n"


def test_what_comes_behind_the_end_is_refused():
    with pytest.raises(AwsError, match="goes on after its end"):
        ChunkedDecoder().feed(b"0\r\n\r\nmore")
