"""The checksums that awscrt computes, with boto3 that has it."""

from __future__ import annotations

import base64
import os

import pytest
from awscrt import checksums as crt

MIB = 1024 * 1024
DATA = os.urandom(11 * MIB)
FUNCTIONS = {"CRC32C": (crt.crc32c, 4), "CRC64NVME": (crt.crc64nvme, 8), "CRC32": (crt.crc32, 4)}


def encoded(algorithm: str, data: bytes) -> str:
    function, size = FUNCTIONS[algorithm]
    return base64.b64encode(function(data).to_bytes(size, "big")).decode()


@pytest.mark.parametrize("algorithm", FUNCTIONS)
def test_a_checksum_of_one_piece_and_of_parts(s3, bucket, algorithm):
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket=bucket, Key="a", Body=DATA, ChecksumAlgorithm=algorithm)
    assert put[name] == encoded(algorithm, DATA)
    begun = s3.create_multipart_upload(
        Bucket=bucket, Key="b", ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT"
    )
    upload = {"Bucket": bucket, "Key": "b", "UploadId": begun["UploadId"]}
    parts = []
    for number, start in enumerate((0, 5 * MIB, 10 * MIB), 1):
        piece = DATA[start : start + 5 * MIB]
        sent = s3.upload_part(**upload, PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": sent["ETag"], name: sent[name]})
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert (made[name], made["ChecksumType"]) == (put[name], "FULL_OBJECT")
