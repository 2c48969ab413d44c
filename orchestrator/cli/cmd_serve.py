"""``orchestrator serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import Home, Json

EXAMPLES = """
orchestrator serve
orchestrator serve --port 0 --home ./state
orchestrator serve --detach
orchestrator serve --stop
"""


def command(
    port: Annotated[
        int | None,
        typer.Option(
            metavar="P", min=0, max=65535, help="Port; by default 8760, 0 takes a free one."
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = (
        "127.0.0.1"
    ),
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; return when it answers.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="End the service of this home; jobs go on.")
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow an address that other machines reach.")
    ] = False,
    allow_insecure_local: Annotated[
        bool,
        typer.Option(
            "--allow-insecure-local",
            help="Then also run jobs of others as processes of this machine.",
        ),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Further name that clients may call it by."),
    ] = None,
    json: Json = False,
    home: Home = None,
) -> int:
    """Run the service of a home, with a REST interface, until Ctrl-C or SIGTERM.

    Clients need the bearer token in HOME/token; SDK and command on this machine find it by
    themselves. Running jobs go on when the service ends, and are found again when it starts.
    """
    from orchestrator.cli import serving

    place = serving.prepared(home)
    if stop:
        return serving.end(place, as_json=json)
    words = serving.options(
        host=host,
        port=port,
        allow_remote=allow_remote,
        allow_insecure_local=allow_insecure_local,
        allowed_hosts=tuple(allowed_host or ()),
    )
    if detach:
        return serving.start_detached(place, words, as_json=json)
    return serving.run(place, words, as_json=json)
