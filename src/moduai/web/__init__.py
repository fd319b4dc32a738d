"""The pages: what people see of Modu in a browser.

Words: a *turn* is one question and its answer; a *conversation* is the turns on a page, kept there and
nowhere else; a *guest* is somebody without an account. Rule: every page works whole without JavaScript,
and nothing is shown to people that was not escaped or passed through the allow-list of ``markdown``.

The package is imported on the first request for a page, so that a worker which only serves the API
never pays for it; importing the package itself loads nothing but ``Services``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moduai.web.services import Services

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["Services", "create_app"]


def create_app(services: Services) -> Starlette:
    """The ASGI application of all pages."""
    from moduai.web.app import build  # noqa: PLC0415 (lazily, see above)

    return build(services)
