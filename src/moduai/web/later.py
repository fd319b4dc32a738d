"""A part of the pages that is imported at its first request: most workers never serve staff."""

from __future__ import annotations

from importlib import import_module

from starlette.types import ASGIApp, Receive, Scope, Send


class Later:
    """An ASGI application by name, such as ``moduai.web.console.app:console``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Import it if need be, and pass the request on."""
        if self._app is None:
            module, _, attribute = self._name.partition(":")
            self._app = getattr(import_module(module), attribute)
        await self._app(scope, receive, send)
