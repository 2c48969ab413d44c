"""The private PostgreSQL server: an empty database for each test, and a server that may be restarted."""

from __future__ import annotations

import psycopg
import pytest

pytestmark = pytest.mark.postgres


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))


def test_each_test_gets_an_empty_database(postgres_url):
    with connect(postgres_url) as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'public'"
        ).fetchall()
    assert tables == []


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_committed_rows_outlive_a_restart_and_connections_do_not(
    postgres_server, postgres_url, mode
):
    with connect(postgres_url) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept values (1)")
        connection.commit()
        postgres_server.restart(mode)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with connect(postgres_url) as connection:
        assert connection.execute("select n from kept").fetchall() == [(1,)]
