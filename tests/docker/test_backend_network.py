"""Who can reach whom: hosts of one job each other, isolated jobs nobody, jobs not each other."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext
from orchestrator.testing.backend_contract import Program, Wish, exit_of, stop_request
from tests.docker.backend_harness import DockerHarness, docker, docker_harness

pytestmark = pytest.mark.docker

ISOLATED = {"enable_network_isolation": True}

# Rank 0 listens on its own name; the other says hello. Both print what they see.
PAIR = """
import os, socket, sys, time
host = os.environ["SM_CURRENT_HOST"]
if host == "algo-1":
    with socket.create_server(("", 7777)) as server:
        server.settimeout(60)
        peer, _ = server.accept()
        print("heard", peer.recv(100).decode())
else:
    for _ in range(600):
        try:
            with socket.create_connection(("algo-1", 7777), 5) as peer:
                peer.sendall(host.encode())
            break
        except OSError:
            time.sleep(0.1)
    else:
        sys.exit("algo-1 was never reached")
print("outside:", end=" ")
try:
    socket.create_connection((os.environ["OUTSIDE"], int(os.environ["PORT"])), 2)
    print("reached")
except OSError as error:
    print("closed", error)
try:
    print("resolved", socket.getaddrinfo("example.invalid-but-asked.org", 80))
except OSError as error:
    print("unresolved", error)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[DockerHarness]:
    """One home for all tests here."""
    with docker_harness(tmp_path_factory.mktemp("home"), base_image) as harness:
        yield harness


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of this machine, open on every address."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server


def bridge_address() -> str:
    """The address of this machine on the engine's default bridge."""
    template = "{{(index .IPAM.Config 0).Subnet}}"
    network = docker("network", "inspect", "bridge", "--format", template)
    return str(next(ipaddress.ip_network(network).hosts()))


def run(home: DockerHarness, context: AttemptContext) -> dict[str, str]:
    """Run all hosts to their ends; return what each printed."""
    handles = home.start(context)
    printed = {}
    for host, handle in handles.items():
        record = exit_of(home.ended(context, host, handle))
        log = (context.host_directory(host) / contract.LOG_FILE).read_text()
        assert record["exit_code"] == 0, log
        printed[host] = log
    home.backend.release(context)
    return printed


def outside(listener: socket.socket, address: str | None = None) -> dict[str, str]:
    """Variables that tell a program where this machine listens."""
    return {"OUTSIDE": address or bridge_address(), "PORT": str(listener.getsockname()[1])}


def test_two_hosts_find_each_other_by_name(home: DockerHarness, listener: socket.socket):
    wish = Wish(Program.SUCCEEDS, hosts=2, spec={"environment": outside(listener)})
    context = home.script(PAIR, wish)
    printed = run(home, context)
    assert "heard algo-2" in printed["algo-1"]
    assert home.leftovers(context) == []


def test_isolated_hosts_find_each_other_and_nobody_else(
    home: DockerHarness, listener: socket.socket
):
    wish = Wish(Program.SUCCEEDS, hosts=2, spec={**ISOLATED, "environment": outside(listener)})
    printed = run(home, home.script(PAIR, wish))
    assert "heard algo-2" in printed["algo-1"]
    for text in printed.values():
        assert "outside: closed" in text, text
        assert "unresolved" in text, text


def test_isolated_hosts_do_not_even_reach_this_machine_through_their_gateway(
    home: DockerHarness, listener: socket.socket
):
    source = """
import os, socket, struct
lines = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
networks = [int(line[1], 16) for line in lines]
for network in networks:  # the first address of each network is its gateway's
    gateway = socket.inet_ntoa(struct.pack("<I", network + (1 << 24)))
    try:
        socket.create_connection((gateway, int(os.environ["PORT"])), 3)
        print("reached", gateway)
    except OSError as error:
        print("closed", gateway)
"""
    wish = Wish(Program.SUCCEEDS, hosts=2, spec={**ISOLATED, "environment": outside(listener)})
    printed = run(home, home.script(source, wish))
    for text in printed.values():
        assert "closed" in text, text
        assert "reached" not in text, text


def test_an_isolated_host_resolves_its_own_name_and_reaches_nobody(
    home: DockerHarness, listener: socket.socket
):
    source = """
import os, socket
print("me", socket.gethostbyname("algo-1"), socket.gethostname())
with socket.create_server(("algo-1", 0)) as server:
    socket.create_connection(server.getsockname(), 5).close()
try:
    socket.create_connection((os.environ["OUTSIDE"], int(os.environ["PORT"])), 2)
    print("reached")
except OSError as error:
    print("closed", error)
"""
    wish = Wish(Program.SUCCEEDS, spec={**ISOLATED, "environment": outside(listener)})
    printed = run(home, home.script(source, wish))["algo-1"]
    assert "me 127.0.0.1 algo-1" in printed
    assert "closed [Errno 101] Network is unreachable" in printed


def test_a_single_host_reaches_the_outside_but_no_other_job(
    home: DockerHarness, listener: socket.socket
):
    server = home.script(
        "import socket; s = socket.create_server(('', 7777)); print('ready', flush=True)\n"
        "s.accept(); print('INTRUDER', flush=True)",
        Wish(Program.WAITS),
    )
    handles = home.start(server)
    home.ready(server)
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}"
    address, gateway = docker("inspect", home.container(server), "--format", template).split()
    source = f"""
import os, socket
for place in (({address!r}, 7777), (os.environ["OUTSIDE"], int(os.environ["PORT"]))):
    try:
        socket.create_connection(place, 3)
        print("reached", place[0])
    except OSError as error:
        print("closed", place[0])
"""
    wish = Wish(Program.SUCCEEDS, spec={"environment": outside(listener, gateway)})
    printed = run(home, home.script(source, wish))["algo-1"]
    assert f"closed {address}" in printed
    assert f"reached {gateway}" in printed
    home.backend.stop(server, "algo-1", handles["algo-1"], stop_request())
    home.ended(server, "algo-1", handles["algo-1"])
    home.backend.release(server)


def test_torchrun_style_names_are_as_sagemaker_has_them(home: DockerHarness):
    source = """
import json, os
config = json.load(open("/opt/ml/input/config/resourceconfig.json"))
print(json.dumps([config["current_host"], config["hosts"], config["network_interface_name"]]))
print(sorted(os.listdir("/sys/class/net")))
"""
    printed = run(home, home.script(source, Wish(Program.SUCCEEDS, hosts=2)))
    for host, text in printed.items():
        assert f'["{host}", ["algo-1", "algo-2"], "eth0"]' in text
        assert "eth0" in text.splitlines()[1]


def test_a_network_removed_behind_our_back_is_made_again(home: DockerHarness):
    run(home, home.script("pass", Wish(Program.SUCCEEDS)))
    docker("network", "rm", f"orchestrator-{home.settings.home_id}")
    run(home, home.script("pass", Wish(Program.SUCCEEDS)))
