"""My account: what it shows, every change, taking along and deleting."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text as sql

from moduai.accounts.keys import load_principals
from moduai.accounts.looks import read as look_at
from moduai.accounts.looks import take_leave
from moduai.accounts.people import get_person
from moduai.accounts.quotas import Limit, set_quota
from moduai.accounts.reports import ReportText, file_report, read_report
from moduai.accounts.sessions import digest, find_session, start_session
from moduai.history.conversations import count
from moduai.history.record import title_purpose
from moduai.history.tables import conversations, turns

from .harness import PASSWORD, resident, serve
from .test_sign_in import Client


@pytest.fixture
async def me(served):
    """A resident's browser."""
    person, token = await resident(served.services, region="KR-26")
    client = Client(served)
    client.person, client.served = person, served
    client.carry(token)
    async with client.http:
        yield client


async def reload(me):
    async with me.served.services.database.connect() as connection:
        return await get_person(connection, me.served.services.subjects, me.person.id)


async def post(me, what, **fields):
    return await me.post(f"/me/{what}", page="/me", **fields)


async def keep_conversation(me, title="비밀 이야기", person=None):
    """One conversation with a turn, as the loader would write it."""
    services, who = me.served.services, person or me.person.id
    async with services.database.begin() as connection:
        name = f"cnv_{time.time_ns()}"
        await connection.execute(
            conversations.insert().values(
                id=name, person=who, created_at=1, updated_at=2, deleted_at=0,
                sealed_title=services.subjects.seal(who, title_purpose(name), title.encode()),
            )
        )  # fmt: skip
    return name


