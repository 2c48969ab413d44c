"""The literal requests to the engine: pure values, so every rule is tested without an engine."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import contract

from orchestrator import ids
from orchestrator.backends.base import AttemptContext
from orchestrator.backends.docker_plan import (
    HOST,
    INPUTS,
    NOTIFY,
    RELAY,
    SHARED_FILES,
    SOURCES,
    host_request,
    network_request,
    program_argv,
    reserved_target,
)
from orchestrator.backends.docker_values import (
    LABEL_ATTEMPT,
    LABEL_HOME,
    LABEL_JOB,
    DockerSettings,
    EngineFacts,
    HostRequest,
    ImageFacts,
    Installed,
    Surroundings,
    container_name,
    container_user,
)
from orchestrator.errors import ImageError
from orchestrator.spec.record import HostRecord
from orchestrator.testing.backend_contract import Program, Wish, attempt_context

HOME = Path("/home/somebody/.orchestrator")
SETTINGS = DockerSettings(home=HOME, runtime=HOME / "runtime" / "abc", python="/usr/bin/python3")
ENGINE = EngineFacts("amd64", rootless=False, remaps_users=False, cgroup_version=2, cpus=8)
IMAGE = ImageFacts("mine:1", "sha256:feed", "amd64", python="/usr/bin/python3", path="/usr/bin")
NO_PYTHON = dataclasses.replace(IMAGE, python=None)
AROUND = Surroundings(SETTINGS, ENGINE, IMAGE, (65532, 65532))


def context(*, hosts: int = 1, gpus: tuple[int, ...] = (), **spec: Any) -> AttemptContext:
    """The context of a job that runs a program of image ``mine:1``."""
    algorithm = {"training_image": "mine:1", "container_entrypoint": ["program"]}
    base = {"backend": "docker", "algorithm_specification": algorithm}
    wish = Wish(Program.SUCCEEDS, hosts=hosts, spec=spec)
    made = attempt_context(HOME / "jobs" / "demo", wish, base, number=7)
    members = tuple(HostRecord(**{**host.model_dump(), "gpus": gpus}) for host in made.hosts)
    return dataclasses.replace(made, hosts=members)


def request(around: Surroundings = AROUND, **spec: Any) -> HostRequest:
    """The request for the first host."""
    return host_request(around, context(**spec), "algo-1")


def targets(asked: HostRequest) -> dict[str, dict[str, Any]]:
    """The mounts by where they are seen."""
    return {mount["Target"]: mount for mount in asked.create["HostConfig"]["Mounts"]}


# The fence.


def test_a_hardened_container_has_no_rights_and_an_init():
    host = request().create["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Init"], host["AutoRemove"], host["PidsLimit"]) == (True, False, 4096)
    assert "Privileged" not in host
    assert request().create["User"] == "65532:65532"


def test_a_compatible_container_is_root_with_the_engines_own_rights():
    settings = dataclasses.replace(SETTINGS, profile="compatible")
    around = dataclasses.replace(AROUND, settings=settings, user=(0, 0))
    create = host_request(around, context(), "algo-1").create
    assert create["User"] == "0:0"
    assert "CapDrop" not in create["HostConfig"]
    assert "HOME" not in host_request(around, context(), "algo-1").plan["environment"]


@pytest.mark.parametrize(
    ("profile", "uid", "rootless", "expected"),
    [
        ("hardened", 0, False, (65532, 65532)),
        ("hardened", 1000, False, (1000, 100)),
        ("hardened", 1000, True, (0, 0)),
        ("compatible", 0, False, (0, 0)),
    ],
)
def test_the_user_fits_the_service_and_the_engine(
    profile: str, uid: int, rootless: bool, expected: tuple[int, int]
):
    gid = 100 if uid else 0
    assert container_user(profile, uid, gid, rootless=rootless) == expected


def test_an_engine_that_remaps_users_is_told_not_to():
    engine = dataclasses.replace(ENGINE, remaps_users=True)
    around = dataclasses.replace(AROUND, engine=engine)
    assert request(around).create["HostConfig"]["UsernsMode"] == "host"
    assert "UsernsMode" not in request().create["HostConfig"]


def test_limits_are_what_the_job_asked_for():
    plain = request().create["HostConfig"]
    assert not {"Memory", "NanoCpus", "DeviceRequests"} & set(plain)
    resources = {"cpus": 1.5, "limit_cpus": True, "memory_gib": 2, "shm_size_mib": 64}
    host = request(resources=resources).create["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (2 << 30, 2 << 30)
    assert (host["NanoCpus"], host["ShmSize"]) == (1_500_000_000, 64 << 20)


def test_only_leased_gpus_are_given_and_counted_from_zero_inside():
    asked = request(gpus=(2, 3))
    devices = asked.create["HostConfig"]["DeviceRequests"][0]
    assert devices["DeviceIDs"] == ["2", "3"]
    assert asked.plan["environment"]["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert asked.create["Env"] == []
    assert request().create["Env"] == ["NVIDIA_VISIBLE_DEVICES=void"]


# Networks.


def test_an_isolated_single_host_has_no_network_but_its_own_name():
    asked = request(enable_network_isolation=True)
    assert asked.network is None
    assert asked.create["HostConfig"]["NetworkMode"] == "none"
    assert asked.create["HostConfig"]["ExtraHosts"] == ["algo-1:127.0.0.1"]
    assert asked.create["Hostname"] == "algo-1"


def test_single_hosts_share_a_network_without_seeing_each_other():
    network = network_request(SETTINGS, context())
    assert network is not None
    assert network["options"] == {"com.docker.network.bridge.enable_icc": "false"}
    assert network == network_request(SETTINGS, context(hyper_parameters={"other": "job"}))
    assert LABEL_JOB not in network["labels"]
    assert "NetworkingConfig" not in request().create  # no alias: another job's is algo-1 too


def test_hosts_of_one_job_have_a_network_and_aliases_of_their_own():
    asked = host_request(AROUND, context(hosts=2), "algo-2")
    assert asked.network is not None
    assert asked.network["labels"] == {
        LABEL_HOME: str(HOME),
        LABEL_JOB: "demo",
        LABEL_ATTEMPT: "1",
    }
    ends = asked.create["NetworkingConfig"]["EndpointsConfig"]
    assert ends == {asked.network["name"]: {"Aliases": ["algo-2"]}}
    assert not asked.network["internal"]


def test_isolated_hosts_have_a_network_that_leads_nowhere():
    asked = host_request(AROUND, context(hosts=2, enable_network_isolation=True), "algo-1")
    assert asked.network is not None
    assert asked.network["internal"]
    assert asked.network["options"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert asked.create["HostConfig"]["Dns"] == ["127.0.0.1"]


# Mounts.


def test_the_host_directory_is_shown_and_what_the_service_reads_is_pinned():
    seen = targets(request())
    directory = HOME / "jobs/demo/attempts/1/algo-1"
    assert seen[HOST]["Source"] == str(directory)
    assert seen[contract.ML]["Source"] == str(directory / "ml")
    assert seen["/tmp"]["Source"] == str(directory / "scratch")
    assert seen[contract.RUNTIME] == {
        "Type": "bind",
        "Source": str(SETTINGS.runtime),
        "Target": contract.RUNTIME,
        "ReadOnly": True,
    }
    for name in (*SHARED_FILES, contract.ARTIFACTS_DIRECTORY):
        assert seen[f"{HOST}/{name}"]["Source"] == str(directory / name)
    assert NOTIFY not in seen


def test_checkpoints_are_shown_where_the_job_wants_them():
    assert targets(request())["/opt/ml/checkpoints"]["Source"].endswith("jobs/demo/checkpoints")
    config = {"s3_uri": "file:///data/ckpt", "local_path": "/ckpt"}
    seen = targets(request(checkpoint_config=config))
    assert seen["/ckpt"]["Source"] == "/data/ckpt"


def test_local_channels_are_read_only(tmp_path: Path):
    channels = [{"channel_name": "train", "uri": str(tmp_path)}]
    seen = targets(request(input_data_config=channels))["/opt/ml/input/data/train"]
    assert (seen["Source"], seen["ReadOnly"]) == (str(tmp_path), True)


def test_channels_of_objects_are_read_only_and_lie_where_a_container_cannot_write():
    channels = [{"channel_name": "train", "uri": "s3://b/p"}]
    seen = targets(request(input_data_config=channels))
    mount = seen["/opt/ml/input/data/train"]
    assert mount["Source"] == str(HOME / "jobs/demo/inputs/1/algo-1/file/train")
    assert mount["ReadOnly"]
    writable = [m["Source"] for m in seen.values() if not m["ReadOnly"]]
    assert not [source for source in writable if mount["Source"].startswith(f"{source}/")]
    own = targets(request(input_data_config=[{**channels[0], "writable": True}]))
    assert "/opt/ml/input/data/train" not in own
    assert INPUTS not in own


def test_what_is_streamed_is_shown_to_the_supervisor_and_not_in_the_tree(tmp_path: Path):
    pipe = {"input_mode": "Pipe", "record_wrapper_type": "RecordIO"}
    channels = [
        {"channel_name": "far", "uri": "s3://b/p", **pipe},
        {"channel_name": "near", "uri": str(tmp_path), **pipe},
    ]
    asked = request(input_data_config=channels)
    seen = targets(asked)
    assert seen[INPUTS]["ReadOnly"]
    assert (seen[f"{SOURCES}/near"]["Source"], seen[f"{SOURCES}/near"]["ReadOnly"]) == (
        str(tmp_path),
        True,
    )
    assert not [target for target in seen if target.startswith("/opt/ml/input")]
    far, near = asked.plan["pipes"]
    assert (far["items"], far["root"]) == (
        f"{INPUTS}/pipe/far/items",
        f"{INPUTS}/pipe/far/objects",
    )
    assert (near["root"], near["record_io"], near["seed"]) == (f"{SOURCES}/near", True, None)


def test_only_shuffled_shares_are_dealt_out_by_the_supervisors():
    shared = {
        "channel_name": "train",
        "uri": "s3://b/p",
        "input_mode": "Pipe",
        "s3_data_distribution_type": "ShardedByS3Key",
    }
    (fixed,) = request(hosts=3, input_data_config=[shared]).plan["pipes"]
    assert (fixed["seed"], fixed["share"]) == (None, None)
    shuffled = {**shared, "shuffle_config": {"seed": 9}}
    made = context(hosts=3, input_data_config=[shuffled])
    plans = [host_request(AROUND, made, host.host).plan["pipes"][0] for host in made.hosts]
    assert [(plan["seed"], plan["share"]) for plan in plans] == [(9, [n, 3]) for n in range(3)]


def test_a_volume_counts_what_the_program_writes_and_files_that_were_fetched():
    assert request().plan["volume"] is None
    channels = [{"channel_name": "train", "uri": "s3://b/p"}]
    config: dict[str, Any] = {
        "resource_config": {"volume_size_in_gb": 2},
        "input_data_config": channels,
    }
    assert request(**config).plan["volume"] == {
        "bytes": 2 << 30,
        "written": [f"{HOST}/ml", f"{HOST}/scratch", "/opt/ml/checkpoints"],
        "inputs": f"{INPUTS}/file",
    }
    elsewhere: dict[str, Any] = {"checkpoint_config": {"s3_uri": "file:///data/ckpt"}}
    outside = request(dataclasses.replace(AROUND, image=NO_PYTHON), **config, **elsewhere)
    directory = str(HOME / "jobs/demo/attempts/1/algo-1")
    assert outside.plan["volume"] == {
        "bytes": 2 << 30,
        "written": [f"{directory}/ml", f"{directory}/scratch"],
        "inputs": str(HOME / "jobs/demo/inputs/1/algo-1/file"),
    }


def test_a_listening_driver_is_reachable_from_inside():
    asked = request(dataclasses.replace(AROUND, notify=HOME / "wake.sock"))
    assert targets(asked)[NOTIFY]["Source"] == str(HOME / "wake.sock")
    assert asked.plan["notify"] == NOTIFY


RELAYED = dataclasses.replace(
    AROUND,
    settings=dataclasses.replace(SETTINGS, relay=HOME / "relay"),
    relays=frozenset({"127.0.0.1-8760", "::1-8760"}),
)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_service_on_a_loopback_address_is_reachable_from_inside(host: str):
    asked = request(RELAYED, environment={"AWS_ENDPOINT_URL": f"http://{host}:8760"})
    assert asked.plan["environment"]["AWS_ENDPOINT_URL"] == f"http://{host}:8760"
    mount = targets(asked)[RELAY]
    assert (mount["Source"], mount["ReadOnly"]) == (str(HOME / "relay"), True)
    assert asked.plan["relay"] == {
        "host": host.strip("[]"),
        "port": 8760,
        "socket": f"{RELAY}/{host.strip('[]')}-8760",
    }


def test_an_image_without_python_is_given_no_address_that_leads_nowhere():
    around = dataclasses.replace(RELAYED, image=NO_PYTHON)
    given = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}
    ours = {"AWS_ENDPOINT_URL": "http://127.0.0.1:8760", **given}
    found = request(around, environment=ours).plan["environment"]
    assert {name for name in found if name.startswith("AWS_")} == {"AWS_REGION"}
    theirs = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", **given}
    found = request(around, environment=theirs).plan["environment"]
    assert {name for name in found if name.startswith("AWS_")} == {*given, "AWS_ENDPOINT_URL"}


@pytest.mark.parametrize(
    ("around", "spec"),
    [
        (RELAYED, {}),
        (RELAYED, {"environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}}),
        (RELAYED, {"environment": {"AWS_ENDPOINT_URL": "http://172.17.0.1:8760"}}),
        (RELAYED, {"environment": {"AWS_ENDPOINT_URL": "http://minio:8760"}}),
        (RELAYED, {"environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:many"}}),
        (AROUND, {"environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:8760"}}),
        (
            RELAYED,
            {
                "environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:8760"},
                "enable_network_isolation": True,
            },
        ),
        (
            dataclasses.replace(RELAYED, image=NO_PYTHON),
            {"environment": {"AWS_ENDPOINT_URL": "http://127.0.0.1:8760"}},
        ),
    ],
    ids=["none", "own", "elsewhere", "a name", "no port", "no service", "isolated", "no Python"],
)
def test_any_other_endpoint_is_the_programs_own_affair(around: Surroundings, spec: dict[str, Any]):
    asked = request(around, **spec)
    assert asked.plan["relay"] is None
    assert RELAY not in targets(asked)


def test_nothing_of_the_service_is_shown_to_an_image_without_python():
    asked = request(dataclasses.replace(AROUND, image=NO_PYTHON, notify=HOME / "wake.sock"))
    assert set(targets(asked)) == {"/tmp", contract.ML, "/opt/ml/checkpoints"}
    assert asked.create["Entrypoint"] == ["program"]
    assert asked.plan["argv"][-1] == str(HOME / "jobs/demo/attempts/1/algo-1")
    assert asked.plan["sandbox"]["kind"] == "none"
    assert asked.plan["base"] == contract.ML
    assert not asked.inside


def test_the_environment_of_requirements_is_read_only_once_it_is_complete():
    step: Any = {"argv": ["install"], "environment": {}}
    for install, read_only in ((step, False), (None, True)):
        directory = HOME / "envs" / "key"
        installed = Installed(
            directory, "/envs/key", "/envs/key/python", {"VIRTUAL_ENV": "x"}, install
        )
        asked = request(dataclasses.replace(AROUND, installed=installed))
        assert targets(asked)["/envs/key"]["ReadOnly"] is read_only
        assert asked.plan["install"] == install
        assert asked.plan["environment"]["VIRTUAL_ENV"] == "x"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "relative",
        "/opt/ml",
        "/opt/ml/",
        "/opt/ml/../x",
        "/opt/orchestrator/x",
        "/proc",
    ],
)
def test_some_places_are_not_the_jobs_to_use(path: str):
    assert reserved_target(path)


@pytest.mark.parametrize("path", ["/opt/ml/checkpoints", "/ckpt", "/opt/ml/output/x", "/process"])
def test_other_places_are(path: str):
    assert not reserved_target(path)


# Programs.


@pytest.mark.parametrize(
    ("image", "algorithm", "expected"),
    [
        ({}, {"container_entrypoint": ["a"], "container_arguments": ["b"]}, ["a", "b"]),
        ({"entrypoint": ("e",), "command": ("c",)}, {"container_entrypoint": ["a"]}, ["a"]),
        ({"entrypoint": ("e",)}, {"container_arguments": ["b"]}, ["e", "b"]),
        ({"entrypoint": ("e",), "command": ("c",)}, {}, ["e", "train"]),
        ({"has_train": True, "command": ("c",)}, {}, ["train"]),
        ({"command": ("c", "d")}, {}, ["c", "d"]),
        ({}, {}, ["train"]),
    ],
)
def test_an_image_is_run_as_sagemaker_would(
    image: dict[str, Any], algorithm: dict[str, Any], expected: list[str]
):
    spec = context(algorithm_specification={"training_image": "mine:1", **algorithm}).spec
    facts = dataclasses.replace(IMAGE, **image)
    assert program_argv(spec, facts, facts.python) == expected


def test_a_script_is_run_by_the_images_python_with_its_hyperparameters():
    code = {"digest": "0" * 64, "entry_script": "train.py", "arguments": ["--last"]}
    spec = context(
        algorithm_specification={"training_image": "mine:1"},
        source_code=code,
        hyper_parameters={"lr": "0.1"},
    ).spec
    argv = program_argv(spec, IMAGE, IMAGE.python)
    assert argv == ["/usr/bin/python3", "/opt/ml/code/train.py", "--lr", "0.1", "--last"]
    with pytest.raises(ImageError, match=r"Python 3\.9 or newer"):
        program_argv(spec, NO_PYTHON, None)


def test_a_script_named_as_in_sdk_2_is_run_by_our_train_unless_the_image_has_one():
    spec = context(
        algorithm_specification={"training_image": "mine:1"},
        environment={"SAGEMAKER_PROGRAM": "train.py"},
    ).spec
    assert program_argv(spec, IMAGE, IMAGE.python)[-2:] == [contract.RUNTIME, "train"]
    own = dataclasses.replace(IMAGE, has_train=True)
    assert program_argv(spec, own, own.python) == ["train"]


# Plans are values.


def test_a_request_is_plain_json_and_holds_no_secret():
    secret = dataclasses.replace(context(secrets=("TOKEN",)), secrets={"TOKEN": "s3cr3t"})
    printable = host_request(AROUND, secret, "algo-1").printable()
    assert json.loads(json.dumps(printable)) == printable
    assert "s3cr3t" not in json.dumps(printable)
    assert printable["plan"]["secrets"] == f"{HOST}/secrets.json"


def test_the_users_environment_wins_over_ours_but_not_over_the_platforms():
    environment = {"HOME": "/elsewhere", "PATH": "/mine"}
    plan = request(environment=environment).plan["environment"]
    assert (plan["HOME"], plan["PATH"]) == ("/elsewhere", "/mine")
    assert plan["TRAINING_JOB_NAME"] == "demo"


@given(
    name=st.from_regex(re.compile(ids.JOB_NAME_PATTERN.rstrip("$") + r"\Z"), fullmatch=True),
    attempt=st.integers(1, 31),
    rank=st.integers(0, 20),
)
def test_names_of_containers_are_legal_and_distinct(name: str, attempt: int, rank: int):
    name = name[:63].rstrip("-")
    made = context()
    spec = made.spec.model_copy(update={"training_job_name": name})
    one = dataclasses.replace(made, spec=spec, attempt=attempt)
    found = container_name(SETTINGS, one, ids.host_name(rank))
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", found)
    other = dataclasses.replace(SETTINGS, home=Path("/another/home"))
    assert container_name(other, one, ids.host_name(rank)) != found
    assert (
        container_name(SETTINGS, dataclasses.replace(one, attempt=attempt + 1), "algo-1") != found
    )
