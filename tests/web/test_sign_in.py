"""Signing in with a login name and a password, making an account, signing out: over a real socket."""

import asyncio
import re
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.accounts.invitations import invite
from moduai.accounts.people import change_person
from moduai.accounts.sessions import COOKIE
from moduai.accounts.sign_in import Attempts
from moduai.web.forms import own_path

from .harness import PASSWORD, resident, serve


class Client:
    """A browser without JavaScript: keeps cookies, sends the page's form token along."""

    def __init__(self, served, **headers):
        self.http = httpx.AsyncClient(base_url=served.url, headers={"accept-language": "en", **headers})
        served.open.push_async_callback(self.http.aclose)

    async def get(self, path):
        return await self.http.get(path)

    async def token(self, path):
        """The form token of a page."""
        return re.search(r'name="token" value="([^"]+)"', (await self.http.get(path)).text)[1]

    async def post(self, path, page=None, **fields):
        if "token" not in fields:
            fields["token"] = await self.token(page or path)
        return await self.http.post(path, data=fields)

    async def sign_in(self, login="haneul", password=PASSWORD, **fields):
        return await self.post("/signin", login=login, password=password, **fields)

    def carry(self, token):
        """Carry this session's cookie from now on."""
        self.http.cookies.set(COOKIE, token, domain="127.0.0.1", path="/")

    @property
    def session(self):
        return self.http.cookies.get(COOKIE)


@pytest.fixture
async def client(served):
    one = Client(served)
    async with one.http:
        yield one


@pytest.fixture
async def haneul(served):
    person, _ = await resident(served.services)
    return person


async def test_a_resident_signs_in_and_out(client, haneul):
    answer = await client.sign_in(next="/about")
    assert (answer.status_code, answer.headers["location"]) == (303, "/about")
    cookie = answer.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=2592000"))
    assert 'href="/me"' in (await client.get("/about")).text
    assert (await client.get("/signin?next=/about")).headers["location"] == "/about"
    before = client.session
    answer = await client.post("/signout")
    assert answer.status_code == 303
    assert client.session is None
    client.carry(before)
    assert 'href="/signin"' in (await client.get("/about")).text


@pytest.mark.parametrize(
    ("login", "password"), [("haneul", "wrong but long"), ("nobody", PASSWORD), ("", "")]
)
async def test_whatever_is_wrong_the_words_are_the_same(client, haneul, login, password):
    answer = await client.sign_in(login, password)
    assert answer.status_code == 403
    assert "The login name or the password is not right." in answer.text
    assert client.session is None
    assert password == "" or password not in answer.text


async def test_a_blocked_person_is_told_the_same(client, served, haneul):
    async with served.services.database.begin() as connection:
        await change_person(connection, served.services.subjects, haneul.id, state="blocked")
    assert "is not right" in (await client.sign_in()).text


async def test_attempts_are_counted(client, haneul):
    said = [await client.sign_in("haneul", "guess number one") for _ in range(6)]
    assert [answer.status_code for answer in said] == [403] * 5 + [429]
    assert "too many attempts" in said[-1].text
    assert (await client.sign_in()).status_code == 429


async def test_a_browser_that_signed_in_before_has_its_own_turns(client, served, haneul, monkeypatch):
    def wait(self, cell, kind, now):  # a minute at once, or the test would wait for what it tests
        return 60.0 if self._count(cell, now) >= self._limits[kind][0] else 0.0

    monkeypatch.setattr(Attempts, "_wait", wait)
    networks = iter(range(10_000))
    monkeypatch.setattr("moduai.web.sign_in.network", lambda _: f"net-{next(networks)}")
    cookies = (await client.sign_in()).headers.get_list("set-cookie")
    (device,) = [each for each in cookies if each.startswith("modu_device=")]
    assert all(part in device for part in ("HttpOnly", "Path=/signin", "SameSite=lax"))
    await client.post("/signout")
    stranger = Client(served)
    async with stranger.http:
        token = await stranger.token("/signin")
        while (await stranger.sign_in(password="a guess too many", token=token)).status_code != 429:
            pass
        assert (await stranger.sign_in(token=token)).status_code == 429, "whoever it is"
        forged = device.partition("=")[2].partition(";")[0][:-4] + "AAAA"
        stranger.http.cookies.set("modu_device", forged, domain="127.0.0.1", path="/signin")
        assert (await stranger.sign_in(token=token)).status_code == 429
    assert (await client.sign_in()).status_code == 303


async def test_a_browser_is_known_for_the_login_that_signed_in(client, served, haneul, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Attempts, "begin", lambda self, login, net, now, device="": seen.append(bool(device)) or 0
    )
    await client.sign_in()
    await client.post("/signout")
    await client.sign_in(login="bada")
    await client.sign_in(login="HANEUL")
    assert seen == [False, False, True]


async def test_a_token_that_was_there_before_is_worth_nothing(client, served, haneul):
    client.carry("planted-by-somebody")
    await client.sign_in()
    first = client.session
    assert first != "planted-by-somebody"
    await client.post("/signout")
    client.carry(first)
    await client.sign_in()
    assert client.session != first


async def test_signing_in_ends_the_session_that_was_there(client, served, haneul):
    await resident(served.services, "bada")
    await client.sign_in()
    first, token = client.session, await client.token("/signout")
    answer = await client.http.post("/signin", data={"token": token, "login": "bada", "password": PASSWORD})
    assert answer.status_code == 303
    assert client.session != first
    client.carry(first)
    assert 'href="/signin"' in (await client.get("/about")).text


