"""What a process-back-end job inherits from the environment of the service: only the harmless."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Locale, network settings and certificate locations; never credentials.
_INHERITED = re.compile(
    r"LANG|LANGUAGE|LC_[A-Z]+|TZ|USER|LOGNAME|HOME|PATH|LD_LIBRARY_PATH"
    r"|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY"
    r"|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|PIP_[A-Z_]+"
    r"|OMP_[A-Z_]+|MKL_[A-Z_]+|OPENBLAS_[A-Z0-9_]+|CUDA_HOME|CUDA_PATH"
)


def inherited_environment(
    outside: Mapping[str, str], python: str, *, scratch: str | None
) -> dict[str, str]:
    """Return the beginning of a job's environment.

    Args:
        outside: The service's environment.
        python: The job's interpreter; its directory comes first on PATH.
        scratch: The job's own temporary directory inside its sandbox; None leaves it as it is.
    """
    environment = {k: v for k, v in outside.items() if _INHERITED.fullmatch(k)}
    path = environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    environment["PATH"] = f"{Path(python).parent}:{path}"
    environment["PYTHONUNBUFFERED"] = "1"
    if scratch is not None:
        environment["TMPDIR"] = scratch
        # The home directory is read-only in a sandbox: caches that must be written go to scratch.
        environment["MPLCONFIGDIR"] = f"{scratch}/matplotlib"
        environment["XDG_CACHE_HOME"] = f"{scratch}/cache"
    return environment
