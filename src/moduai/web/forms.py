"""What a page posts, read with a limit and checked to come from a page of this visitor."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from moduai.web.site import site_of

FORM_BYTES = 32_768
FIELDS = 40


class FormError(Exception):
    """What was asked for is not done; ``code`` is one of ``words`` or ``account_words``, ``question`` what
    had been written.
    """

    def __init__(self, code: str, status: int, wait_s: float = 0.0, question: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.wait_s = wait_s
        self.question = question


async def body(request: Request, limit: int) -> bytes:
    """All that is posted. Raises FormError as soon as it is longer than the limit."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > limit:
            raise FormError("form_too_large", 413)
    return bytes(found)


async def read(request: Request) -> dict[str, str]:
    """The fields of a form, each name once. Raises FormError; fails closed."""
    raw = await body(request, FORM_BYTES)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormError("failed", 415)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise FormError("failed", 400) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormError("failed", 400)
    if not site_of(request).who(request).may_post(request, fields.get("token", "")):
        raise FormError("page_too_old", 403)
    return fields


def own_path(text: str) -> str:
    """An address on this service to go to next, or "/" for any other (no open redirect; fails closed).

    Browsers take tabs and line breaks out of an address and read a backslash as a slash: such an
    address is none of ours.
    """
    plain = len(text) <= 500 and all(33 <= ord(letter) < 127 for letter in text) and "\\" not in text
    if not plain or not text.startswith("/") or text.startswith("//"):
        return "/"
    parts = urlsplit(text)
    if parts.scheme or parts.netloc or parts.path.startswith(("/signin", "/signout", "/join")):
        return "/"
    return text
