"""Errors as OpenAI's clients expect them: one shape, stable codes, a sentence that says what to do.

The catalogue below is the reference: ``docs/reference/errors.md`` is checked against it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class ErrorKind(NamedTuple):
    """What a code means: HTTP status, OpenAI's error type, and the default sentence."""

    status: int
    type: str
    message: str


_REQUEST, _SERVER = "invalid_request_error", "server_error"

CATALOGUE: dict[str, ErrorKind] = {
    "bad_request": ErrorKind(400, _REQUEST, "The request is not valid HTTP."),
    "host_missing": ErrorKind(400, _REQUEST, "The request needs exactly one Host field."),
    "pipelining_refused": ErrorKind(400, _REQUEST, "Wait for an answer before the next request."),
    "upgrade_refused": ErrorKind(400, _REQUEST, "Upgrades (WebSocket, h2c) are not served here."),
    "invalid_json": ErrorKind(400, _REQUEST, "The body is not valid JSON in UTF-8."),
    "invalid_body": ErrorKind(400, _REQUEST, "The body has a field of the wrong type."),
    "duplicate_field": ErrorKind(400, _REQUEST, "A top-level field stands twice in the body."),
    "field_not_allowed": ErrorKind(400, _REQUEST, "The body sets a field that this service does not allow."),
    "value_not_allowed": ErrorKind(400, _REQUEST, "A field's value is outside what this service allows."),
    "invalid_parameter": ErrorKind(400, _REQUEST, "A parameter is missing, unknown or of the wrong type."),
    "image_url_not_allowed": ErrorKind(400, _REQUEST, "Send images and files as data: URLs."),
    "context_length_exceeded": ErrorKind(400, _REQUEST, "The request is too long for the model's context."),
    "engine_rejected": ErrorKind(400, _REQUEST, "The engine did not accept the request."),
    "missing_api_key": ErrorKind(
        401, "authentication_error", "Send an API key: Authorization: Bearer modu-…"
    ),
    "invalid_api_key": ErrorKind(401, "authentication_error", "The API key is wrong, expired or revoked."),
    "not_signed_in": ErrorKind(
        401, "authentication_error", "Sign in, or send an API key with the scope manage."
    ),
    "session_ended": ErrorKind(401, "authentication_error", "You are no longer signed in; sign in again."),
    "cross_site": ErrorKind(403, "permission_error", "Only our own pages may ask with a session's cookie."),
    "scope_missing": ErrorKind(403, "permission_error", "The API key may not do this."),
    "permission_missing": ErrorKind(403, "permission_error", "Your role may not do this."),
    "form_refused": ErrorKind(
        403, "permission_error", "Send the form token of a page of ours: modu-token, from the same site."
    ),
    "leave_missing": ErrorKind(403, "permission_error", "Take leave to look first, with a reason."),
    "not_found": ErrorKind(404, _REQUEST, "There is nothing at this address."),
    "model_not_found": ErrorKind(404, _REQUEST, "No engine serves this model; GET /v1/models lists them."),
    "endpoint_not_supported": ErrorKind(404, _REQUEST, "This model's engines do not have this endpoint."),
    "method_not_allowed": ErrorKind(405, _REQUEST, "This address does not take this method."),
    "request_timeout": ErrorKind(408, _REQUEST, "The request did not arrive in time."),
    "conflict": ErrorKind(409, _REQUEST, "This does not fit what is there."),
    "already_done": ErrorKind(409, _REQUEST, "This was done before, with the same Idempotency-Key."),
    "body_too_large": ErrorKind(413, _REQUEST, "The body is larger than this service takes."),
    "unsupported_encoding": ErrorKind(415, _REQUEST, "Send the body as it is, without Content-Encoding."),
    "media_type_refused": ErrorKind(415, _REQUEST, "Send JSON: Content-Type: application/json."),
    "expectation_failed": ErrorKind(417, _REQUEST, "Only Expect: 100-continue is understood."),
    "host_not_allowed": ErrorKind(421, _REQUEST, "This service does not answer to this host name."),
    "engine_not_usable": ErrorKind(422, _REQUEST, "There is no engine that can be used at this address."),
    "planner_too_much": ErrorKind(
        422, _REQUEST, "This is more than may be run here: choose fewer days, or modu plan run."
    ),
    "line_full": ErrorKind(429, "rate_limit_error", "The line for this model is full; come back later."),
    "person_line_full": ErrorKind(
        429, "rate_limit_error", "You have as many requests in line as one person may; wait for one to end."
    ),
    "organisation_line_full": ErrorKind(
        429, "rate_limit_error", "Your organisation has as many requests in line as it may; come back later."
    ),
    "overloaded": ErrorKind(
        429, "rate_limit_error", "The wait for this model is too long to be worth it; come back later."
    ),
    "quota_exceeded": ErrorKind(
        429, "rate_limit_error", "All that you may use of this day or month is used; come back then."
    ),
    "quota_unknown": ErrorKind(
        503, _SERVER, "How much of your limit is left is not known here yet; try again in a moment."
    ),
    "planner_busy": ErrorKind(
        429, "rate_limit_error", "Others are running scenarios now; ask again in a few seconds."
    ),
    "head_too_large": ErrorKind(431, _REQUEST, "The request's head is larger than this service takes."),
    "client_left": ErrorKind(499, _REQUEST, "The client left before the answer (only in the ledger)."),
    "internal_error": ErrorKind(500, _SERVER, "Something went wrong here."),
    "engine_failed": ErrorKind(502, _SERVER, "The engine failed while it worked on this request."),
    "engine_bad_answer": ErrorKind(502, _SERVER, "The engine's answer was not understandable."),
    "no_engine": ErrorKind(503, _SERVER, "No engine yet: modu engine add URL."),
    "engine_unavailable": ErrorKind(
        503, _SERVER, "All engines of this model are down or busy; try again soon."
    ),
    "service_stopped": ErrorKind(503, _SERVER, "The service is stopped by its operator."),
    "model_stopped": ErrorKind(503, _SERVER, "This model is stopped by the operator."),
    "database_unavailable": ErrorKind(503, _SERVER, "The database does not answer; try again soon."),
    "keyring_lost": ErrorKind(503, _SERVER, "A key that this needs is lost; see modu doctor."),
    "ledger_unavailable": ErrorKind(503, _SERVER, "Usage cannot be written now, so nothing is served."),
    "search_unavailable": ErrorKind(503, _SERVER, "Public documents cannot be searched now; try again soon."),
    "not_ready": ErrorKind(503, _SERVER, "The service is starting; try again in a moment."),
    "gateway_died": ErrorKind(
        502, _SERVER, "The gateway ended while it had the request (only in the ledger)."
    ),
    "line_unavailable": ErrorKind(
        503, _SERVER, "The process that holds the line is away; another one takes over in a moment."
    ),
    "draining": ErrorKind(503, _SERVER, "The service is stopping; try again in a moment."),
    "too_many_connections": ErrorKind(503, _SERVER, "Too many connections; try again in a moment."),
    "wait_too_long": ErrorKind(503, _SERVER, "The wait in line was longer than allowed; try again later."),
    "engine_timeout": ErrorKind(504, _SERVER, "The engine did not answer in time."),
}


NOT_BEGUN = b"modu-begun: no\r\n"
"""Header line of an answer to a request of which nothing has run, so that a proxy may ask another gateway."""


class ApiError(Exception):
    """A refusal or failure that the client is told of. ``begun`` False: this gateway cannot serve now, and
    nothing of the request has run.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        begun: bool = True,
    ) -> None:
        kind = CATALOGUE[code]
        self.code = code
        self.status = kind.status
        self.type = kind.type
        self.message = message or kind.message
        self.param = param
        self.retry_after_s = retry_after_s
        self.begun = begun
        super().__init__(f"{code}: {self.message}")

    def body(self) -> bytes:
        """The error as OpenAI writes it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def headers(self) -> bytes:
        """Header lines that belong to it."""
        lines = b"" if self.retry_after_s is None else b"retry-after: %d\r\n" % self.retry_after_s
        lines += b"" if self.begun else NOT_BEGUN
        return lines + (b"www-authenticate: Bearer\r\n" if self.status == 401 else b"")
