"""Programs find the variables and files that SageMaker's containers have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator_runtime import env

from tests.runtime.hosts import Host

RESOURCES: dict[str, Any] = {
    "current_host": "algo-2",
    "current_instance_type": "ml.g5.xlarge",
    "current_group_name": "workers",
    "hosts": ["algo-1", "algo-2", "algo-3"],
    "network_interface_name": "eth0",
    "instance_groups": [
        {"instance_group_name": "head", "instance_type": "ml.m5.large", "hosts": ["algo-1"]},
        {
            "instance_group_name": "workers",
            "instance_type": "ml.g5.xlarge",
            "hosts": ["algo-2", "algo-3"],
        },
    ],
}
HYPERPARAMETERS = {"learning-rate": "0.1", "layers": "[1, 2]", "name": "net", "nothing": "null"}
CHANNELS = {"train": {"TrainingInputMode": "File"}, "val-set": {"TrainingInputMode": "File"}}


def variables(
    hyperparameters: dict[str, str] = HYPERPARAMETERS,
    channels: dict[str, Any] = CHANNELS,
    resources: dict[str, Any] = RESOURCES,
    **options: Any,
) -> dict[str, str]:
    config = env.JobConfig(hyperparameters, channels, resources)
    options = {"base": "/opt/ml", "job_name": "job", "cpus": 4, "gpus": 1, **options}
    return env.sagemaker_environment(config, **options)


class TestTheVariables:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SM_MODEL_DIR", "/opt/ml/model"),
            ("SM_INPUT_DIR", "/opt/ml/input"),
            ("SM_INPUT_CONFIG_DIR", "/opt/ml/input/config"),
            ("SM_INPUT_DATA_DIR", "/opt/ml/input/data"),
            ("SM_OUTPUT_DIR", "/opt/ml/output"),
            ("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"),
            ("SM_OUTPUT_INTERMEDIATE_DIR", "/opt/ml/output/intermediate"),
            ("SM_OUTPUT_FAILURE", "/opt/ml/output/failure"),
            ("SM_CHANNELS", '["train", "val-set"]'),
            ("SM_CHANNEL_TRAIN", "/opt/ml/input/data/train"),
            ("SM_CHANNEL_VAL-SET", "/opt/ml/input/data/val-set"),
            ("SM_CHANNEL_VAL_SET", "/opt/ml/input/data/val-set"),
            ("SM_HP_LEARNING-RATE", "0.1"),
            ("SM_HP_LEARNING_RATE", "0.1"),
            ("SM_HP_LAYERS", "[1, 2]"),
            ("SM_HP_NAME", "net"),
            ("SM_HP_NOTHING", ""),
            ("SM_CURRENT_HOST", "algo-2"),
            ("SM_HOSTS", '["algo-1", "algo-2", "algo-3"]'),
            ("SM_HOST_COUNT", "3"),
            ("SM_CURRENT_HOST_RANK", "1"),
            ("SM_MASTER_ADDR", "algo-1"),
            ("SM_MASTER_PORT", "7777"),
            ("SM_CURRENT_INSTANCE_TYPE", "ml.g5.xlarge"),
            ("SM_CURRENT_INSTANCE_GROUP", "workers"),
            ("SM_CURRENT_INSTANCE_GROUP_HOSTS", '["algo-2", "algo-3"]'),
            ("SM_INSTANCE_GROUPS", '["head", "workers"]'),
            ("SM_IS_HETERO", "true"),
            ("SM_NUM_CPUS", "4"),
            ("SM_NUM_GPUS", "1"),
            ("SM_NUM_NEURONS", "0"),
            ("SM_NETWORK_INTERFACE_NAME", "eth0"),
            ("SM_LOG_LEVEL", "20"),
            ("SM_FRAMEWORK_PARAMS", "{}"),
            ("TRAINING_JOB_NAME", "job"),
        ],
    )
    def test_have_the_values_that_sagemaker_gives(self, name: str, value: str):
        assert variables()[name] == value

    def test_that_are_json_say_the_same_as_the_files(self):
        found = variables()
        assert json.loads(found["SM_RESOURCE_CONFIG"]) == RESOURCES
        assert json.loads(found["SM_INPUT_DATA_CONFIG"]) == CHANNELS
        assert json.loads(found["SM_HPS"]) == {
            "learning-rate": 0.1,
            "layers": [1, 2],
            "name": "net",
            "nothing": None,
        }
        training = json.loads(found["SM_TRAINING_ENV"])
        assert training["channel_input_dirs"]["train"] == "/opt/ml/input/data/train"
        assert training["hyperparameters"]["learning-rate"] == 0.1
        assert training["is_master"] is False
        assert json.loads(found["SM_INSTANCE_GROUPS_DICT"])["head"]["hosts"] == ["algo-1"]

    def test_tell_of_the_entry_script(self):
        found = variables(
            {"a": "1", "sagemaker_program": '"x.py"'}, entry="src/train.py", code="/c"
        )
        assert json.loads(found["SM_USER_ARGS"]) == ["--a", "1"]
        assert found["SM_USER_ENTRY_POINT"] == found["SM_ENTRY_SCRIPT"] == "src/train.py"
        assert found["SM_MODULE_NAME"] == "train"
        assert found["SM_SOURCE_DIR"] == found["SM_MODULE_DIR"] == "/c"

    def test_tell_sdk_v3_where_its_drivers_are(self):
        found = variables(channels={"sm_drivers": {}, "code": {}})
        drivers = "/opt/ml/input/data/sm_drivers/distributed_drivers"
        assert found["SM_DISTRIBUTED_DRIVER_DIR"] == drivers

    def test_exist_without_any_config_file(self):
        found = variables({}, {}, {})
        assert found["SM_HOSTS"] == '["algo-1"]'
        assert found["SM_CURRENT_INSTANCE_GROUP_HOSTS"] == '["algo-1"]'

    def test_number_hosts_in_alphabetical_order(self):
        hosts = ["algo-1", "algo-10", "algo-2"]
        found = variables(resources={"current_host": "algo-10", "hosts": hosts})
        assert found["SM_CURRENT_HOST_RANK"] == "1"

    def test_that_are_too_long_for_the_system_are_left_out(self):
        long = {f"key{i}": "x" * 2500 for i in range(100)}
        found = variables(long)
        assert "SM_HPS" not in found
        assert found["SM_HP_KEY99"] == "x" * 2500

    @given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5))
    def test_can_always_be_passed_on(self, hyperparameters: dict[str, str]):
        for name, value in variables(hyperparameters).items():
            assert "=" not in name
            assert "\0" not in name + value


class TestTheProgram:
    def test_sees_the_tree_at_opt_ml(self, fenced: Host):
        (fenced.ml / "input/config/hyperparameters.json").write_text('{"epochs": "2"}')
        (fenced.ml / "input/data/train").mkdir()
        (fenced.ml / "input/data/train/a.csv").write_text("1,2")
        (fenced.ml / "input/config/inputdataconfig.json").write_text('{"train": {}}')
        fenced.program(
            """
            import json, os
            base = os.path.dirname(os.environ["SM_MODEL_DIR"])
            print(base, os.getcwd())
            print(json.load(open(base + "/input/config/hyperparameters.json")))
            print(open(os.environ["SM_CHANNEL_TRAIN"] + "/a.csv").read(), os.environ["SM_HP_EPOCHS"])
            """
        ).run()
        base = fenced.plan["base"]
        assert fenced.log.decode() == f"{base} {base}/code\n{{'epochs': '2'}}\n1,2 2\n"

    def test_gets_what_the_user_wishes_over_what_the_platform_sets(self, host: Host):
        host.plan["environment"].update(
            SM_LOG_LEVEL="10", PYTHONUNBUFFERED="0", OMP_NUM_THREADS="3", PYTHONPATH="/mine"
        )
        host.limits["cpus"] = 1.0
        host.shell("echo $SM_LOG_LEVEL $PYTHONUNBUFFERED $OMP_NUM_THREADS $PYTHONPATH").run()
        assert host.log.startswith(b"10 0 3 /mine:/")

    def test_knows_its_attempt_and_has_nothing_of_the_supervisors_environment(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("SERVICE_SECRET", "x")
        host.plan["attempt"] = 3
        host.shell("echo $ORCHESTRATOR_ATTEMPT $SERVICE_SECRET.").run()
        assert host.log == b"3 .\n"

    def test_has_as_many_threads_as_cpus(self, host: Host):
        host.limits["cpus"] = 2.5
        host.shell("echo $OMP_NUM_THREADS $SM_NUM_CPUS").run()
        assert host.log == b"2 2\n"

    def test_has_a_temporary_directory_of_its_own(self, fenced: Host):
        fenced.program(
            "import tempfile, os; open(tempfile.gettempdir() + '/x', 'w').write('1')"
        ).run()
        assert (fenced.directory / "scratch" / "x").read_text() == "1"

    def test_starts_with_default_signals_and_no_open_files(self, fenced: Host):
        fenced.program(
            """
            import os, signal
            print(sorted(os.listdir("/proc/self/fd"), key=int)[:4])
            status = dict(l.split(":\\t") for l in open("/proc/self/status").read().splitlines())
            print([int(status[mask], 16) & ~(3 << 31) for mask in ("SigBlk", "SigIgn")])
            print(os.getpid() == os.getsid(0) or os.getpid())
            """
        ).run()
        lines = fenced.log.decode().splitlines()
        assert lines[0] == "['0', '1', '2', '3']"  # 3 is the listing itself
        # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 belong to the C library, whose own
        # functions refuse to change them: they may come ignored from wherever the tests started.
        ignored = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
        assert lines[1] == str([0, ignored])

    def test_gets_nothing_that_the_supervisors_starter_had_open(self, host: Host):
        host.program("import os; print(sorted(os.listdir('/proc/self/fd'), key=int))")
        host.write("plan.json", host.plan)
        with open(os.devnull) as file:  # noqa: PTH123
            subprocess.run(host.command(), check=True, pass_fds=[file.fileno()])
        assert host.log == b"['0', '1', '2', '3']\n"

    def test_works_though_the_supervisor_was_started_without_any_file(self, host: Host):
        host.prefix = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
        record = host.program("import sys; print('out'); print('err', file=sys.stderr)").run()
        assert record["exit_code"] == 0
        assert host.log == b"out\nerr\n"

    def test_has_a_rendezvous_that_survives_restarts(self, host: Host):
        host.shell("echo $TORCH_DISABLE_SHARE_RDZV_TCP_STORE").run()
        assert host.log == b"1\n"

    def test_with_a_config_file_that_is_broken_does_not_start(self, host: Host):
        (host.ml / "input/config/hyperparameters.json").write_text("[]")
        record = host.shell("echo hi").run()
        assert record["outcome"] == "internal"
        assert "hyperparameters.json must hold a JSON object" in record["message"]
