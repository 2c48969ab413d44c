"""Requests with their signatures as AWS publishes them.

From the "Signature Version 4 test suite" and from the examples of "Authenticating Requests: Using the
Authorization Header" / "Using Query Parameters" / "Transferring Payload in Multiple Chunks" in the
documentation of S3. Keys are those of the documentation.
"""

from __future__ import annotations

import hashlib

from orchestrator.api.aws.received import Received

EMPTY = hashlib.sha256(b"").hexdigest()
SUITE_KEY = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_TIME = "20150830T123600Z"
S3_KEY = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
S3_TIME = "20130524T000000Z"
S3_HOST = "examplebucket.s3.amazonaws.com"


def suite(
    signature: str,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
) -> Received:
    """A request of the test suite, whose service is "service"; its paths are not encoded yet."""
    given = (("host", "example.amazonaws.com"), ("x-amz-date", SUITE_TIME), *headers)
    return signed(
        method, path, query, given, f"{SUITE_KEY[0]}/20150830/us-east-1/service", signature
    )


def s3(
    signature: str,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    payload: str = EMPTY,
) -> Received:
    """An example of S3's documentation."""
    fixed = (("host", S3_HOST), ("x-amz-content-sha256", payload), ("x-amz-date", S3_TIME))
    scope = f"{S3_KEY[0]}/20130524/us-east-1/s3"
    return signed(method, path, query, (*headers, *fixed), scope, signature)


def signed(
    method: str,
    path: str,
    query: str,
    headers: tuple[tuple[str, str], ...],
    scope: str,
    signature: str,
) -> Received:
    names = ";".join(sorted({name for name, _ in headers}))
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={scope}/aws4_request, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return Received(
        method, path.encode(), query.encode(), (*headers, ("authorization", authorization))
    )


FORM = ("content-type", "application/x-www-form-urlencoded")
SUITE = {
    "get-vanilla": (
        suite("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        b"",
    ),
    "get-vanilla-query-order-key-case": (
        suite(
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            query="Param2=value2&Param1=value1",
        ),
        b"",
    ),
    "get-unreserved": (
        suite(
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            path="/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        ),
        b"",
    ),
    "get-utf8": (
        suite("8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85", path="/ሴ"),
        b"",
    ),
    "get-space": (
        suite(
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
            path="/example space/",
        ),
        b"",
    ),
    "post-vanilla": (
        suite("5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", "POST"),
        b"",
    ),
    "post-header-key-sort": (
        suite(
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            "POST",
            headers=(("my-header1", "value1"),),
        ),
        b"",
    ),
    "get-header-value-trim": (
        suite(
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            headers=(("my-header1", "value1"), ("my-header2", '"a b c"')),
        ),
        b"",
    ),
    "post-x-www-form-urlencoded": (
        suite(
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            "POST",
            headers=(FORM,),
        ),
        b"Param1=value1",
    ),
}
S3 = {
    "get an object": s3(
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        path="/test.txt",
        headers=(("range", "bytes=0-9"),),
    ),
    "put an object": s3(
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        "PUT",
        "/test%24file.text",
        headers=(
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ),
        payload=hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
    ),
    "get a life cycle": s3(
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", query="lifecycle"
    ),
    "list objects": s3(
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        query="max-keys=2&prefix=J",
    ),
}
PRESIGNED = Received(
    "GET",
    b"/test.txt",
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256"
    b"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    b"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    b"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    (("host", S3_HOST),),
)
UPLOAD = (
    ("host", "s3.amazonaws.com"),
    ("content-encoding", "aws-chunked"),
    ("x-amz-date", S3_TIME),
    ("x-amz-decoded-content-length", "66560"),
    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
)
CHUNKED = signed(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "",
    (
        *UPLOAD,
        ("content-length", "66824"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    ),
    f"{S3_KEY[0]}/20130524/us-east-1/s3",
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
)
CHUNKS = (
    (b"a" * 65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (b"a" * 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
)
TRAILED = signed(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "",
    (
        *UPLOAD,
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
    ),
    f"{S3_KEY[0]}/20130524/us-east-1/s3",
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
)
TRAILED_CHUNKS = (
    (b"a" * 65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
    (b"a" * 1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
    (b"", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
)
TRAILER = (
    b"x-amz-checksum-crc32c:sOO8/Q==\n",
    "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
)
