"""One page in memory, served by Starlette: ``PAGE`` names a file with its body (base64) and header fields."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def _page() -> Route:
    kept = json.loads(Path(os.environ["PAGE"]).read_text("utf-8"))
    body, fields = base64.b64decode(kept["body"]), kept["fields"]

    async def page(request: Request) -> Response:
        return Response(body, headers=fields)

    return Route("/", page)


app = Starlette(routes=[_page()])
