"""``orchestrator version``."""

from __future__ import annotations

from orchestrator.cli.options import Json

EXAMPLES = """
orchestrator version
orchestrator version --json
"""


def command(json: Json = False) -> None:
    """Print the versions of this command and of the Python it runs in."""
    import platform

    from orchestrator import __version__
    from orchestrator.cli.output import print_json

    if json:
        print_json({"orchestrator": __version__, "python": platform.python_version()})
    else:
        print(f"orchestrator {__version__} (Python {platform.python_version()})")
