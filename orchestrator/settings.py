"""Settings: ``ORCHESTRATOR_*`` variables become one frozen value, read only at the edge."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestrator.errors import InvalidSpec
from orchestrator.home import SETTINGS_PREFIX, default_python, home_directory
from orchestrator.spec.redact import shown_address

# Of `scheme://me:word@host`, also where the word has an @, and of a proxy's `me:word@host`.
_CREDENTIALS = re.compile(r"(//)[^/?#\s]*@|^()[^/?#\s:@]+:[^/?#\s]*@")


class Settings(BaseSettings):
    """How this installation runs.

    Raises:
        InvalidSpec: A variable has an impossible value; the message names it.
    """

    model_config = SettingsConfigDict(
        env_prefix=SETTINGS_PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    if not TYPE_CHECKING:  # type checkers see the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise InvalidSpec(_violations(error)) from error

    home: Path = Field(default_factory=home_directory)
    """Directory of the state, logs, artifacts and caches."""
    database_url: str | None = None
    """``postgresql+psycopg://…``; None = SQLite in the home directory."""
    python: str | None = None
    """Interpreter of process-back-end jobs that name none."""
    cpu_slots: float | None = Field(default=None, gt=0)
    """CPU slots to give out; None = the number of processors."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Memory to give out; None = the machine's."""
    isolation: Literal["auto", "bubblewrap", "namespaces", "none"] = "auto"
    """Fence of process-back-end jobs."""
    sandbox_writable: str = ""
    """Further paths that process-back-end jobs may change, separated by ``:``."""
    log_quota_bytes: int = Field(default=2 << 30, ge=4096)
    """Log bytes kept per host and attempt."""
    docker_profile: Literal["hardened", "compatible"] = "hardened"
    """``compatible`` runs as root inside, with the engine's capabilities, for images that need it."""
    docker_pull: bool = False
    """Pull images that are missing."""
    strict_resources: bool = False
    """Refuse GPU instance types on machines without GPUs instead of warning."""
    s3_endpoint: str | None = None
    """Where ``s3://`` addresses lead: None = this home's buckets, and AWS for every other bucket;
    ``aws`` = AWS for every bucket; a URL = that endpoint for every bucket."""
    aws_backend: Literal["auto", "process", "docker"] = "auto"
    """Where requests made for AWS run: ``auto`` takes an image that is there, else an interpreter."""
    aws_api: bool = True
    """Answer requests that are signed as AWS's: boto3, the aws command, the SageMaker SDK."""
    aws_verify_signatures: bool = True
    """Whether their signatures must hold; false believes everybody, on a loopback address only."""
    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    """Gets as JSON, by POST, what debuggers are asked to tell somebody by e-mail or SMS."""
    driver_lease_seconds: float = Field(default=30, ge=3)
    """With a database URL: how long a driver that shows no sign of life keeps its right to drive."""
    driver_linger_seconds: float = Field(default=30, ge=0)
    """How long a driver without work stays, so that the next job starts at once."""

    @property
    def writable_paths(self) -> tuple[Path, ...]:
        """``sandbox_writable`` as paths."""
        return tuple(Path(p).expanduser() for p in self.sandbox_writable.split(":") if p)

    def shown(self) -> dict[str, str]:
        """Return the settings as people see them, less the home directory; no passwords."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "home"}
        if self.webhook_url is not None:  # who knows such an address may use it
            given["webhook_url"] = shown_address(self.webhook_url)
        return {
            name: "" if value is None else without_password(str(value))
            for name, value in given.items()
        }

    @property
    def job_python(self) -> str:
        """Interpreter of jobs that name none: set, or the one this program runs in."""
        return self.python or default_python()


def _violations(error: ValidationError) -> str:
    lines = [
        f"ORCHESTRATOR_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}, "
        f"got {item['input']!r}"
        for item in error.errors(include_url=False, include_context=False)
    ]
    return f"{'; '.join(lines)}; correct the variable, or unset it"


def without_password(text: str) -> str:
    """Return a text with the user information of addresses in it hidden."""
    return _CREDENTIALS.sub(lambda found: f"{found[1] or ''}***@", text)


def set_by_environment() -> list[str]:
    """Return the names of the settings that this process's environment sets."""
    return [name for name in Settings.model_fields if SETTINGS_PREFIX + name.upper() in os.environ]
