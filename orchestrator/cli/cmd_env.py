"""``orchestrator env``."""

from __future__ import annotations

from orchestrator.cli.options import Home, Json

EXAMPLES = """
orchestrator env
eval "$(orchestrator env)"
orchestrator env --json
"""


def command(json: Json = False, home: Home = None) -> None:
    """Show the settings, the running service, and what the environment of a job begins with.

    The output is shell code: with eval, other commands of the shell use the same home, and the
    same service if one runs. Settings are variables ORCHESTRATOR_*.
    """
    from orchestrator.cli import environment
    from orchestrator.cli.output import print_json

    found = environment.look(home)
    if json:
        print_json(found)
    else:
        print("\n".join(environment.shell_lines(found)))