async def test_only_who_is_signed_in_sees_it(served):
    client = Client(served)
    async with client.http:
        for path in ("/me", "/me/export.json", "/me/export.md"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/signin?next=/me")
        token = await client.token("/signin")
        assert (await client.http.post("/me/delete", data={"token": token})).status_code == 303


async def test_it_says_what_is_kept(me):
    page = await me.get("/me")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "private, no-store"
    for text in (
        "하늘",
        "resident",
        "Firefox · Linux",
        "History is off",
        "Nobody.",
        "login name and password",
    ):
        assert text in page.text


async def test_settings(me):
    answer = await post(
        me, "settings", history="on", region="KR-11", language="ko", name="  새 이름 \u202e", group=""
    )
    assert answer.headers["location"] == "/me?done=saved"
    person = await reload(me)
    assert (person.history, person.region, person.language, person.name) == (True, "KR-11", "ko", "새 이름")
    assert "modu_language=ko" in answer.headers["set-cookie"]
    await post(me, "settings", region="", language="", name="")
    person = await reload(me)
    assert (person.history, person.region, person.language, person.name) == (False, "", "", "")


@pytest.mark.parametrize(
    "fields",
    [{"region": "XX-1"}, {"group": "anything"}, {"language": "fr"}, {"name": "a" * 101}, {"name": "\x00"}],
)
async def test_what_is_not_offered_is_refused(me, fields):
    assert (await post(me, "settings", **fields)).status_code == 400
    person = await reload(me)
    assert (person.name, person.region, person.group, person.language) == ("하늘", "KR-26", "", "")


async def test_what_people_write_is_shown_as_text(me):
    await post(me, "settings", name="<script>alert(1)</script>")
    page = (await me.get("/me")).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


async def test_keys(me):
    answer = await post(me, "keys", name="내 프로그램", days="90")
    clear = re.search(r'id="new-key">(modu-[^<]+)<', answer.text)[1]
    assert clear not in (await me.get("/me")).text
    async with me.served.services.database.connect() as connection:
        ((_, principal),) = await load_principals(connection)
    assert (principal.subject, principal.service_class, principal.region) == (
        me.person.id, "resident", "KR-26",
    )  # fmt: skip
    await post(me, "settings", region="KR-11")
    async with me.served.services.database.connect() as connection:
        assert [each.region for _, each in await load_principals(connection)] == ["KR-11"]
    assert (await post(me, "revoke", key=principal.key)).headers["location"] == "/me?done=revoked"
    async with me.served.services.database.connect() as connection:
        assert await load_principals(connection) == []


async def test_nobody_revokes_the_key_of_another(me):
    _, token = await resident(me.served.services, "bada")
    theirs = Client(me.served)
    theirs.carry(token)
    async with theirs.http:
        await theirs.post("/me/keys", page="/me", name="theirs", days="0")
    async with me.served.services.database.connect() as connection:
        ((_, principal),) = await load_principals(connection)
    assert (await post(me, "revoke", key=principal.key)).status_code == 404


async def test_keys_are_bounded(me, monkeypatch):
    monkeypatch.setattr("moduai.web.me.MOST_KEYS", 2)
    said = [(await post(me, "keys", name="k", days="30")).status_code for _ in range(3)]
    assert said == [200, 200, 409]
    assert (await post(me, "keys", name="k", days="12")).status_code == 400


async def another_browser(me):
    async with me.served.services.database.begin() as connection:
        token, session = await start_session(connection, me.person, "Chrome · Android", time.time())
    client = Client(me.served)
    client.carry(token)
    return client, session


async def test_signing_other_browsers_out(me):
    phone, session = await another_browser(me)
    async with phone.http:
        assert (await phone.get("/me")).status_code == 200
        assert "Chrome · Android" in (await me.get("/me")).text
        await post(me, "sessions", session=session.id)
        assert (await phone.get("/me")).status_code == 303
    assert (await me.get("/me")).status_code == 200


@pytest.mark.parametrize(("which", "here"), [("others", 200), ("everywhere", 303)])
async def test_signing_out_everywhere(me, which, here):
    phone, _ = await another_browser(me)
    async with phone.http:
        await post(me, "sessions", session=which)
        assert (await phone.get("/me")).status_code == 303
    assert (await me.get("/me")).status_code == here


async def test_nobody_ends_the_session_of_another(me):
    _, token = await resident(me.served.services, "bada")
    async with me.served.services.database.connect() as connection:
        session = await find_session(connection, digest(token.encode()), time.time())
    await post(me, "sessions", session=session.id)
    other = Client(me.served)
    other.carry(token)
    async with other.http:
        assert (await other.get("/me")).status_code == 200


async def test_another_password(me):
    phone, _ = await another_browser(me)
    new = "seven rivers over moon"
    wrong = await post(me, "password", login="haneul", password="not this one", new=new)
    assert wrong.status_code == 403
    assert (await post(me, "password", login="haneul", password=PASSWORD, new="short")).status_code == 400
    done = await post(me, "password", login="haneul", password=PASSWORD, new=new)
    assert done.headers["location"] == "/me?done=password"
    async with phone.http:
        assert (await phone.get("/me")).status_code == 303
    assert (await me.get("/me")).status_code == 200
    fresh = Client(me.served)
    async with fresh.http:
        assert (await fresh.sign_in()).status_code == 403
        assert (await fresh.sign_in(password=new)).status_code == 303


async def test_a_password_of_another_account_changes_nothing(me):
    await resident(me.served.services, "bada")
    answer = await post(me, "password", login="bada", password=PASSWORD, new="seven rivers over moon")
    assert answer.status_code == 403


async def test_who_looked_is_shown(me):
    steward, _ = await resident(me.served.services, "steward", role="steward")
    async with me.served.services.database.begin() as connection:
        await take_leave(connection, steward.id, me.person.id, "A court asked for it, case 12 of 2026")
    page = (await me.get("/me")).text
    assert "A court asked for it" in page
    assert "nothing was read" in page

    async def nothing(_):
        return None

    await look_at(me.served.services.database, staff=steward.id, person=me.person.id, what="", reader=nothing)
    assert "read on" in (await me.get("/me")).text


async def test_who_read_a_report_is_shown_too(me):
    services = me.served.services
    steward, _ = await resident(services, "steward", role="steward")
    other, _ = await resident(services, "bada")
    filed = {}
    for person in (me.person, other):
        about = {"person": person.id, "turn": "t", "model": "m", "reason": "wrong", "text": ReportText()}
        async with services.database.begin() as connection:
            filed[person.id] = await file_report(connection, services.subjects, **about)
    async with services.database.begin() as connection:
        await read_report(connection, services.subjects, filed[other.id], steward.id)
    assert "Nobody." in (await me.get("/me")).text
    for staff in (steward.id, "cli"):
        async with services.database.begin() as connection:
            await read_report(connection, services.subjects, filed[me.person.id], staff)
    page = (await me.get("/me")).text
    assert "Nobody." not in page
    assert page.count(": what you reported about an answer") == 2
    account = json.loads((await me.get("/me/export.json")).content)["account"]
    assert sorted(each["role"] for each in account["readings_of_reports"]) == ["cli", "steward"]


async def test_taking_everything_along(me):
    await keep_conversation(me)
    services = me.served.services
    async with services.database.begin() as connection:
        text = ReportText(question="?", answer="!", remark="내가 쓴 말")
        about = {"person": me.person.id, "turn": "t", "model": "m", "reason": "wrong", "text": text}
        await file_report(connection, services.subjects, **about)
    answer = await me.get("/me/export.json")
    assert "attachment" in answer.headers["content-disposition"]
    whole = json.loads(answer.content)
    assert whole["account"]["person"]["name"] == "하늘"
    assert whole["account"]["sessions"][0]["device"] == "Firefox · Linux"
    assert [each["title"] for each in whole["kept"]["conversations"]] == ["비밀 이야기"]
    assert whole["account"]["reports"][0]["text"]["remark"] == "내가 쓴 말"
    assert "handled_by" not in answer.text
    assert "digest" not in answer.text
    markdown = await me.get("/me/export.md")
    assert "비밀 이야기" in markdown.text
    assert (await me.get("/me/export.exe")).status_code == 404
    foreign = await me.http.get("/me/export.json", headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403


async def test_deleting_the_account_takes_its_word(me):
    await keep_conversation(me)
    for word in ("", "yes", "DELETE!"):
        assert (await post(me, "delete", word=word)).status_code == 400
    answer = await post(me, "delete", word=" Delete ")
    assert answer.headers["location"] == "/signin?done=account"
    assert "was deleted" in (await me.get(answer.headers["location"])).text
    assert me.session is None
    services = me.served.services
    async with services.database.connect() as connection:
        assert await count(connection, me.person.id) == (0, 0)
        assert (await connection.execute(turns.select())).first() is None
    assert me.person.id in services.subjects.destroyed()
    fresh = Client(me.served)
    async with fresh.http:
        assert (await fresh.sign_in()).status_code == 403


async def test_the_last_administrator_stays(me):
    services = me.served.services
    _, token = await resident(services, "first", role="admin")
    me.carry(token)
    answer = await post(me, "delete", word="delete")
    assert answer.status_code == 409
    assert "last administrator" in answer.text
    await resident(services, "another", role="admin")
    assert (await post(me, "delete", word="delete")).headers["location"] == "/signin?done=account"


async def test_korean_asks_for_a_korean_word(me):
    me.http.headers["accept-language"] = "ko"
    assert (await post(me, "delete", word="delete")).status_code == 400
    assert (await post(me, "delete", word="삭제")).status_code == 303


async def test_every_form_needs_the_token(me):
    for what in ("settings", "sessions", "keys", "revoke", "password", "delete"):
        answer = await me.http.post(
            f"/me/{what}", data={"token": "x", "word": "delete", "session": "everywhere"}
        )
        assert answer.status_code == 403
    assert (await me.get("/me")).status_code == 200
    assert (await post(me, "nothing")).status_code == 404


async def test_a_lost_key_is_told_and_breaks_nothing(me):
    subjects = me.served.services.subjects
    await keep_conversation(me)
    subjects.close()
    subjects.file.write_bytes(b"")
    page = await me.get("/me")
    assert page.status_code == 200
    assert "하늘" not in page.text
    assert (await me.get("/me/export.json")).status_code == 200


async def test_without_regions_none_is_asked(script):
    async with serve(script, **{"people.ask_region": False}) as served:
        _, token = await resident(served.services)
        client = Client(served)
        client.carry(token)
        async with client.http:
            assert 'name="region"' not in (await client.get("/me")).text


async def test_regions_and_the_usual_language_are_those_of_the_country_pack(script):
    pack = Path(__file__).parents[1] / "packs" / "xa"
    async with serve(script, **{"pack.use": str(pack)}) as served:
        _, token = await resident(served.services)
        client = Client(served)
        client.carry(token)
        async with client.http:
            page = (await client.get("/me")).text
            assert 'lang="en"' in page  # the pack's first language has no page texts yet
            assert '<option value="XA-S">Islands</option>' in page
            assert "KR-" not in page


async def test_with_a_pack_that_cannot_be_used_nobody_is_asked_for_a_region(script, tmp_path):
    async with serve(script, **{"pack.use": str(tmp_path / "nowhere")}) as served:
        _, token = await resident(served.services)
        client = Client(served)
        client.carry(token)
        async with client.http:
            page = await client.get("/me")
            assert page.status_code == 200
            assert 'name="region"' not in page.text


async def test_it_says_what_may_be_used_and_what_is_left(me):
    assert "tokens each" not in (await me.get("/me")).text
    since = time.strftime("%Y-%m", time.gmtime())
    async with me.served.services.database.begin() as connection:
        await set_quota(connection, me.person.id, Limit(50_000, "month"), "cli")
        for month in (since, f"{datetime.now(UTC) + timedelta(days=1):%Y-%m}"):  # whatever the time zone
            put = "INSERT INTO quota_books VALUES (:m, :o, 1234, '{}') ON CONFLICT DO NOTHING"
            await connection.execute(sql(put), {"m": month, "o": me.person.id})
    shown = (await me.get("/me")).text
    assert "You may use 50,000 tokens each month" in shown
    assert re.search(r"48,766 are left; they begin anew at \d{4}-\d\d-01 00:00\.", shown)
