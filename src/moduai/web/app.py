"""The application: routes, middleware, and the site's parts put together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from moduai.web import assets, pages
from moduai.web.headers import SecurityHeaders
from moduai.web.services import Services
from moduai.web.site import Site, templates

ROUTES = [
    Route("/", pages.home),
    Route("/", pages.ask_by_form, methods=["POST"]),
    Route("/ask", pages.ask_by_script, methods=["POST"]),
    Route("/about", pages.about),
    Route("/static/{address}", pages.static),
    Route("/favicon.svg", pages.favicon),
    Route("/robots.txt", pages.robots),
]


class Pages(Starlette):
    """Starlette with the security headers outermost, so that even the page of a 500 has them."""

    def build_middleware_stack(self) -> ASGIApp:
        """Starlette's stack inside the headers."""
        return SecurityHeaders(super().build_middleware_stack())


def build(services: Services) -> Starlette:
    """The ASGI application of all pages; reads and compresses the static files once."""
    app = Pages(
        routes=ROUTES,
        exception_handlers={HTTPException: pages.http_error, Exception: pages.http_error},
    )
    app.state.site = Site(services, assets.read(), templates())
    return app
