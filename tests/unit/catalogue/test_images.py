"""The image map: which image or interpreter stands for what a request names."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalogue.images import SHIPPED, ImageRule, Target, load, resolve
from orchestrator.errors import ImageError, InvalidSpec

PYTORCH = "763104351884.dkr.ecr.us-west-2.amazonaws.com/pytorch-training:2.13-cpu-py312"
HUGGING_FACE = (
    "763104351884.dkr.ecr.cn-north-1.amazonaws.com.cn/huggingface-pytorch-training:2.1-gpu"
)
OWN = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ours/train:7"


def nowhere(_image: str) -> bool:
    return False


def everywhere(_image: str) -> bool:
    return True


@pytest.mark.parametrize(
    "image",
    [
        PYTORCH,
        HUGGING_FACE,
        PYTORCH.replace(":2.13-cpu-py312", "@sha256:" + "0" * 64),
        "246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-base-python-310:1.0",
        "public.ecr.aws/deep-learning-containers/pytorch-training:2.13",
        "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
        "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
    ],
)
def test_aws_s_own_training_images_run_in_the_default_interpreter(image: str) -> None:
    assert resolve(image, SHIPPED, "auto", is_present=nowhere) == Target("process")
    assert resolve(image, SHIPPED, "process", is_present=everywhere) == Target("process")


@pytest.mark.parametrize("image", [OWN, "python:3.12", "pytorch-training", f"x/{PYTORCH}x:y"[:30]])
def test_an_image_that_nothing_stands_for_is_refused(image: str) -> None:
    with pytest.raises(ImageError, match=r"is neither; load it .* add a rule to images\.toml"):
        resolve(image, SHIPPED, "auto", is_present=nowhere)


def test_an_image_that_is_here_is_taken_itself() -> None:
    assert resolve(OWN, SHIPPED, "auto", is_present=everywhere) == Target("docker", image=OWN)
    assert resolve(PYTORCH, SHIPPED, "auto", is_present=PYTORCH.__eq__).image == PYTORCH
    with pytest.raises(ImageError, match="for the process back end"):
        resolve(OWN, SHIPPED, "process", is_present=everywhere)
    with pytest.raises(
        ImageError, match="for the docker back end; .* build 'orchestrator/pytorch'"
    ):
        resolve(PYTORCH, SHIPPED, "docker", is_present=nowhere)


def test_the_image_that_is_built_for_aws_s_is_taken_where_it_is() -> None:
    here = "orchestrator/pytorch".__eq__
    for prefer in ("auto", "docker"):
        assert resolve(PYTORCH, SHIPPED, prefer, is_present=here) == Target(
            "docker", image="orchestrator/pytorch"
        )
    tensorflow = "public.ecr.aws/deep-learning-containers/tensorflow-training:2.19"
    assert resolve(tensorflow, SHIPPED, "auto", is_present=everywhere).image == (
        "orchestrator/tensorflow"
    )


def test_the_first_rule_that_fits_counts_and_own_rules_come_first(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text(
        """
        [[image]]
        pattern = "*/ours/*"
        docker = "local-{name}:v{tag}"
        process = "/opt/envs/train/bin/python"

        [[image]]
        pattern = "*"
        process = "/usr/bin/python3"
        """,
        encoding="utf-8",
    )
    rules = load(tmp_path)
    ours = Target("docker", image="local-train:v7")
    assert resolve(OWN, rules, "auto", is_present=nowhere) == ours
    python = "/opt/envs/train/bin/python"
    assert resolve(OWN, rules, "process", is_present=nowhere) == Target("process", python=python)
    any_other = Target("process", python="/usr/bin/python3")
    assert resolve(PYTORCH, rules, "auto", is_present=nowhere) == any_other


def test_without_a_file_the_shipped_rules_count(tmp_path: Path) -> None:
    assert load(tmp_path) == SHIPPED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[image", "images.toml must be TOML"),
        ("[[image]]\npattern = 'a'", "must have docker or process"),
        ("[[image]]\npattern = 'a'\ndocker = ''", "image.0.docker"),
        ("[[image]]\npattern = 'a'\nprocess = 'x'\ntypo = 1", "typo"),
        ("[[images]]\npattern = 'a'", "images"),
    ],
)
def test_a_broken_map_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "images.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSpec, match=said):
        load(tmp_path)


def test_a_rule_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="has neither"):
        ImageRule(pattern="*")
