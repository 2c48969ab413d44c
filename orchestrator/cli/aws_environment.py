"""What boto3, the aws command and the SageMaker SDK need in their environment to find this service."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from orchestrator.api.aws import keys
from orchestrator.api.aws.identity import Identity
from orchestrator.api.guard import is_loopback
from orchestrator.errors import Unavailable
from orchestrator.home import prepare_home, read_token
from orchestrator.ids import LOCAL_REGION, default_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOKEN_VARIABLE = "ORCHESTRATOR_TOKEN"  # noqa: S105  # a name
DEFAULTS_FILE = "sagemaker-sdk.yaml"
# Each of these, left over from work with AWS, would go before what is exported here.
_IN_THE_WAY = (
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)
_SERVICE_ENDPOINT = re.compile(r"AWS_ENDPOINT_URL_\w+")
_PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")


def of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables for the service that ``environment.look`` has found."""
    if not found["settings"]["aws_api"]:
        return {}
    return variables(Path(found["home"]), found["url"] or found["service"])


def check(found: Mapping[str, str], *, as_json: bool) -> int:
    """Ask the service as boto3 would, say what it answered, and return the exit code.

    Raises:
        Unavailable: There is no service to ask.
    """
    from orchestrator.api.aws.check import round_trip
    from orchestrator.cli import exits
    from orchestrator.cli.output import print_json, safe, styled

    if not found:
        raise Unavailable(
            "a service must run for the check, none does on this home; start one with "
            "`orchestrator serve`, or set ORCHESTRATOR_URL and ORCHESTRATOR_TOKEN"
        )
    steps = round_trip(found)
    good = all(step.is_good for step in steps)
    if as_json:
        print_json({"ok": good, "checks": [vars(step) for step in steps]})
    else:
        for step in steps:
            mark = styled("ok  ", "green") if step.is_good else styled("fail", "red")
            print(f"{mark}  {step.name:26}  {safe(step.detail)}")
    return exits.DONE if good else exits.ERROR


def variables(home: Path, url: str | None) -> dict[str, str]:
    """Return the variables, empty when there is no service or no token for it.

    Args:
        home: Home directory; the SDK's defaults file is written into it.
        url: Address of the service.

    Raises:
        InvalidSpec: The home or its token cannot be used.
    """
    token = _token(home, url) if url else None
    if url is None or token is None:
        return {}
    return {
        **keys.variables(url, keys.issue(token), LOCAL_REGION),
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(write_defaults(home)),
        **_past_proxies(url),
    }


def _token(home: Path, url: str) -> str | None:
    """Return the token of a service; a home's own is for services of this machine."""
    given = os.environ.get(TOKEN_VARIABLE)
    if given:
        return given
    return read_token(home) if is_loopback(urlsplit(url).hostname or "") else None


def _past_proxies(url: str) -> dict[str, str]:
    """Return what makes clients go straight to the service, where a proxy is set."""
    host = urlsplit(url).hostname or ""
    if not any(os.environ.get(name) for name in _PROXIES) or proxy_bypass(host):
        return {}
    before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    names = f"{before},{host}" if before else host
    return {"NO_PROXY": names, "no_proxy": names}


def write_defaults(home: Path) -> Path:
    """Write the SageMaker SDK's defaults file into a home and return its path.

    Without it the SDK asks the real STS for a bucket's name, and reports each call to AWS.
    """
    path = prepare_home(home) / DEFAULTS_FILE
    text = _DEFAULTS.format(bucket=default_bucket(), role=Identity().role_arn)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return path


_DEFAULTS = """\
# Written by `orchestrator env`. The SageMaker SDK reads it because SAGEMAKER_USER_CONFIG_OVERRIDE names it.
SchemaVersion: "1.0"
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: {bucket}
  TrainingJob:
    RoleArn: {role}
"""


def in_the_way() -> list[str]:
    """Return the names of this shell's variables that would send clients elsewhere."""
    others = [name for name in os.environ if _SERVICE_ENDPOINT.fullmatch(name)]
    return [*(name for name in _IN_THE_WAY if name in os.environ), *sorted(others)]


def shell_lines(found: Mapping[str, str]) -> Iterator[str]:
    """Yield shell code that exports the variables, and removes what would go before them."""
    if not found:
        return
    yield "# boto3, the aws command and the SageMaker SDK use this service:"
    for name, value in found.items():
        yield f"export {name}={shlex.quote(value)}"
    for name in in_the_way():
        yield f"unset {name}"


def dotenv_lines(found: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables as a ``.env`` file, quoted only where they must be."""
    for name, value in found.items():
        if not _PLAIN.fullmatch(value):
            value = '"' + re.sub(r'(["\\$`])', r"\\\1", value).replace("\n", "\\n") + '"'
        yield f"{name}={value}"
