"""The driver is started while the command still loads."""

from __future__ import annotations

from orchestrator.cli.early import start_driver_early


def test_a_service_by_address_needs_no_driver(tmp_path, monkeypatch):
    home = tmp_path / "home"
    start_driver_early(home, "http://127.0.0.1:1")()
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://127.0.0.1:1")
    start_driver_early(home, None)()
    assert not home.exists()


def test_a_home_that_cannot_be_used_is_left_to_the_call_that_needs_it(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    start_driver_early(blocked / "home", None)()


def test_a_driver_is_started_once(orchestrator_home):
    from orchestrator.testing.plugin import driver_pid

    start_driver_early(None, None)()
    first = driver_pid(orchestrator_home)
    assert first is not None
    start_driver_early(None, None)()
    assert driver_pid(orchestrator_home) == first
