"""A real HTTP server that speaks as much of a model hub's API as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


@dataclass
class Hub:
    """What it holds and what was asked of it."""

    files: dict[str, bytes]
    cut_after: int = 0
    """Break the next download off after so many bytes; 0: do not."""
    away: bool = False
    """Answer downloads with 503, as after a break."""
    published: dict[str, str] = field(default_factory=dict)
    """SHA-256 that it claims instead of the true one."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of each request."""
    url: str = ""

    def digest(self, name: str) -> str:
        return self.published.get(name) or hashlib.sha256(self.files[name]).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, self.path.split("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if path.startswith("/api/models/someone/tiny-GGUF"):
            self._info()
        elif path.startswith("/someone/tiny-GGUF/resolve/"):
            self._file(path.split("/", 5)[5])
        else:
            self._send(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _info(self) -> None:
        hub = self.hub
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": "b" * 40,
                "lfs": {"sha256": hub.digest(name), "size": len(data), "pointerSize": 100},
            }
            for name, data in hub.files.items()
        ]
        info = {
            "id": "someone/tiny-GGUF",
            "modelId": "someone/tiny-GGUF",
            "sha": COMMIT,
            "siblings": siblings,
        }
        self._send(200, json.dumps(info | {"private": False, "tags": [], "downloads": 0}).encode())

    def _file(self, name: str) -> None:
        if self.hub.away:
            self._send(503, b"")
            return
        data = self.hub.files[name]
        size, etag = len(data), f'"{self.hub.digest(name)}"'
        fields = {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(size), "X-Repo-Commit": COMMIT}
        fields["Accept-Ranges"] = "bytes"
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            fields["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._send(206 if wanted else 200, data[start:], fields)

    def _send(self, status: int, body: bytes, fields: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (fields or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.cut_after and "/resolve/" in self.path:
            self.wfile.write(body[: self.hub.cut_after])
            self.wfile.flush()
            self.hub.away = True
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port; its address is ``hub.url``."""
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
