"""The limits of CreateTrainingJob, each at its edge: the last that is taken, the first that is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.job import MAX_INSTANCES, TrainingJobSpec

IMAGE = {"training_image": "image"}


def spec(**fields: Any) -> TrainingJobSpec:
    return TrainingJobSpec.parse(
        {"training_job_name": "job", "algorithm_specification": IMAGE} | fields
    )


def algorithm(**fields: Any) -> TrainingJobSpec:
    return spec(algorithm_specification=IMAGE | fields)


def channels(count: int) -> TrainingJobSpec:
    return spec(
        input_data_config=[{"channel_name": f"c{i}", "uri": "/data"} for i in range(count)]
    )


def channel(**fields: Any) -> TrainingJobSpec:
    return spec(input_data_config=[{"channel_name": "c", "uri": "/data"} | fields])


def metrics(count: int) -> TrainingJobSpec:
    return algorithm(metric_definitions=[{"name": "m", "regex": "(.)"}] * count)


def metric(name: str = "m", regex: str = "(.)") -> TrainingJobSpec:
    return algorithm(metric_definitions=[{"name": name, "regex": regex}])


def groups(count: int) -> TrainingJobSpec:
    named = [
        {"instance_group_name": f"g{i}", "instance_type": "local", "instance_count": 1}
        for i in range(count)
    ]
    return spec(resource_config={"instance_groups": named})


def texts(count: int) -> list[str]:
    return [f"t{i}" for i in range(count)]


def table(count: int) -> dict[str, str]:
    return {f"k{i}": "v" for i in range(count)}


LENGTHS: list[tuple[str, Callable[[int], Any], int, int | None]] = [
    # what, a job that has that many of it, the least, the most (None: no limit)
    ("job name", lambda n: spec(training_job_name="a" * n), 1, 63),
    ("role", lambda n: spec(role_arn="a" * n), 20, 2048),
    ("image", lambda n: algorithm(training_image="a" * n), 1, 255),
    ("entry point", lambda n: algorithm(container_entrypoint=texts(n)), 1, 100),
    ("entry point part", lambda n: algorithm(container_entrypoint=["a" * n]), 0, 256),
    ("arguments", lambda n: algorithm(container_arguments=texts(n)), 1, 100),
    ("argument", lambda n: algorithm(container_arguments=["a" * n]), 0, 256),
    ("metrics", metrics, 0, 40),
    ("metric name", lambda n: metric(name="a" * n), 1, 255),
    ("metric regex", lambda n: metric(regex="(" + "a" * (n - 2) + ")"), 2, 500),
    ("hyperparameters", lambda n: spec(hyper_parameters=table(n)), 0, 100),
    ("hyperparameter key", lambda n: spec(hyper_parameters={"a" * n: "v"}), 0, 256),
    ("hyperparameter value", lambda n: spec(hyper_parameters={"k": "a" * n}), 0, 2500),
    ("environment", lambda n: spec(environment=table(n)), 0, 100),
    ("environment name", lambda n: spec(environment={"A" * n: "v"}), 1, 512),
    ("environment value", lambda n: spec(environment={"K": "a" * n}), 0, 512),
    ("channels", channels, 0, 20),
    ("channel name", lambda n: channel(channel_name="a" * n), 1, 64),
    ("channel uri", lambda n: channel(uri="/" * n), 1, 1024),
    ("attributes", lambda n: channel(attribute_names=texts(n)), 0, 16),
    ("content type", lambda n: channel(content_type="a" * n), 0, 256),
    ("output", lambda n: spec(output_data_config={"s3_output_path": "/" * n}), 1, 1024),
    ("instances", lambda n: spec(resource_config={"instance_count": n}), 1, MAX_INSTANCES),
    ("groups", groups, 0, 5),
    (
        "seconds kept alive",
        lambda n: spec(resource_config={"keep_alive_period_in_seconds": n}),
        0,
        21600,
    ),
    (
        "runtime",
        lambda n: spec(stopping_condition={"max_runtime_in_seconds": n}),
        1,
        None,
    ),
    ("wait", lambda n: spec(stopping_condition={"max_wait_time_in_seconds": n}), 1, None),
    ("pending", lambda n: spec(stopping_condition={"max_pending_time_in_seconds": n}), 1, None),
    ("retries", lambda n: spec(retry_strategy={"maximum_retry_attempts": n}), 0, 30),
    ("tags", lambda n: spec(tags=[{"key": f"k{i}"} for i in range(n)]), 0, 50),
    ("tag key", lambda n: spec(tags=[{"key": "a" * n}]), 1, 128),
    ("tag value", lambda n: spec(tags=[{"key": "k", "value": "a" * n}]), 0, 256),
    (
        "checkpoint path",
        lambda n: spec(checkpoint_config={"local_path": "/".ljust(n, "a")}),
        2,
        4096,
    ),
    ("priority", lambda n: spec(priority=n), -1000, 1000),
    ("grace", lambda n: spec(stop_grace_seconds=n), 0, 3600),
]


@pytest.mark.parametrize(
    ("make", "least", "most"), [row[1:] for row in LENGTHS], ids=[row[0] for row in LENGTHS]
)
def test_a_limit_holds_at_both_of_its_ends(
    make: Callable[[int], Any], least: int, most: int | None
) -> None:
    make(least)
    if least not in {0, 2} or make is LENGTHS[-1][1]:
        with pytest.raises(InvalidSpec):
            make(least - 1)
    if most is None:
        make(10**9)
        return
    make(most)
    with pytest.raises(InvalidSpec):
        make(most + 1)


TEXTS: list[tuple[str, Callable[[str], Any], tuple[str, ...], tuple[str, ...]]] = [
    # what, a job with that text, texts that are taken, texts that are not
    (
        "job name",
        lambda text: spec(training_job_name=text),
        ("a", "A-1", "a--b", "0"),
        ("", "-a", "a-", "a_b", "a.b", "a b", "ä", "a\n", "a/b", "../a"),
    ),
    (
        "channel name",
        lambda text: channel(channel_name=text),
        ("train", "a.b-c_d", "...", "0"),
        ("", ".", "..", "a/b", "a b", "a\n", "ä"),
    ),
    (
        "environment name",
        lambda text: spec(environment={text: "v"}),
        ("A", "_a1", "SM_LOG_LEVEL", "SMX", "TRAINING_JOB"),
        ("", "1A", "A-B", "A B", "Ä", "A\n", "SM_X", "TRAINING_JOB_NAME", "ORCHESTRATOR_HOME"),
    ),
    (
        "environment value",
        lambda text: spec(environment={"K": text}),
        ("", "a\nb", "ä"),
        ("a\0b",),
    ),
    (
        "channel uri",
        lambda text: channel(uri=text),
        ("s3://bucket/key", "file:///a", "/a"),
        ("", "a", "file://a", "http://a", "S3://a"),
    ),
    (
        "output",
        lambda text: spec(output_data_config={"s3_output_path": text}),
        ("s3://bucket", "file:///a", "/a"),
        ("", "a", "https://a"),
    ),
    (
        "input mode",
        lambda text: algorithm(training_input_mode=text),
        ("File", "FastFile", "Pipe"),
        ("file", ""),
    ),
    (
        "data type",
        lambda text: channel(s3_data_type=text),
        ("S3Prefix", "ManifestFile", "AugmentedManifestFile"),
        ("Converse", ""),
    ),
    (
        "distribution",
        lambda text: channel(s3_data_distribution_type=text),
        ("FullyReplicated", "ShardedByS3Key"),
        ("Sharded",),
    ),
    ("compression", lambda text: channel(compression_type=text), ("None", "Gzip"), ("GZIP",)),
    (
        "output compression",
        lambda text: spec(output_data_config={"compression_type": text}),
        ("GZIP", "NONE"),
        ("Gzip", "None"),
    ),
    (
        "record wrapper",
        lambda text: channel(record_wrapper_type=text),
        ("None", "RecordIO"),
        ("recordio",),
    ),
    (
        "local path",
        lambda text: spec(checkpoint_config={"local_path": text}),
        ("/opt/ml/checkpoints", "/a"),
        ("", "checkpoints", "~/a", "../a", "/a\0", "/", "//", "/a/.."),
    ),
    ("metric regex", lambda text: metric(regex=text), ("a(.)",), ("", "a", "(", "(?:a)")),
    ("back end", lambda text: spec(backend=text), ("process", "docker"), ("", "Docker", "a-b")),
]


@pytest.mark.parametrize(
    ("make", "taken", "refused"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS]
)
def test_a_pattern_takes_these_and_refuses_those(
    make: Callable[[str], Any], taken: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    for text in taken:
        make(text)
    for text in refused:
        with pytest.raises(InvalidSpec) as caught:
            make(text)
        assert "broken: " in caught.value.message


@pytest.mark.parametrize(
    "make",
    [
        lambda: spec(tags=[{"key": "a"}, {"key": "a"}]),
        lambda: spec(input_data_config=[{"channel_name": "a", "uri": "/a"}] * 2),
        lambda: channel(instance_group_names=["nobody"]),
        lambda: spec(nonsense=1),
        lambda: spec(algorithm_specification={}),
        lambda: spec(algorithm_specification={"container_entrypoint": ["a"]}, backend="docker"),
    ],
)
def test_what_does_not_fit_together_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidSpec):
        make()
