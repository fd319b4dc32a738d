"""The application: routes, middleware, and the site's parts put together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from moduai.web import asking, assets, at_provider, histories, join, me, pages, reporting, sign_in, source
from moduai.web.entering import Entrance
from moduai.web.headers import SecurityHeaders
from moduai.web.later import Later
from moduai.web.services import Services
from moduai.web.site import Site, templates
from moduai.web.visitor import Visitors

ROUTES = [
    Route("/", asking.home),
    Route("/", asking.by_form, methods=["POST"]),
    Route("/ask", asking.by_script, methods=["POST"]),
    Route("/c/{id}", asking.conversation),
    Route("/c/{id}/{turn}", asking.turn_text),
    Route("/history", histories.show),
    Route("/history/rename", histories.rename, methods=["POST"]),
    Route("/history/delete", histories.delete, methods=["POST"]),
    Route("/report", reporting.post, methods=["POST"]),
    Route("/source/{document}/{version:int}", source.show),
    Route("/about", pages.about),
    Later("/plan", "moduai.web.plan.app:plan"),
    *(Later(f"/plan.{kind}", "moduai.web.plan.app:plan") for kind in ("json", "csv", "jsonld")),
    Route("/signin", sign_in.show),
    Route("/signin", sign_in.by_password, methods=["POST"]),
    Route("/signin/{provider}", at_provider.begin),
    Route("/signin/{provider}/callback", at_provider.finish),
    Route("/signout", sign_in.show_sign_out),
    Route("/signout", sign_in.sign_out, methods=["POST"]),
    Route("/join", join.show),
    Route("/join", join.join, methods=["POST"]),
    Route("/join/{token}", join.show),
    Route("/join/{token}", join.join, methods=["POST"]),
    Route("/me", me.show),
    Route("/me/export.{kind}", me.download),
    Route("/me/{what}", me.change, methods=["POST"]),
    Later("/console", "moduai.web.console.app:console"),
    Later("/api", "moduai.web.api.router:API"),
    Route("/static/{address}", pages.static),
    Route("/favicon.svg", pages.favicon),
    Route("/robots.txt", pages.robots),
]


class Pages(Starlette):
    """Starlette with the security headers outermost, so that even the page of a 500 has them."""

    def build_middleware_stack(self) -> ASGIApp:
        """Starlette's stack inside the headers, for a visitor who is known."""
        return SecurityHeaders(Visitors(super().build_middleware_stack(), self.state.site))


def build(services: Services) -> Starlette:
    """The ASGI application of all pages; reads and compresses the static files once."""
    app = Pages(
        routes=ROUTES,
        exception_handlers={HTTPException: pages.http_error, Exception: pages.http_error},
    )
    app.state.entrance = Entrance()
    app.state.site = Site(services, assets.read(), templates())
    return app
