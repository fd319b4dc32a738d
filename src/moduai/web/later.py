"""A part of the pages that is imported at its first request: most workers never serve staff."""

from __future__ import annotations

from importlib import import_module

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send


class Later(BaseRoute):
    """Everything at and below ``prefix`` goes to an ASGI application, such as
    ``moduai.web.console.app:console``.

    It takes any path, unlike Starlette's routes, which find none with a line break in it.
    """

    def __init__(self, prefix: str, name: str) -> None:
        self._prefix = prefix
        self._name = name
        self._app: ASGIApp | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request is for it."""
        ours = scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._prefix}/")
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Import it if need be, and pass the request on."""
        if self._app is None:
            module, _, attribute = self._name.partition(":")
            self._app = getattr(import_module(module), attribute)
        await self._app(scope, receive, send)
