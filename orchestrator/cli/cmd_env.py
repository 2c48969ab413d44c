"""``orchestrator env``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Home, Json

EXAMPLES = """
orchestrator env
eval "$(orchestrator env)"
orchestrator env --dotenv > .env
orchestrator env --check
orchestrator env --json
"""


def command(
    shell: Annotated[
        bool, typer.Option("--shell", help="Print shell code; this is the default.")
    ] = False,
    dotenv: Annotated[bool, typer.Option("--dotenv", help="Print a .env file.")] = False,
    json: Json = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Ask the service with these variables, as boto3 would."),
    ] = False,
    home: Home = None,
) -> int:
    """Show the settings, the running service, and what the environment of a job begins with.

    The output is shell code: with eval, other commands of the shell use the same home, and the
    same service if one runs; so do boto3, the aws command and the SageMaker SDK, by the access
    key in it. Settings are variables ORCHESTRATOR_*.
    """
    from orchestrator.cli import aws_environment, environment, exits
    from orchestrator.cli.output import print_json
    from orchestrator.errors import InvalidSpec

    if shell + dotenv + json > 1:
        raise InvalidSpec(
            "one of --shell, --dotenv and --json must be chosen, got several; leave all but one out"
        )
    found = environment.look(home)
    aws = aws_environment.of(found)
    if check:
        return aws_environment.check(aws, as_json=json)
    if json:
        print_json(found | {"aws": aws})
    elif dotenv:
        print("\n".join(aws_environment.dotenv_lines(environment.variables(found) | aws)))
    else:
        lines = [*environment.shell_lines(found), "", *aws_environment.shell_lines(aws)]
        print("\n".join(lines))
    return exits.DONE
