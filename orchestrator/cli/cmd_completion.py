"""``orchestrator completion``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

EXAMPLES = """
source <(orchestrator completion bash)
orchestrator completion zsh > ~/.zfunc/_orchestrator
orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish
"""


def command(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")
    ],
) -> None:
    """Print the completion script of a shell: verbs, options and names of jobs."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    from orchestrator.cli.main import COMPLETION_VARIABLE, PROGRAM

    print(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE, shell=shell))