async def test_a_second_tab_that_comes_late(client, haneul):
    token = await client.token("/signin")
    await client.sign_in()
    first = client.session
    answer = await client.sign_in("haneul", "whatever it is", token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.session == first


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"}],
)
async def test_other_sites_cannot_post(client, haneul, headers):
    token = await client.token("/signin")
    fields = {"token": token, "login": "haneul", "password": PASSWORD}
    answer = await client.http.post("/signin", data=fields, headers=headers)
    assert answer.status_code == 403
    assert client.session is None


async def test_without_the_pages_token_nothing_is_taken(client, served, haneul):
    stranger = Client(served)
    async with stranger.http:
        foreign = await stranger.token("/signin")
    for token in ("", "x" * 43, foreign):
        answer = await client.sign_in(token=token)
        assert answer.status_code == 403
        assert "open for too long" in answer.text


async def test_forms_are_bounded_and_plain(client):
    token = await client.token("/signin")
    much = await client.http.post("/signin", data={"token": token, "login": "x" * 40_000, "password": "y"})
    twice = await client.http.post(
        "/signin",
        content=f"token={token}&login=a&login=b",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    json = await client.http.post("/signin", json={"token": token})
    assert [much.status_code, twice.status_code, json.status_code] == [413, 400, 415]


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/%0d%0aset-cookie:x\r\n",
        "/signout",
        "/join/x",
        "evil.example",
        "/ space",
        "/" + "a" * 600,
        "",
    ],
)
def test_only_our_own_paths_come_next(text):
    assert own_path(text) == "/"


@given(st.text(st.sampled_from("/\\\t\n .:@?#%evil\u2044\uff0f"), max_size=12))
def test_nothing_leads_to_another_host(text):
    kept = own_path(text)
    as_browsers_read = kept.replace("\\", "/").translate(dict.fromkeys(b"\t\n\r"))
    assert as_browsers_read.startswith("/")
    assert not as_browsers_read.startswith("//")


def test_own_paths_are_kept():
    assert own_path("/c/cnv_1?x=1#y") == "/c/cnv_1?x=1#y"


async def test_no_open_redirect_from_the_page(client, haneul):
    assert 'value="/"' in (await client.get("/signin?next=//evil.example")).text
    assert (await client.sign_in(next="https://evil.example")).headers["location"] == "/"


async def invited(served, **fields):
    async with served.services.database.begin() as connection:
        token, _ = await invite(connection, **{"role": "resident", **fields})
    return token


ACCOUNT = {"login": "Bada", "password": PASSWORD, "name": "바다"}


async def test_an_invitation_makes_one_account(client, served):
    token = await invited(served, role="admin")
    assert "administrator" in (await client.get(f"/join/{token}")).text
    answer = await client.post(f"/join/{token}", **ACCOUNT)
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?done=welcome")
    session = served.services.sessions
    assert (
        await session.load(served.services.database, client.session.encode(), time.time())
    ).role == "admin"
    again = Client(served)
    async with again.http:
        used = await again.get(f"/join/{token}")
        assert used.status_code == 404
        assert "was used" in used.text
        assert (await again.sign_in("bada")).status_code == 303


async def test_of_two_at_once_one_wins(client, served):
    token = await invited(served)
    other = Client(served)
    async with other.http:
        tokens = [await each.token(f"/join/{token}") for each in (client, other)]
        answers = await asyncio.gather(
            client.post(f"/join/{token}", **ACCOUNT, token=tokens[0]),
            other.post(f"/join/{token}", **{**ACCOUNT, "login": "sora"}, token=tokens[1]),
        )
    assert sorted(answer.status_code for answer in answers) in ([303, 403], [303, 404])


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"login": "x"}, 400, "A login name has"),
        ({"login": "two words"}, 400, "A login name has"),
        ({"login": "haneul"}, 409, "choose another one"),
        ({"password": "short"}, 400, "A password has at least"),
        ({"password": "bada bada bada"}, 400, "A password has at least"),
        ({"name": "a" * 101}, 400, "A name has"),
    ],
)
async def test_what_does_not_fit_uses_nothing_up(client, served, haneul, fields, status, said):
    token = await invited(served)
    answer = await client.post(f"/join/{token}", **{**ACCOUNT, **fields})
    assert answer.status_code == status
    assert said in answer.text
    assert (await client.post(f"/join/{token}", **ACCOUNT)).status_code == 303


async def test_without_an_invitation_nobody_joins(client):
    assert (await client.get("/join")).status_code == 404
    assert (await client.get("/join/" + "x" * 43)).status_code == 404
    assert "/join" not in (await client.get("/signin")).text


async def test_where_sign_up_is_open_anybody_joins(script):
    async with serve(script, **{"people.sign_up": "open"}) as served:
        client = Client(served)
        async with client.http:
            assert 'href="/join"' in (await client.get("/signin")).text
            assert (await client.post("/join", **ACCOUNT)).status_code == 303


async def test_without_local_accounts_there_is_no_form(script):
    async with serve(script, **{"sign_in.local": False}) as served:
        client = Client(served)
        async with client.http:
            page = await client.get("/signin")
            assert 'name="password"' not in page.text
            token = await client.token("/join/x") if 'name="token"' in page.text else ""
            assert (await client.http.post("/signin", data={"token": token})).status_code == 403


async def test_pages_of_accounts_are_kept_by_no_cache(client):
    answer = await client.get("/signin")
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_database_is_away(client, served, haneul, tmp_path):
    file = served.services.database.file
    await served.services.database.dispose()
    moved = file.rename(tmp_path / "moved.db")
    answer = await client.sign_in()
    moved.rename(file)
    assert answer.status_code == 503
    assert "cannot read its records" in answer.text
