"""Outputs as clients expect them: no nulls, times in their protocol's form, XML that can be read."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.serialize import json_document, query_document, query_error, s3_error
from tests.unit.api.aws.operations import ours

DESCRIBE = ours("sagemaker").operations["DescribeTrainingJob"].output
ROLE = ours("iam").operations["GetRole"].output
STATISTICS = ours("cloudwatch").operations["GetMetricStatistics"].output
MOMENT = datetime(2026, 11, 26, 4, 30, 0, 123456, UTC)


def test_nulls_are_left_out_at_every_depth():
    output = {
        "TrainingJobName": "a",
        "FailureReason": None,
        "HyperParameters": {"a": "1", "b": None},
        "ModelArtifacts": {"S3ModelArtifacts": None},
        "SecondaryStatusTransitions": [{"Status": "Starting", "EndTime": None}],
    }
    assert json.loads(json_document(output, DESCRIBE)) == {
        "TrainingJobName": "a",
        "HyperParameters": {"a": "1"},
        "ModelArtifacts": {},
        "SecondaryStatusTransitions": [{"Status": "Starting"}],
    }


def test_an_empty_list_stays():
    assert json_document({"SecondaryStatusTransitions": []}, DESCRIBE) == (
        b'{"SecondaryStatusTransitions":[]}'
    )


def test_times_are_epoch_seconds_with_milliseconds_where_there_are_any():
    for time in (MOMENT, MOMENT.astimezone(timezone(timedelta(hours=5)))):
        body = json.loads(json_document({"CreationTime": time}, DESCRIBE))
        assert body == {"CreationTime": 1795667400.123}
    whole = json_document({"CreationTime": MOMENT.replace(microsecond=0)}, DESCRIBE)
    assert whole == b'{"CreationTime":1795667400}'


def test_times_are_iso_8601_in_xml():
    for time, text in (
        (MOMENT, "2026-11-26T04:30:00.123Z"),
        (MOMENT.replace(microsecond=0), "2026-11-26T04:30:00Z"),
        (MOMENT.astimezone(timezone(timedelta(hours=5))), "2026-11-26T04:30:00.123Z"),
    ):
        body = query_document("GetRole", {"Role": {"CreateDate": time}}, ROLE, "urn:x", "id")
        assert ET.fromstring(body).findtext(".//{urn:x}CreateDate") == text


def test_numbers_that_are_none_are_words():
    points = [{"Average": value} for value in (math.nan, math.inf, -math.inf, 1.5)]
    body = json.loads(json_document({"Datapoints": points}, STATISTICS))
    assert [p["Average"] for p in body["Datapoints"]] == ["NaN", "Infinity", "-Infinity", 1.5]


@pytest.mark.parametrize("output", [{"Nothing": 1}, {"ModelArtifacts": {"Nothing": 1}}])
def test_a_member_that_the_model_does_not_know_is_a_bug(output):
    with pytest.raises(ValueError, match=r"has no members \['Nothing'\]"):
        json_document(output, DESCRIBE)


def test_no_output_is_an_empty_document():
    assert json_document({}, None) == b"{}"
    empty = query_document("DeleteX", {}, None, "", "id")
    assert ET.fromstring(empty).findtext("ResponseMetadata/RequestId") == "id"


@given(st.text(max_size=40))
def test_any_text_can_be_read_in_an_error(text):
    error = AwsError("ValidationError", text)
    for body in (query_error(error, "urn:x", "id"), s3_error(error, text, "id")):
        root = ET.fromstring(body)
        (found,) = [e.text or "" for e in root.iter() if e.tag.endswith("Message")]
        assert len(found) == len(text)
        assert [a for a, b in zip(found, text, strict=True) if a != b] == ["?"] * sum(
            a != b for a, b in zip(found, text, strict=True)
        )
