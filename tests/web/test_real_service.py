"""Accounts at the real service: the gateway's own HTTP, its workers' memory, the command line beside it."""

import asyncio
import json
import re
import subprocess
import sys

import httpx
import pytest

from moduai.accounts.keys import find_key
from moduai.accounts.people import change_person
from moduai.accounts.sessions import COOKIE
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.conftest import Service, until

PASSWORD = "moon over seven rivers"


def invited(service: Service) -> str:
    """The path of a link that the command line makes."""
    words = ["invite", "create", "--role", "admin", "--home", str(service.home), "--json"]
    done = subprocess.run([sys.executable, "-m", "moduai.cli", *words], capture_output=True, check=True)
    return httpx.URL(json.loads(done.stdout)["link"]).path


async def set_state(service: Service, key: str, state: str) -> None:
    """Block whose key it is, or not, from another process than the workers'."""
    keyring = Keyring.open(service.home)
    subjects = SubjectKeys.open(service.home, keyring)
    database = Database(f"sqlite+aiosqlite:///{service.home / 'modu.db'}")
    async with database.begin() as connection:
        who = (await find_key(connection, key)).subject
        await change_person(connection, subjects, who, state=state)
    await database.dispose()
    subjects.close()


@pytest.fixture
def browser(service: Service):
    with httpx.Client(base_url=service.url, timeout=60, headers={"accept-language": "en"}) as one:
        yield one


def post(browser: httpx.Client, page: str, path: str, **fields: str) -> httpx.Response:
    token = re.search(r'name="token" value="([^"]+)"', browser.get(page).text)[1]
    return browser.post(path, data={"token": token, **fields})


def test_from_the_first_link_to_a_block(service, browser):
    path = invited(service)
    assert "administrator" in browser.get(path).text
    joined = post(browser, path, path, login="first", password=PASSWORD)
    assert (joined.status_code, joined.headers["location"]) == (303, "/me?done=welcome")
    assert browser.get(path).status_code == 404
    assert browser.get("/me").status_code == 200

    key = re.search(r"(modu-[\w-]{43})", post(browser, "/me", "/me/keys", name="k", days="30").text)[1]
    bearer = {"authorization": f"Bearer {key}"}
    until(lambda: httpx.get(f"{service.url}/v1/models", headers=bearer).status_code == 200)

    asyncio.run(set_state(service, key, "blocked"))
    until(lambda: browser.get("/me").status_code == 303)
    until(lambda: httpx.get(f"{service.url}/v1/models", headers=bearer).status_code == 401)
    assert post(browser, "/signin", "/signin", login="first", password=PASSWORD).status_code == 403
    asyncio.run(set_state(service, key, "active"))
    browser.cookies.clear()
    assert post(browser, "/signin", "/signin", login="first", password=PASSWORD).status_code == 303
    assert browser.cookies[COOKIE]


def test_a_large_form_and_a_strange_one(service, browser):
    much = post(browser, "/signin", "/signin", login="x" * 50_000, password="y")
    assert much.status_code == 413
    parts = browser.post("/signin", files={"login": b"x"})
    assert parts.status_code == 415
