"""What a program cannot do to the machine, and that scripts find /opt/ml."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.hosts import RUNTIME, Host, namespaces, need_fence

SYSTEM_PYTHON = "/usr/bin/python3"


def system_python_will_do() -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 9))"
    return (
        Path(SYSTEM_PYTHON).exists()
        and subprocess.run([SYSTEM_PYTHON, "-c", check], check=False).returncode == 0
    )


@pytest.fixture(params=["root", "nobody"])
def sandboxed(request: pytest.FixtureRequest, new_host: Callable[..., Host]) -> Iterator[Host]:
    """A host in namespaces, started by root and by a user without any rights."""
    need_fence("namespaces")
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        yield new_host(fence="namespaces")
        return
    if os.geteuid() == 0 and not (shutil.which("setpriv") and system_python_will_do()):
        pytest.skip("needs setpriv, and a Python that any user may run")
    # The folders of pytest are closed to other users.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="orchestrator-test-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101
        runtime = Path(folder) / "runtime"
        shutil.copytree(RUNTIME, runtime, ignore=shutil.ignore_patterns("__pycache__"))
        host = Host(Path(folder) / "home" / "algo-1", python=SYSTEM_PYTHON, fence="namespaces")
        host.runtime = runtime
        host.plan["sandbox"]["namespaces"] = namespaces(host.directory, runtime)
        host.prefix = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "sh",
            "-c",
            'exec "$0" "$@"',
        ]
        before = host.start

        def start() -> Host:
            subprocess.run(["chown", "-R", "65534:65534", folder], check=True)
            host.write("plan.json", host.plan)
            os.chown(host.directory / "plan.json", 65534, 65534)
            return before()

        host.start = start  # type: ignore[method-assign]
        yield host
        host.close()


@pytest.fixture
def spec(sandboxed: Host) -> dict[str, Any]:
    namespaces: dict[str, Any] = sandboxed.plan["sandbox"]["namespaces"]
    return namespaces


class TestNamespaces:
    def test_serve_opt_ml_and_keep_what_else_is_in_opt(self, sandboxed: Host):
        others = {name for name in os.listdir("/opt") if name != "ml"}  # noqa: PTH208
        record = sandboxed.program(
            "import os; print(os.getcwd()); print('\\n'.join(os.listdir('/opt'))); open('/opt/ml/model/w', 'w').write('x')"
        ).run()
        assert record["exit_code"] == 0, sandboxed.log
        cwd, *entries = sandboxed.log.decode().splitlines()
        assert cwd == "/opt/ml/code"
        assert set(entries) == others | {"ml", "orchestrator", "orchestrator.records"}
        assert record["artifacts"]["model"]["files"] == 1
        assert not Path("/opt/ml").exists()

    def test_make_the_machine_read_only(self, sandboxed: Host):
        sandboxed.program(
            """
            import errno, os
            for path in ("/x", "/etc/x", "/usr/x", "/opt/orchestrator/x", "/var/tmp/x", "/sys/x"):
                try:
                    open(path, "w")
                    print("wrote", path)
                except OSError as error:
                    if error.errno != errno.EROFS: print(path, error)
            for path in ("/tmp/x", "/opt/ml/input/x", "/opt/ml/checkpoints/x", "/dev/null"):
                open(path, "w").write("x")
            """
        ).run()
        assert sandboxed.log == b""

    def test_show_only_the_programs_own_processes(self, sandboxed: Host):
        sandboxed.program(
            "import os; print(sorted(n for n in os.listdir('/proc') if n.isdigit()), os.getppid())"
        ).run()
        assert sandboxed.log == b"['1', '2'] 1\n"

    def test_give_the_host_its_name_and_hosts_file(self, sandboxed: Host, spec: dict[str, Any]):
        hosts = sandboxed.directory / "hosts"
        hosts.write_text("127.0.0.1 localhost\n127.9.9.9 algo-1\n")
        spec["binds"].append([str(hosts), "/etc/hosts", "ro"])
        sandboxed.program(
            "import socket; print(socket.gethostname(), socket.gethostbyname('algo-1'))"
        ).run()
        assert sandboxed.log == b"algo-1 127.9.9.9\n"

    def test_without_network_have_loopback_only(self, sandboxed: Host, spec: dict[str, Any]):
        spec["network"] = False
        sandboxed.program(
            """
            import errno, socket
            server = socket.create_server(("127.0.0.1", 0))
            socket.create_connection(server.getsockname()).close()
            try:
                socket.create_connection(("192.0.2.1", 80), timeout=5)
            except OSError as error:
                print(errno.errorcode[error.errno])
            print(sorted(name for _, name in socket.if_nameindex() if name == "lo" or "eth" in name))
            """
        ).run()
        assert sandboxed.log == b"ENETUNREACH\n['lo']\n"

    def test_hide_directories_and_show_parts_of_them(self, sandboxed: Host, spec: dict[str, Any]):
        spec["hide"] = ["/var"]
        spec["tmpfs"] = ["/dev/shm"]
        spec["binds"].append(["/etc/passwd", "/var/deep/passwd", "ro"])
        sandboxed.program(
            """
            import os
            print(os.listdir("/var"), os.listdir("/var/deep"), len(open("/var/deep/passwd").read()) > 0)
            print(os.listdir("/dev/shm"))
            open("/dev/shm/x", "w").close()
            try: open("/var/x", "w")
            except OSError as error: print(error.strerror)
            """
        ).run()
        assert sandboxed.log == b"['deep'] ['passwd'] True\n[]\nRead-only file system\n"

    def test_leave_no_rights_to_mount_or_to_gain_rights(self, sandboxed: Host):
        sandboxed.program(
            """
            import ctypes, os
            libc = ctypes.CDLL(None, use_errno=True)
            print(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None), libc.umount2(b"/opt/ml", 2))
            print(libc.mount(None, b"/", None, 4096 | 32, None))
            status = open("/proc/self/status").read().splitlines()
            print([line.split()[1] for line in status if line.startswith("NoNewPrivs")])
            """
        ).run()
        assert sandboxed.log == b"-1 -1\n-1\n['1']\n"

    def test_give_no_way_to_the_descriptors_and_memory_of_the_first_process(self, sandboxed: Host):
        """It holds the pipe that tells how the program ended."""
        sandboxed.program(
            """
            import os
            for what in ("environ", "mem", "maps", *(f"fd/{number}" for number in range(100))):
                for mode in ("rb", "wb"):
                    try:
                        open(f"/proc/1/{what}", mode).read(1)
                        print(what, mode)
                    except (PermissionError, FileNotFoundError):
                        continue
            """
        ).run()
        assert sandboxed.log == b""

    def test_keep_the_users_number(self, sandboxed: Host):
        sandboxed.program("import os; print(os.getuid() == os.stat('/opt/ml/model').st_uid)").run()
        assert sandboxed.log == b"True\n"

    def test_reap_what_the_program_orphans(self, sandboxed: Host):
        sandboxed.program(
            """
            import os, subprocess, time
            for _ in range(20):
                subprocess.run(["/bin/sh", "-c", "(sleep 0.01 &)"])
            while len([n for n in os.listdir("/proc") if n.isdigit()]) > 2:
                time.sleep(0.01)  # until the limit of this test
            print([n for n in os.listdir("/proc") if n.isdigit()])
            """
        ).run()
        assert sandboxed.log == b"['1', '2']\n"

    def test_leave_no_mounts_behind(self, sandboxed: Host):
        sandboxed.shell("true").run()
        assert str(sandboxed.directory) not in Path("/proc/self/mountinfo").read_text()

    def test_stay_private_where_mounts_are_shared(self, sandboxed: Host, tmp_path: Path):
        """systemd shares all mounts by default."""
        if os.geteuid() != 0:
            pytest.skip("needs root")
        seen = tmp_path / "mounts"
        script = '"$@"; cat /proc/self/mountinfo > "$0"'
        shared = ["unshare", "-m", "--propagation", "shared", "sh", "-c", script, str(seen)]
        sandboxed.prefix = [*shared, *sandboxed.prefix]
        assert sandboxed.shell("ls -d /opt/ml/model").run()["exit_code"] == 0
        assert "/opt/ml" not in seen.read_text()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"binds": [["/no/such/source", "/opt/ml", "rw"]]}, "No such file or directory"),
            ({"tmpfs": ["/no-such-top/x"]}, "its directory is missing in /"),
            ({"hide": ["/no-such-place"]}, "mount of tmpfs on /no-such-place failed"),
        ],
    )
    def test_that_cannot_be_made_are_named(
        self, sandboxed: Host, spec: dict[str, Any], change: dict[str, Any], message: str
    ):
        spec.update(change)
        record = sandboxed.shell("true").run()
        assert record["outcome"] == "not_started"
        assert message in record["message"]


class TestBubblewrap:
    def test_serves_opt_ml_read_only_machine_and_own_processes(
        self, new_host: Callable[..., Host]
    ):
        need_fence("bubblewrap")
        host = new_host(fence="bubblewrap")
        record = host.program(
            """
            import os
            print(os.getcwd(), sorted(n for n in os.listdir("/proc") if n.isdigit()))
            open("/opt/ml/model/w", "w").write("x")
            try: open("/etc/x", "w")
            except OSError as error: print(error.strerror)
            """
        ).run()
        assert host.log == b"/opt/ml/code ['1', '2']\nRead-only file system\n"
        assert record["artifacts"]["model"]["files"] == 1

    def test_that_cannot_be_set_up_is_named(self, new_host: Callable[..., Host]):
        need_fence("bubblewrap")
        host = new_host(fence="bubblewrap")
        host.plan["sandbox"]["prefix"][1:1] = ["--bind", "/no/such/source", "/opt/x"]
        record = host.shell("echo hi").run()
        assert record["outcome"] == "not_started"
        assert "bwrap: Can't find source path /no/such/source" in record["message"]

    def test_that_is_missing_is_named(self, new_host: Callable[..., Host]):
        host = new_host(fence="bubblewrap")
        host.plan["sandbox"]["prefix"][0] = "/no/such/bwrap"
        record = host.shell("true").run()
        assert record["outcome"] == "not_started"
        assert "No such file or directory" in record["message"]
