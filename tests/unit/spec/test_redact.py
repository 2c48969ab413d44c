"""Secrets are hidden wherever a specification is shown, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.redact import (
    HIDDEN,
    is_secret_name,
    masked_values,
    redacted_arguments,
    redacted_environment,
    redacted_hyper_parameters,
    redacted_record,
    redacted_spec,
)
from orchestrator.spec.state import SecondaryStatus, TrainingJobStatus


def spec(**fields: object) -> TrainingJobSpec:
    algorithm = {"container_entrypoint": ["run"]}
    return TrainingJobSpec.parse(
        {"training_job_name": "job", "algorithm_specification": algorithm} | fields
    )


@pytest.mark.parametrize(
    "name",
    [
        "API_KEY",
        "api-key",
        "HF_TOKEN",
        "token",
        "dbPassword",
        "PASSWD",
        "AWS_SECRET",
        "CREDENTIALS",
        "accessKeyId",
        "HF_TOKENS",
        "apikey",
        "hfToken2",
    ],
)
def test_these_names_say_that_the_value_is_secret(name: str) -> None:
    assert is_secret_name(name)
    assert redacted_environment({name: "value"}) == {name: HIDDEN}
    assert redacted_hyper_parameters({name: "value"}) == {name: HIDDEN}


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "learning_rate",
        "pass_through",
        "TOKE",
        "CRED",
        "tokenizer",
        "TOKENIZER",
        "keyboard",
    ],
)
def test_these_names_do_not(name: str) -> None:
    assert not is_secret_name(name)
    assert redacted_environment({name: "value"}) == {name: "value"}


def test_values_that_are_hidden_are_masked_in_output_unless_they_are_short() -> None:
    job = spec(
        environment={"HF_TOKEN": "hf_abcdefgh", "LEVEL": "unhidden-value"},
        hyper_parameters={
            "api_key": "sk-12345678",
            "tokenizer": "bert-base-uncased",
            "key": "gpt2",
            "config": json.dumps({"a": [{"password": "hunter2hunter2"}], "max_tokens": 123456789}),
        },
        algorithm_specification={
            "container_entrypoint": ["run", "--token", "tttttttt", "--secret=ssssssss"]
        },
    )
    assert set(masked_values(job)) == {
        "hf_abcdefgh",
        "sk-12345678",
        "hunter2hunter2",
        "tttttttt",
        "ssssssss",
    }


@pytest.mark.parametrize(
    ("name", "value", "is_masked"),
    [
        ("DB_PASSWORD", "ppwwdd", True),
        ("DB_PASSWORD", "admin", False),
        ("DB_PASSWORD", "20260101", True),
        ("DB_PASSWORD", "202601", False),
        ("HF_TOKEN", "abcdefgh", True),
        ("HF_TOKEN", "gpt-two", False),
        ("MAX_TOKENS", "1000000000", False),
    ],
)
def test_words_and_numbers_of_output_are_not_masked(
    name: str, value: str, *, is_masked: bool
) -> None:
    expected = (value,) if is_masked else ()
    as_json = json.dumps({"inner": {name: value}})
    assert masked_values(spec(environment={name: value})) == expected
    assert masked_values(spec(hyper_parameters={name: value})) == expected
    assert masked_values(spec(hyper_parameters={"config": as_json})) == expected
    for words in (["run", f"--{name}", value], ["run", f"--{name}={value}"]):
        job = spec(algorithm_specification={"container_entrypoint": words})
        assert masked_values(job) == expected


def test_a_number_behind_token_or_key_counts_something() -> None:
    values = {"max_tokens": "512", "num_key_value_heads": "8", "token_lr": "1e-4"}
    assert redacted_hyper_parameters(values) == values
    assert redacted_hyper_parameters({"password": "1234"}) == {"password": HIDDEN}
    assert redacted_hyper_parameters({"secret_number": "1234"}) == {"secret_number": HIDDEN}
    assert redacted_environment({"TOKEN": "1234"}) == {"TOKEN": HIDDEN}


def test_secrets_inside_json_values_are_hidden() -> None:
    given_value = {"wandb": {"api_key": "hush", "entity": "us"}, "list": [{"token": "hush"}]}
    [shown] = redacted_hyper_parameters({"config": json.dumps(given_value)}).values()
    assert "hush" not in shown
    assert json.loads(shown)["wandb"]["entity"] == "us"
    counts = json.dumps({"max_tokens": 5, "key": None})
    assert redacted_hyper_parameters({"config": counts}) == {"config": counts}
    broken = '{"api_key": "x"'
    assert redacted_hyper_parameters({"config": broken}) == {"config": broken}
    deep = "[" * 1200 + '"key"' + "]" * 1200
    assert redacted_hyper_parameters({"config": deep})["config"] in {deep, HIDDEN}


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--api-key=hush", "a"], ("--api-key=***", "a")),
        (["--token", "hush", "b"], ("--token", "***", "b")),
        (["--token", "--verbose"], ("--token", "--verbose")),
        (["HF_TOKEN=hush", "train"], ("HF_TOKEN=***", "train")),
        (["--max-tokens", "512", "--lr=1"], ("--max-tokens", "512", "--lr=1")),
        (["-c", "print(key=1)"], ("-c", "print(key=***")),
        (["sh", "-c", "my key=value stays"], ("sh", "-c", "my key=value stays")),
        ([], ()),
    ],
)
def test_command_lines(arguments: list[str], shown: tuple[str, ...]) -> None:
    assert redacted_arguments(arguments) == shown


def test_a_specification_without_secrets_is_the_same_object() -> None:
    plain = spec(environment={"A": "b"}, hyper_parameters={"lr": "1"})
    assert redacted_spec(plain) is plain


def test_everything_of_a_specification_is_looked_at() -> None:
    shown = redacted_spec(
        spec(
            environment={"A_TOKEN": "hush"},
            hyper_parameters={"a_key": "hush"},
            algorithm_specification={
                "container_entrypoint": ["run", "--password", "hush"],
                "container_arguments": ["--secret=hush"],
            },
            source_code={
                "digest": "0" * 64,
                "entry_script": "train.py",
                "arguments": ["--credential", "hush"],
            },
        )
    )
    assert "hush" not in shown.model_dump_json()
    assert TrainingJobSpec.parse(shown.model_dump()) == shown


def test_a_record_is_shown_without_the_secrets_of_its_specification() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    record = TrainingJobRecord(
        number=1,
        spec=spec(environment={"A_TOKEN": "hush"}),
        arn="arn",
        status=TrainingJobStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.PENDING,
        created_at=moment,
        modified_at=moment,
    )
    assert "hush" not in redacted_record(record).model_dump_json()
    assert record.spec.environment == {"A_TOKEN": "hush"}


@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=50)),
    st.lists(st.text(max_size=30)),
)
def test_hiding_twice_is_hiding_once_and_never_fails(
    values: dict[str, str], arguments: list[str]
) -> None:
    once = redacted_hyper_parameters(values)
    assert once.keys() == values.keys()
    assert redacted_hyper_parameters(once) == once
    shown = redacted_arguments(arguments)
    assert len(shown) == len(arguments)
    assert redacted_arguments(shown) == shown


@given(st.sampled_from(["secret", "PASSWORD", "Credential"]), st.text("xyz", min_size=1))
def test_no_value_behind_these_words_is_shown(word: str, rest: str) -> None:
    for name in (word, f"{rest}_{word}", f"{word}{rest}"):
        assert redacted_hyper_parameters({name: "12345"}) == {name: HIDDEN}
        assert redacted_environment({name: "12345"}) == {name: HIDDEN}
