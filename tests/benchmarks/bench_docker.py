"""One line of Python in a container, beside `docker run` with the very flags that ours is created with.

What removes containers afterwards is waited for, and counted on neither side.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from orchestrator import Compute, ModelTrainer
from orchestrator.sdk.transport import Transport
from tests.benchmarks import peer
from tests.benchmarks.measure import (
    Contender,
    Line,
    Options,
    Row,
    Skipped,
    eventually,
    take_turns,
    timed,
)
from tests.benchmarks.peer import IMAGE
from tests.benchmarks.world import SCRIPT, World, clean_variables, driven, fresh, served
from tests.plugins.needs import no_docker

TARGET_RATIO = 1.15
WAITS = "import time\ntime.sleep(3600)\n"
NETWORK = "orchestrator-bench"
LABEL = "orchestrator-bench=1"
THEIR_LABEL = "torchx.pytorch.org/version"


def docker(*words: str) -> str:
    """Run the docker command and return what it prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def trainer(world: World, transport: Transport, script: Path) -> ModelTrainer:
    """Return a trainer of a script in the image."""
    return ModelTrainer(
        source_code=str(script),
        training_image=IMAGE,
        compute=Compute(backend="docker"),
        stop_grace_seconds=0,
        transport=transport,
    )


def trained(world: World, transport: Transport) -> Contender:
    """Return a contender that trains the script; between two runs all is cleaned up."""
    ours = trainer(world, transport, world.script)

    def train() -> None:
        job = ours.train(wait=True, logs=False)
        assert job.status == "Completed", (job.status, job.record.message)

    run = timed(train)

    def once() -> float:
        seconds = run()
        await_clean(world)
        return seconds

    return once


def await_clean(world: World) -> None:
    """Wait until a home has no container."""
    label = f"label=orchestrator.home={world.home}"
    eventually(lambda: not docker("ps", "--all", "--quiet", "--filter", label))


def example(world: World, transport: Transport) -> dict[str, Any]:
    """Return what the engine says of one of our containers while it runs."""
    script = world.folder / "waits.py"
    script.write_text(WAITS, encoding="utf-8")
    job = trainer(world, transport, script).train(wait=False)
    label = f"label=orchestrator.job={job.name}"  # the engine is asked about the image before
    name = eventually(lambda: docker("ps", "--quiet", "--filter", label))
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    job.stop()
    job.wait()
    await_clean(world)
    return found


# -- the same by hand ------------------------------------------------------------------------


def flags(found: dict[str, Any], folder: Path) -> list[str]:
    """Return the flags of `docker run` that make a container like the one found.

    Args:
        found: One of ours, as the engine describes it.
        folder: Where the directories are put that it binds.
    """
    host, config = found["HostConfig"], found["Config"]
    words = ["--init"] if host["Init"] else []
    words += ["--hostname", config["Hostname"], "--user", config["User"], "--no-healthcheck"]
    words += [f"--security-opt={option}" for option in host["SecurityOpt"] or ()]
    words += [f"--cap-drop={capability}" for capability in host["CapDrop"] or ()]
    words += [f"--pids-limit={host['PidsLimit']}", f"--shm-size={host['ShmSize']}"]
    words += ["--read-only"] if host["ReadonlyRootfs"] else []
    words += [f"--log-driver={host['LogConfig']['Type']}"]
    words += [f"--log-opt={k}={v}" for k, v in host["LogConfig"]["Config"].items()]
    words += [f"--env={text}" for text in config["Env"] if text.startswith("NVIDIA_")]
    words += [f"--mount={_mount(mount, folder)}" for mount in host["Mounts"]]
    return [*words, "--network", NETWORK]


def _mount(mount: dict[str, Any], folder: Path) -> str:
    source = Path(mount["Source"])
    if source.is_dir() or not source.exists():
        copy = folder / f"bound{mount['Target'].replace('/', '-')}"
        copy.mkdir(exist_ok=True)
        copy.chmod(0o777)
    else:
        copy = folder / f"bound{mount['Target'].replace('/', '-')}"
        copy.touch()
    read_only = ",readonly" if mount.get("ReadOnly") else ""
    return f"type=bind,source={copy},target={mount['Target']}{read_only}"


@contextmanager
def network(found: dict[str, Any]) -> Iterator[None]:
    """A network like ours."""
    like = json.loads(docker("network", "inspect", found["HostConfig"]["NetworkMode"]))[0]
    options = [f"--opt={key}={value}" for key, value in (like["Options"] or {}).items()]
    docker("network", "create", *options, "--label", LABEL, NETWORK)
    try:
        yield
    finally:
        docker("network", "rm", NETWORK)


def by_hand(world: World, words: list[str], program: Path) -> Contender:
    """Return a contender that runs the script with `docker run`."""
    argv = ["docker", "run", "--name", NETWORK, *words, IMAGE, "python3", str(program)]

    def run() -> None:
        subprocess.run(argv, stdout=subprocess.DEVNULL, env=clean_variables(), check=True)

    once = timed(run)

    def measured() -> float:
        seconds = once()
        docker("rm", NETWORK)
        return seconds

    return measured


def rows(options: Options) -> Iterator[Line]:
    """Measure."""
    if (why := no_docker()) is not None:
        yield Skipped("one-line script, docker", why)
        return
    with ExitStack() as stack:
        local, remote = (stack.enter_context(fresh(options.folder)) for _ in range(2))
        transport = stack.enter_context(driven(local))
        found = example(local, transport)
        stack.enter_context(network(found))
        words = flags(found, local.folder)
        code = local.folder / "bound-opt-ml" / "code"
        code.mkdir()
        (code / "hello.py").write_text(SCRIPT, encoding="utf-8")
        contenders: dict[str, Contender] = {
            "socket": trained(local, transport),
            "http": trained(remote, stack.enter_context(served(remote))[0]),
            "docker run, same flags": by_hand(local, words, Path("/opt/ml/code/hello.py")),
            "docker run, no flags": by_hand(
                local, [f"--volume={local.script}:/hello.py"], Path("/hello.py")
            ),
        }
        contenders |= _peer(local, stack)
        measured = take_turns(contenders, options.of(21, 2))
        ours = {"socket": measured.pop("socket"), "http": measured.pop("http")}
        for way, series in ours.items():
            yield Row(
                f"one-line script, docker, service by {way}",
                "s",
                series,
                measured,
                TARGET_RATIO,
                "ratio",
                note="submit -> end seen; clean-up excluded on both sides",
            )


def _peer(world: World, stack: ExitStack) -> dict[str, Contender]:
    if not peer.is_there() or shutil.which("docker") is None:
        return {}
    once = peer.command(world, "-s", "local_docker", "utils.python", "--image", IMAGE)
    containers, images = _theirs("container", "ls", "--all"), _theirs("image", "ls")
    networks = _networks()
    stack.callback(lambda: _remove("network", _networks() - networks))
    stack.callback(lambda: _remove("image", _theirs("image", "ls") - images))

    def measured() -> float:
        seconds = once()
        _remove("container", _theirs("container", "ls", "--all") - containers)
        return seconds

    return {"torchx run -s local_docker": measured}


def _theirs(*words: str) -> set[str]:
    """Return what TorchX has left in the engine: its containers, and an image for each source."""
    return set(docker(*words, "--quiet", "--filter", f"label={THEIR_LABEL}").split())


def _networks() -> set[str]:
    return set(docker("network", "ls", "--quiet", "--filter", "name=^torchx$").split())


def _remove(noun: str, names: set[str]) -> None:
    if names:
        docker(noun, "rm", *names)
