from __future__ import annotations

import pytest
from starlette.requests import Request

from moduai.web import guests
from moduai.web.guests import decode, encode, form_token_fits, guest, posted_here

SECRET, NOW, DAY = b"k" * 32, 1_790_000_000.0, 86_400


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


def test_a_guest_is_known_again_until_the_token_is_too_old() -> None:
    first = guest(SECRET, "", NOW)
    assert first.new
    again = guest(SECRET, first.token, NOW + (guests.DAYS - 1) * DAY)
    assert not again.new
    assert again.principal == first.principal
    assert guest(SECRET, first.token, NOW + guests.DAYS * DAY).new
    assert not guest(SECRET, first.token, NOW - DAY).new  # a clock went back
    assert guest(SECRET, first.token, NOW - 2 * DAY).new


def test_the_ledger_sees_an_opaque_subject() -> None:
    principal = guest(SECRET, "", NOW).principal
    assert principal.subject.startswith("gst_")
    assert principal.service_class == "guest"
    assert principal.key == principal.organisation == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.250", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("203.0.113.7", "::ffff:203.0.113.9", True),
        ("2001:db8:0:aa01::1", "2001:db8:0:aaff::2", True),
        ("2001:db8:0:aa01::1", "2001:db8:0:ab01::1", False),
        ("", "what", True),
    ],
)
def test_guests_of_one_network_stand_together(one: str, other: str, same: bool) -> None:
    first, second = (guest(SECRET, "", NOW, address).principal for address in (one, other))
    assert first.subject != second.subject
    assert (first.network == second.network) is same
    assert first.network.startswith("net_")
    assert not any(
        part and part in first.network for part in one.replace(":", ".").split(".") if len(part) > 1
    )
    assert guest(b"z" * 32, "", NOW, one).principal.network != first.network


def test_changed_and_foreign_tokens_are_new_guests() -> None:
    token = guest(SECRET, "", NOW).token
    raw = decode(token)
    assert raw
    for at in range(len(raw)):
        changed = bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]])
        assert guest(SECRET, encode(changed), NOW).new
    for bad in (token[:-2], token + "AAAA", "가나다", "x" * 5000, "a", guest(b"z" * 32, "", NOW).token):
        assert guest(SECRET, bad, NOW).new


def test_form_tokens_fit_their_guest_only() -> None:
    mine = guest(SECRET, guest(SECRET, "", NOW).token, NOW)
    other = guest(SECRET, "", NOW)
    assert form_token_fits(mine, mine.form_token)
    assert not form_token_fits(mine, other.form_token)
    assert not form_token_fits(other, other.form_token), "who has no cookie yet has loaded no page"
    assert not form_token_fits(mine, "")
    assert not form_token_fits(mine, "한글")


def test_posts_from_elsewhere_are_seen() -> None:
    assert posted_here(request(host="modu.kr"))
    assert posted_here(request(host="modu.kr", origin="https://modu.kr", sec_fetch_site="same-origin"))
    assert not posted_here(request(host="modu.kr", sec_fetch_site="cross-site"))
    assert not posted_here(request(host="modu.kr", sec_fetch_site="same-site"))
    assert not posted_here(request(host="modu.kr", origin="https://evil.kr"))
    assert not posted_here(request(host="modu.kr", origin="null"))
