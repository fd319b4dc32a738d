"""What stands beside the page for asking: about, files, and pages of errors."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from moduai.web import assets
from moduai.web.site import page, site_of

FOREVER = "public, max-age=31536000, immutable"
DAY = "public, max-age=86400"


async def about(request: Request) -> Response:
    """What this is, and what is kept."""
    site = site_of(request)
    return page(request, site.html(request, "about.html", models=site.models()))


async def static(request: Request) -> Response:
    """A file by its content's address."""
    found = site_of(request).assets.by_address.get(request.path_params["address"])
    if found is None:
        raise HTTPException(404)
    return assets.respond(request, found, FOREVER)


async def favicon(request: Request) -> Response:
    """The mark, at the address that browsers ask for by themselves."""
    return assets.respond(request, site_of(request).assets.by_name["favicon.svg"], DAY)


async def robots(_: Request) -> Response:
    """Search engines may show the page; there is nothing else to find."""
    rules = "User-agent: *\nAllow: /$\nAllow: /about\nAllow: /plan\nDisallow: /\n"
    return PlainTextResponse(rules, headers={"cache-control": DAY})


async def http_error(request: Request, error: Exception) -> Response:
    """Any status that is an error, in the look of the pages."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return page(request, site_of(request).html(request, "error.html", here="/", status=status), status)
