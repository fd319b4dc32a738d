"""Static files: read once, compressed once, addressed by their content so that browsers keep them.

A module's imports of its neighbours (``from "./stream.js"``) are rewritten to addressed names.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMPORT = re.compile(r'(?<=from "\./)[a-z_]+\.js(?=")')


@dataclass(frozen=True)
class Asset:
    """One file as it is served."""

    address: str
    media_type: str
    content: bytes
    packed: bytes
    etag: str


@dataclass
class Assets:
    """All static files, by name and by address."""

    by_name: dict[str, Asset] = field(default_factory=dict)
    by_address: dict[str, Asset] = field(default_factory=dict)

    def url(self, name: str) -> str:
        """Where a page finds the file."""
        return f"/static/{self.by_name[name].address}"


def read(folder: Path = STATIC) -> Assets:
    """Read the folder; a file that is imported is read before the one that imports it."""
    assets = Assets()
    for file in sorted(folder.iterdir()):
        _add(assets, file)
    return assets


def respond(request: Request, asset: Asset, cache: str) -> Response:
    """The file, compressed where the browser takes it, or 304 where the browser has it."""
    headers = {"cache-control": cache, "etag": asset.etag, "vary": "accept-encoding"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = asset.content
    if takes_gzip(request):
        content = asset.packed
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=asset.media_type)


def takes_gzip(request: Request) -> bool:
    """Whether the client says that it reads gzip."""
    offers = request.headers.get("accept-encoding", "").split(",")
    return any(offer.strip().lower() in {"gzip", "gzip;q=1.0", "gzip;q=1"} for offer in offers)


def _add(assets: Assets, file: Path) -> Asset:
    if known := assets.by_name.get(file.name):
        return known
    content = file.read_bytes()
    if file.suffix == ".js":
        addressed = _IMPORT.sub(lambda m: _add(assets, file.with_name(m[0])).address, content.decode())
        content = addressed.encode()
    digest = sha256(content).hexdigest()[:12]
    asset = Asset(
        address=f"{file.stem}.{digest}{file.suffix}",
        media_type=_TYPES[file.suffix],
        content=content,
        packed=gzip.compress(content, 9, mtime=0),
        etag=f'"{digest}"',
    )
    assets.by_name[file.name] = asset
    assets.by_address[asset.address] = asset
    return asset
