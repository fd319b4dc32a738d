"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from moduai import __version__
from moduai.gateway.errors import CATALOGUE
from moduai.web.api.operation import Operation

REFERENCE = "#/components/schemas/{name}"
ERRORS = {
    400: ("invalid_parameter", "invalid_json", "value_not_allowed"),
    401: ("not_signed_in", "invalid_api_key", "missing_api_key"),
    403: ("permission_missing", "scope_missing", "form_refused", "leave_missing"),
    404: ("not_found",),
    409: ("conflict", "already_done"),
    413: ("body_too_large",),
    415: ("media_type_refused",),
    422: ("engine_not_usable",),
    503: ("database_unavailable", "keyring_lost", "not_ready"),
}
"""Status to the codes that operations answer with."""
_BODY = {"POST", "PUT", "PATCH"}


class ErrorBody(Struct, frozen=True):
    """What went wrong."""

    message: str
    type: str
    code: str
    """Stable: see the reference of error codes."""
    param: str | None = None


class Error(Struct, frozen=True):
    """An error, in OpenAI's shape."""

    error: ErrorBody


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole document."""
    operations = list(operations)
    types = [*(one.answer for one in operations), Error]
    (*answers, _), components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for one, answer in zip(operations, answers, strict=True):
        _, parts = msgspec.json.schema_components([one.request], ref_template=REFERENCE)
        wanted = parts.pop(one.request.__name__)
        components.update(parts)
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, wanted, answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modu: operations",
            "version": __version__,
            "description": "What the console does. Models are asked at /v1, as OpenAI's clients do.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"session": [], "token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {str(status): _error(status) for status in ERRORS},
            "securitySchemes": _SECURITY,
        },
    }


_SECURITY = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key with the scope `manage`; it has the role of the person whose key it is.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": "modu_session"},
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "modu-token",
        "description": "The form token of the session's pages; needed for whatever changes something.",
    },
}


def _operation(one: Operation, wanted: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    in_path = set(re.findall(r"\{(\w+)\}", one.path))
    fields: dict[str, dict[str, Any]] = wanted["properties"]
    required = set(wanted.get("required", ()))
    about = (one.handler.__doc__ or "").strip()
    told: dict[str, Any] = {
        "operationId": one.name,
        "tags": [one.name.partition(".")[0]],
        "summary": one.summary,
        "description": f"{about}\n\nPermission: `{one.permission}`. Command: `modu {one.command}`.".strip(),
        "responses": {str(one.status): _success(one, answer), **_refusals(one)},
    }
    places = {name: "path" if name in in_path else "query" for name in fields}
    if one.method in _BODY:
        places = {name: place for name, place in places.items() if place == "path"}
        if body := {name: schema for name, schema in fields.items() if name not in in_path}:
            told["requestBody"] = _request_body(body, required - in_path)
    told["parameters"] = [
        {"name": name, "in": place, "required": place == "path" or name in required, "schema": fields[name]}
        for name, place in places.items()
    ]
    if one.once:
        told["parameters"].append(_ONCE)
    return told


_ONCE = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is repeated with the same key within a day is refused with 409.",
    "schema": {"type": "string", "maxLength": 100},
}


def _request_body(fields: dict[str, Any], required: set[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": fields,
        "required": sorted(required),
        "additionalProperties": False,
    }
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _success(one: Operation, answer: dict[str, Any]) -> dict[str, Any]:
    return {"description": one.summary, "content": {"application/json": {"schema": answer}}}


def _refusals(one: Operation) -> dict[str, Any]:
    left_out = set() if one.method in _BODY else {409, 413, 415, 422}
    if one.method == "DELETE":
        left_out -= {409}
    return {
        str(status): {"$ref": f"#/components/responses/{status}"}
        for status in ERRORS
        if status not in left_out
    }


def _error(status: int) -> dict[str, Any]:
    codes = "; ".join(f"`{code}`: {CATALOGUE[code].message}" for code in ERRORS[status])
    schema = {"$ref": REFERENCE.format(name="Error")}
    return {"description": codes, "content": {"application/json": {"schema": schema}}}
