"""Who makes a request: sessions found, renewed in time, refused; cookies over TLS."""

import httpx
import pytest
from sqlalchemy import update
from starlette.requests import Request

from moduai.accounts.people import change_person
from moduai.accounts.sessions import COOKIE, ROTATE_S, SECURE_COOKIE, end_all
from moduai.accounts.tables import sessions
from moduai.web import create_app
from moduai.web.visitor import who

from .harness import PASSWORD, Script, resident, services
from .test_sign_in import Client


@pytest.fixture
async def haneul(served):
    """A resident, and a browser of theirs."""
    person, token = await resident(served.services)
    client = Client(served)
    client.person = person
    client.carry(token)
    async with client.http:
        yield client


async def set_back(served, **seconds):
    """Let sessions have begun, rotated or ended so many seconds earlier, as the workers find them anew."""
    async with served.services.database.begin() as connection:
        values = {name: sessions.c[name] - by for name, by in seconds.items()}
        await connection.execute(update(sessions).values(values))
    served.services.sessions.clear()


def given(answer):
    """The session's token that an answer sets, if any."""
    found = [c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE)]
    return found[0].split("=", 1)[1].split(";")[0] if found else ""


async def test_a_token_is_renewed_when_it_is_old(served, haneul):
    assert given(await haneul.get("/about")) == ""
    old = haneul.session
    await set_back(served, rotated_at=ROTATE_S)
    answer = await haneul.get("/about")
    fresh = given(answer)
    assert fresh not in {"", old}
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert given(await haneul.get("/about")) == ""
    assert (await haneul.get("/me")).status_code == 200


async def test_the_token_before_works_for_a_moment_only(served, haneul):
    old = haneul.session
    await set_back(served, rotated_at=ROTATE_S)
    await haneul.get("/about")
    late = Client(served)
    late.carry(old)
    async with late.http:
        assert (await late.get("/me")).status_code == 200  # a second tab that was loading
        await set_back(served, rotated_at=61)
        assert (await late.get("/me")).status_code == 303
    assert (await haneul.get("/me")).status_code == 200


async def test_a_form_that_was_open_during_a_renewal_is_taken(served, haneul):
    token = await haneul.token("/me")
    await set_back(served, rotated_at=ROTATE_S)
    assert given(await haneul.get("/about"))
    answer = await haneul.http.post("/me/settings", data={"token": token, "name": "나"})
    assert answer.status_code == 303


async def test_posts_renew_nothing(served, haneul):
    token = await haneul.token("/me")
    await set_back(served, rotated_at=ROTATE_S)
    assert given(await haneul.http.post("/me/settings", data={"token": token, "name": "나"})) == ""


async def test_signing_out_has_the_last_word(served, haneul):
    token = await haneul.token("/signout")
    await set_back(served, rotated_at=ROTATE_S)
    await haneul.http.post("/signout", data={"token": token})
    assert haneul.session is None


async def test_sessions_end(served, haneul):
    await set_back(served, expires_at=31 * 86_400)
    assert (await haneul.get("/me")).status_code == 303


async def test_who_is_blocked_is_out(served, haneul):
    assert (await haneul.get("/me")).status_code == 200
    async with served.services.database.begin() as connection:
        await change_person(connection, served.services.subjects, haneul.person.id, state="blocked")
    served.services.sessions.clear()  # as the feed does
    assert (await haneul.get("/me")).status_code == 303


@pytest.mark.parametrize("token", ["", "x", "x" * 5000, "é", '"; drop'])
async def test_tokens_that_are_none(served, token):
    client = Client(served, cookie=f"{COOKIE}={token}".encode())
    async with client.http:
        answer = await client.get("/about")
        assert answer.status_code == 200
        assert 'href="/signin"' in answer.text


async def test_while_the_database_is_away_who_is_known_stays(served, haneul, tmp_path):
    assert (await haneul.get("/about")).status_code == 200
    file = served.services.database.file
    await served.services.database.dispose()
    moved = file.rename(tmp_path / "moved.db")
    assert 'href="/me"' in (await haneul.get("/about")).text
    served.services.sessions.clear()
    assert 'href="/signin"' in (await haneul.get("/about")).text  # not known: fails closed
    moved.rename(file)
    assert 'href="/me"' in (await haneul.get("/about")).text


async def test_everything_is_ended_at_once(served, haneul):
    async with served.services.database.begin() as connection:
        await end_all(connection, haneul.person.id)
    served.services.sessions.clear()
    assert (await haneul.get("/me")).status_code == 303


async def test_over_tls():
    """The cookie is of this host alone and never travels in clear."""
    async with services(Script()) as parts:
        await resident(parts)
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="https://modu.example") as http:
            client = Client.__new__(Client)
            client.http = http
            answer = await client.sign_in(password=PASSWORD)
            assert answer.status_code == 303
            for cookie in answer.headers.get_list("set-cookie"):
                assert "Secure" in cookie
            (session,) = (c for c in answer.headers.get_list("set-cookie") if c.startswith(SECURE_COOKIE))
            assert "Path=/" in session
            assert "domain" not in session.lower()
            assert (await client.get("/me")).status_code == 200
            assert "strict-transport-security" in answer.headers
            http.cookies.clear()
            token = session.split("=", 1)[1].split(";")[0]
            http.cookies.set(COOKIE, token, domain="modu.example", path="/")  # the name that any host may set
            assert (await client.get("/me")).status_code == 303


def test_a_page_cannot_ask_before_it_is_known():
    with pytest.raises(KeyError):
        who(Request({"type": "http", "headers": []}))
