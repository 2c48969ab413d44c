"""The whole HTTP interface as one ASGI application.

A request passes: Host header -> door (by path) -> token -> size of the body -> the door's own
application. A door is one way in; AWS's protocols are one, the pages become another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.aws.doors import SERVED_AS_USUAL, AwsDoor, AwsOptions
from orchestrator.api.aws.received import is_signed
from orchestrator.api.context import Context, Limits
from orchestrator.api.errors import RequestTooLarge, SlowClient, bug_response, problem_response
from orchestrator.api.guard import (
    SECURITY_HEADERS,
    Asked,
    HostCheck,
    TokenCheck,
    asked,
)
from orchestrator.api.health import Health
from orchestrator.api.prometheus import Prometheus, RequestCounts
from orchestrator.api.rest.application import PREFIX, rest_application
from orchestrator.api.rest.jobs import JOBS, JobRoutes
from orchestrator.errors import InvalidSpec, NotFound, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.service.assemble import Service

logger = logging.getLogger(__name__)

REST = "rest"
SUBMIT_PATH = PREFIX + JOBS
CACHE_CONTROL = b"cache-control"
SOURCES_PREFIX = f"{PREFIX}/sources/"


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes:
        name: For counts.
        opens: Whether a request goes through it.
        app: What answers.
        needs_token: Whether a bearer token is asked for; a door with its own signatures says no.
        limits_bodies: Whether bodies are limited here; a door with limits of its own says no.
    """

    name: str
    opens: Callable[[Scope], bool]
    app: ASGIApp
    needs_token: bool = True
    limits_bodies: bool = True


def at(prefix: str) -> Callable[[Scope], bool]:
    """Return a rule: the path is this or lies below it."""
    return lambda scope: scope["path"] == prefix or scope["path"].startswith(f"{prefix}/")


class App:
    """The ASGI application.

    Args:
        context: The use cases.
        token: The bearer token.
        hosts: The names this service answers to.
        doors: Further ways in, asked before our own.
    """

    def __init__(
        self, context: Context, token: TokenCheck, hosts: HostCheck, doors: Sequence[Door] = ()
    ) -> None:
        self.context = context
        self._token = token
        self._hosts = hosts
        self._counts = RequestCounts()
        jobs = JobRoutes(context)
        self._submit = jobs.submit
        rest = rest_application(context, jobs)
        self._doors = (
            *doors,
            Door(REST, at(PREFIX), _mounted(rest, PREFIX)),
            Door("metrics", at("/metrics"), Prometheus(context, self._counts)),
            Door("health", at("/health"), Health(context), needs_token=False),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # no web sockets; an unanswered one is closed by the server
        answered = _Answer(send)
        door = ""
        try:
            given = asked(scope["headers"])
            self._hosts.check(given)
            found = self._door(scope)
            door = found.name
            if found.needs_token:
                self._token.check(given.authorization)
            body = receive
            if found.limits_bodies:
                body = _Body(receive, given, self._body_limit(scope))
            if found.name == REST and _is_submission(scope):
                await (await self._submit(Request(scope, body)))(scope, body, answered)
            else:
                await found.app(scope, body, answered)
        except OrchestratorError as error:
            await answered.instead(problem_response(error), scope, receive)
        except ClientDisconnect:
            logger.debug("a client left before its request was whole")
        except SlowClient:
            logger.info("a client that took nothing for too long was dropped")
        except Exception:
            logger.exception("request failed: %s %r", scope["method"], scope["path"])
            await answered.instead(bug_response(), scope, receive)
        finally:
            self._counts.add(door, scope["method"], answered.status)

    def _door(self, scope: Scope) -> Door:
        for door in self._doors:
            if door.opens(scope):
                return door
        raise NotFound(
            f"nothing is at {scope['path']!r}; there are {PREFIX}, /metrics and /health"
        )

    def _body_limit(self, scope: Scope) -> int:
        limits = self.context.limits
        is_source = scope["path"].startswith(SOURCES_PREFIX)
        return limits.source_bytes if is_source else limits.json_bytes


class _Body:
    """Receives a body, up to a size."""

    def __init__(self, receive: Receive, given: Asked, most: int) -> None:
        self._receive = receive
        self._most = most
        self._left = most
        length = given.content_length
        if length is not None:
            if not length.isdigit():
                raise InvalidSpec(f"Content-Length must be a number, got {length!r}")
            if len(length) > 18 or int(length) > most:
                raise self._too_large()

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise self._too_large()
        return message

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"a body may have at most {self._most:,} bytes, this one has more; send less"
        )


class _Answer:
    """Sends an answer with the security headers, and remembers its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", ()))
            added = SECURITY_HEADERS
            if any(name.lower() == CACHE_CONTROL for name, _ in given):
                # What is stored may say how long it is good; nothing else is left to it.
                added = tuple(pair for pair in added if pair[0] != CACHE_CONTROL)
            message["headers"] = [*given, *added]
        await self._send(message)

    async def instead(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Send another answer, unless one has begun: that one is cut, which the client sees."""
        if self.status == 0:
            await response(scope, receive, self)


def _is_submission(scope: Scope) -> bool:
    submits: bool = scope["method"] == "POST" and scope["path"] == SUBMIT_PATH
    return submits


def _mounted(app: ASGIApp, prefix: str) -> ASGIApp:
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": prefix}, receive, send)

    return mounted


def create_app(
    service: Service,
    token: str,
    *,
    bound: str = "127.0.0.1",
    allowed_hosts: Sequence[str] = (),
    refused_backends: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    doors: Sequence[Door] = (),
    aws: AwsOptions | None = SERVED_AS_USUAL,
) -> App:
    """Return the application of an opened service.

    Args:
        service: The use cases.
        token: The bearer token of all clients.
        bound: The address that is listened on.
        allowed_hosts: Further names in the Host header.
        refused_backends: Back ends that clients of this port may not use.
        limits: Bounds.
        doors: Further ways in.
        aws: How requests that are signed as AWS's are answered; None = not at all.
    """
    context = Context(service, limits, refused_backends)
    if aws is not None:
        door = AwsDoor(context, token, aws)
        doors = (*doors, Door("aws", is_signed, door, needs_token=False, limits_bodies=False))
    return App(context, TokenCheck(token), HostCheck(bound, allowed_hosts), doors)
