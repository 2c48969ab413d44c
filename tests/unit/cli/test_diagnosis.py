"""What a machine's facts mean, and the command that changes what is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.catalogue.images import SHIPPED, ImageRule
from orchestrator.cli import main, probing
from orchestrator.cli.diagnosis import Check, Level, diagnose
from orchestrator.cli.probing import Facts, ask_interpreter, read_sysctls, writable_cgroup

GOOD = Facts(
    system="Linux",
    is_root=False,
    has_systemd=True,
    python="3.11.7",
    has_venv=True,
    home="/home/me/.orchestrator",
    home_error=None,
    free_bytes=100 << 30,
    service=None,
    url=None,
    isolation="bubblewrap",
    bubblewrap="/usr/bin/bwrap",
    sysctls={"apparmor": 0, "maximum": 60_000},
    cgroup="v2",
    interpreter={"path": "/usr/bin/python3", "version": "3.11.7", "found": ["torch"]},
    docker_cli="/usr/bin/docker",
    docker={"architecture": "amd64", "rootless": False, "cgroup_version": 2, "cpus": 8},
    gpus=(0, 1),
    nvidia_smi=None,
    images=SHIPPED,
    images_error=None,
)


def check(name: str, **changes) -> Check:
    return next(c for c in diagnose(replace(GOOD, **changes)) if c.name == name)


def test_a_good_machine_needs_nothing():
    checks = diagnose(GOOD)
    assert all(c.level is Level.OK and not c.remedy for c in checks)
    assert check("gpus").detail.startswith("2 (0, 1)")
    assert "torch" in check("job python").detail


def test_a_machine_without_bubblewrap_is_told_the_command():
    found = check("sandbox", isolation="none", bubblewrap=None)
    assert found.level is Level.WARN
    assert "/opt/ml is not served" in found.detail
    assert found.remedy == ("sudo apt-get install -y bubblewrap",)


def test_root_needs_no_sudo():
    found = check("sandbox", isolation="none", bubblewrap=None, is_root=True)
    assert found.remedy == ("apt-get install -y bubblewrap",)


@pytest.mark.parametrize(
    ("sysctls", "setting"),
    [
        ({"apparmor": 1}, "kernel.apparmor_restrict_unprivileged_userns=0"),
        ({"clone": 0}, "kernel.unprivileged_userns_clone=1"),
        ({"maximum": 0}, "user.max_user_namespaces=15000"),
    ],
)
def test_what_the_kernel_forbids_is_told_with_the_setting(sysctls, setting):
    found = check("sandbox", isolation="none", sysctls=sysctls)
    assert found.level is Level.WARN
    assert found.remedy[0].startswith(f"echo {setting} | sudo tee -a /etc/sysctl.d/")


def test_a_mac_has_no_sandbox_and_is_pointed_to_docker():
    found = check("sandbox", isolation="none", system="Darwin", bubblewrap=None)
    assert found.level is Level.WARN
    assert "--backend docker" in found.remedy[0]


def test_the_disk_warns_and_then_fails():
    assert check("disk", free_bytes=1 << 30).level is Level.WARN
    full = check("disk", free_bytes=1 << 20)
    assert full.level is Level.FAIL
    assert full.remedy[0].startswith("orchestrator gc")


def test_a_home_that_cannot_be_opened_fails_with_the_reason():
    found = check("home", home_error="the database is damaged", isolation=None)
    assert (found.level, found.detail) == (Level.FAIL, "the database is damaged")
    assert check("sandbox", isolation=None).level is Level.WARN


def test_an_interpreter_that_does_not_run_fails():
    found = check("job python", interpreter={"path": "/x", "error": "no such file"})
    assert found.level is Level.FAIL
    assert "ORCHESTRATOR_PYTHON" in found.remedy[0]


def test_an_interpreter_without_frameworks_says_so():
    interpreter = {"path": "/x", "version": "3.12.1", "found": []}
    assert "no PyTorch" in check("job python", interpreter=interpreter).detail


def test_a_python_without_venv_is_told_the_package():
    assert check("python", has_venv=False).remedy == ("sudo apt-get install -y python3-venv",)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"docker_cli": None}, "sudo apt-get install -y docker.io"),
        ({}, "sudo systemctl start docker"),
        ({"is_root": True}, "systemctl start docker"),
        ({"is_root": True, "has_systemd": False}, "dockerd > /tmp/dockerd.log 2>&1 &"),
        ({"system": "Darwin"}, "open -a Docker"),
    ],
)
def test_docker_is_never_needed_but_its_lack_is_explained(changes, remedy):
    found = check("docker", docker={"error": "no engine answers", "code": "x"}, **changes)
    assert found.level is Level.WARN
    assert "the process back end needs none" in found.detail
    assert found.remedy[0] == remedy


def test_no_control_groups_are_no_loss_on_linux():
    assert check("limits", cgroup=None).level is Level.OK
    assert check("limits", cgroup=None, system="Darwin").level is Level.WARN


def test_a_gpu_without_its_driver_is_told():
    found = check("gpus", gpus=(), nvidia_smi="/usr/bin/nvidia-smi")
    assert found.level is Level.WARN


def test_the_service_that_is_asked_is_named():
    assert (
        check("service", url="https://far:1").detail == "https://far:1 is asked (ORCHESTRATOR_URL)"
    )


def test_a_running_service_is_named():
    assert check("service", service="http://127.0.0.1:8760").detail == "http://127.0.0.1:8760"


# -- looking -------------------------------------------------------------------------------


def test_kernel_settings_are_read_where_they_exist(tmp_path):
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    (tmp_path / "kernel" / "unprivileged_userns_clone").write_text("what?\n")
    assert read_sysctls(tmp_path) == {"apparmor": 1}


def test_control_groups_version_2_are_seen(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/user.slice\n")
    root = tmp_path / "fs"
    (root / "user.slice").mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpu memory\n")
    assert writable_cgroup(root, own) == "v2"
    own.write_text("0::/not/there\n")
    assert writable_cgroup(root, own) is None


def test_control_groups_version_1_are_seen(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/\n4:memory:/elsewhere\n0::/\n")
    root = tmp_path / "fs"
    (root / "memory").mkdir(parents=True)
    assert writable_cgroup(root, own) == "v1"
    assert writable_cgroup(root, tmp_path / "none") is None


def test_an_interpreter_is_asked_what_it_has():
    import sys

    found = ask_interpreter(sys.executable)
    assert found["version"] == sys.version.split()[0]
    assert "error" in ask_interpreter("/no/such/python")


def test_doctor_says_all_of_it(tmp_path, capsys):
    home = str(tmp_path / "home")
    code = main.main(["doctor", "--json", "--home", home])
    body = json.loads(capsys.readouterr().out)
    assert {c["name"] for c in body["checks"]} == {c.name for c in diagnose(GOOD)}
    assert body["ok"] is (code == 0)
    assert main.main(["doctor", "--home", home]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line[:4] in {"ok  ", "warn", "fail"}]) == len(
        body["checks"]
    )


def test_doctor_fails_where_the_home_is_damaged(tmp_path, capsys):
    home = tmp_path / "home"
    home.mkdir()
    (home / "store.sqlite3").write_bytes(b"this is no database" * 1000)
    assert main.main(["doctor", "--home", str(home)]) == 1
    shown = capsys.readouterr().out
    assert "fail  home" in shown
    assert probing.Facts is Facts


def test_the_image_map_is_shown_with_the_user_s_rules_first():
    mine = ImageRule(pattern="mine:*", docker="mine-here:{tag}", process="/opt/python")
    found = [c for c in diagnose(replace(GOOD, images=(mine, *SHIPPED))) if c.name == "images"]
    assert found[0].detail == "mine:* -> mine-here:{tag} (docker) or /opt/python (process)"
    assert all("pytorch-training" in c.detail and "job python" in c.detail for c in found[1:2])
    assert "dkr.ecr" not in found[1].detail


def test_an_image_map_that_is_broken_is_told():
    broken = check("images", images=(), images_error="images.toml must be TOML")
    assert (broken.level, broken.detail) == (Level.WARN, "images.toml must be TOML")
    assert broken.remedy
