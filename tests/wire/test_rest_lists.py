"""Lists over REST: filters, and pages that neither double nor hide a job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings
from orchestrator.spec.job import TrainingJobSpec
from tests.wire.conftest import client_of, shell

NAMES = [f"{kind}-{n}" for kind in ("alpha", "Beta", "gamma-x") for n in range(15)]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with jobs that wait for ever: they ask for the machine, one at a time, paused."""
    home = tmp_path_factory.mktemp("lists") / "home"
    with Server(Settings(home=home), ServeOptions(port=0)) as running:
        running.service.driving.close()
        for place, name in enumerate(NAMES):
            running.service.store.create_job(
                TrainingJobSpec.parse(shell("true", name)),
                arn=f"arn:{name}",
                now=START + timedelta(seconds=place),
            )
        yield running


@pytest.fixture(scope="module")
def client(filled: Server) -> Iterator[httpx.Client]:
    with client_of(filled) as connected:
        yield connected


def pages(client: httpx.Client, **query: Any) -> list[list[str]]:
    found, cursor = [], None
    while True:
        given = {key: value for key, value in query.items() if value is not None}
        answer = client.get("training-jobs", params=given | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.append([job["name"] for job in page["jobs"]])
        cursor = page["next_cursor"]
        if cursor is None:
            return found


filters = st.fixed_dictionaries(
    {
        "limit": st.integers(1, 50),
        "sort_by": st.sampled_from(["Name", "CreationTime", "Status"]),
        "descending": st.booleans(),
        "name_contains": st.none() | st.sampled_from(["a", "A-", "gamma", "-1", "zzz", "%", "_"]),
        "status_equals": st.none() | st.sampled_from(["InProgress", "Failed"]),
        "created_after": st.none() | st.integers(-1, 50),
        "created_before": st.none() | st.integers(-1, 50),
    }
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(filters)
def test_pages_together_are_the_whole_list(client: httpx.Client, query: dict[str, Any]) -> None:
    for key in ("created_after", "created_before"):
        if query[key] is not None:
            query[key] = (START + timedelta(seconds=query[key])).isoformat()
    small = pages(client, **query)
    assert all(len(page) == query["limit"] for page in small[:-1])
    together = [name for page in small for name in page]
    [whole] = pages(client, **{**query, "limit": 1000})
    assert together == whole
    assert len(set(together)) == len(together)
    term = (query["name_contains"] or "").lower()
    assert all(term in name.lower() for name in together)
    if query["sort_by"] == "Name":
        keys = [name.lower() for name in together]
        assert keys == sorted(keys, reverse=query["descending"])


def test_a_job_that_comes_meanwhile_neither_doubles_nor_hides_others(filled: Server) -> None:
    with client_of(filled) as client:
        first = client.get("training-jobs", params={"limit": 10}).json()
        filled.service.store.create_job(
            TrainingJobSpec.parse(shell("true", "latecomer")), arn="arn:late", now=START
        )
        seen = [job["name"] for job in first["jobs"]]
        cursor = first["next_cursor"]
        while cursor:
            page = client.get("training-jobs", params={"limit": 10, "cursor": cursor}).json()
            seen += [job["name"] for job in page["jobs"]]
            cursor = page["next_cursor"]
        assert seen == list(reversed(NAMES))
        filled.service.store._database.write(  # type: ignore[attr-defined]
            lambda connection, _: connection.exec_driver_sql(
                "DELETE FROM jobs WHERE name = 'latecomer'"
            ),
            durable=False,
        )


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"sort_by": "Colour"},
        {"status_equals": "Done"},
        {"created_after": "yesterday"},
        {"created_after": "2026-01-01T00:00:00"},
        {"created_after": "2e9"},
        {"limit": [1, 2]},
        {"colour": "red"},
        {"cursor": "made-up"},
        {"cursor": "AAAA"},
        {"descending": "perhaps"},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    client: httpx.Client, query: dict[str, Any]
) -> None:
    answer = client.get("training-jobs", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_spec")


def test_a_cursor_belongs_to_its_query(client: httpx.Client) -> None:
    cursor = client.get("training-jobs", params={"limit": 2}).json()["next_cursor"]
    other = {"limit": 2, "sort_by": "Name", "cursor": cursor}
    assert client.get("training-jobs", params=other).status_code == 400
    tampered = {"limit": 2, "cursor": cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")}
    assert client.get("training-jobs", params=tampered).status_code == 400


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00Z"]
)
def test_the_ends_of_time_are_no_trouble(client: httpx.Client, moment: str) -> None:
    for key in ("created_after", "created_before", "modified_after", "modified_before"):
        assert client.get("training-jobs", params={key: moment}).status_code == 200
