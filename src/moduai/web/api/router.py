"""From an HTTP request to an operation and back: addresses, bodies with limits, errors in one shape."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moduai.gateway.errors import ApiError
from moduai.store.keyring import KeyringError
from moduai.web.api.caller import caller_of
from moduai.web.api.document import document
from moduai.web.api.operation import Operation, perform
from moduai.web.api.table import OPERATIONS
from moduai.web.site import site_of

BODY_BYTES = 65_536
"""Largest body of an operation."""
MOST_PARAMETERS = 20
LONGEST_ONCE = 100
"""Longest Idempotency-Key, in characters."""
DOCUMENT = "/api/openapi.json"
HEADERS = {"cache-control": "no-store"}

log = logging.getLogger(__name__)


class Address(NamedTuple):
    """One path, and its operations by method."""

    pattern: re.Pattern[str]
    operations: dict[str, Operation]


def addresses(operations: Iterable[Operation]) -> list[Address]:
    """The paths of the operations; those without fields first, so that a name cannot hide one."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation
    ordered = sorted(paths.items(), key=lambda item: ("{" in item[0], item[0]))
    return [Address(_pattern(path), methods) for path, methods in ordered]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


class Api:
    """The ASGI application of all operations."""

    def __init__(self) -> None:
        """The addresses are made once."""
        self._addresses = addresses(OPERATIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever fails has the API's shape."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ApiError as error:
            response = _refusal(error)
        except KeyringError as error:
            response = _refusal(ApiError("keyring_lost", str(error)))
        except site_of(request).services.database.errors:
            log.warning("an operation failed: the database does not answer", exc_info=True)
            response = _refusal(ApiError("database_unavailable", retry_after_s=5))
        except Exception:  # the boundary: whatever an operation raises becomes a 500 and a log line
            log.exception("an operation failed", extra={"path": request.url.path})
            response = _refusal(ApiError("internal_error"))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if path == DOCUMENT:
            return _document(request)
        for address in self._addresses:
            if match := address.pattern.fullmatch(path):
                return await self._operate(request, address, match.groupdict())
        raise ApiError("not_found")

    async def _operate(self, request: Request, address: Address, named: dict[str, str]) -> Response:
        operation = address.operations.get(request.method)
        if operation is None:
            raise _MethodError(address.operations)
        caller = await caller_of(request, writes=operation.writes)
        once = request.headers.get("idempotency-key", "")
        if len(once) > LONGEST_ONCE:
            raise ApiError("invalid_parameter", f"An Idempotency-Key has at most {LONGEST_ONCE} characters.")
        in_body = operation.method in {"POST", "PUT", "PATCH"}
        given = await _body(request) if in_body else _query(request)
        if doubled := given.keys() & named.keys():
            raise ApiError("invalid_parameter", f"{min(doubled)!r} stands in the path.")
        lax = {**given, **named}
        services = site_of(request).services
        answer = await perform(operation, services, caller, lax, strict=in_body, once=once)
        return _json(answer, operation.status)


API = Api()


class _MethodError(ApiError):
    """The address has other methods."""

    def __init__(self, methods: Iterable[str]) -> None:
        super().__init__("method_not_allowed")
        self.allow = ", ".join(sorted(methods))


def _document(request: Request) -> Response:
    if request.method not in {"GET", "HEAD"}:
        raise _MethodError(["GET"])
    return _json(document(OPERATIONS))


def _query(request: Request) -> dict[str, Any]:
    """The parameters of the query, each once. Raises ApiError."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(request.scope["query_string"]),
            max_num_fields=MOST_PARAMETERS,
            errors="strict",
        )
    except ValueError:
        raise ApiError("invalid_parameter", "The query is not valid.") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise ApiError("invalid_parameter", "A parameter stands twice in the query.")
    return given


async def _body(request: Request) -> dict[str, Any]:
    """The body, a JSON object; an empty one counts as no fields. Raises ApiError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise ApiError("body_too_large")
    if request.scope["query_string"]:
        raise ApiError("invalid_parameter", "This operation takes its fields in the body.")
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("media_type_refused")
    try:
        return msgspec.json.decode(bytes(body), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError("invalid_json", "The body is not a JSON object in UTF-8.") from None


def _json(answer: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, HEADERS, "application/json")


def _refusal(error: ApiError) -> Response:
    headers = dict(HEADERS)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, _MethodError):
        headers["allow"] = error.allow
    return Response(error.body(), error.status, headers, "application/json")
