"""What the operations do, what they leave in the audit log, and what they refuse."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx2
import msgspec
from benchmarks.harness.engine import running_engine

from moduai.accounts.reports import ReportText, file_report
from moduai.gateway.policy_text import parse, shipped_text
from moduai.metering.loader import put_usage
from moduai.metering.row import UsageRow
from moduai.packs.choose import chosen
from moduai.proposals.repository import propose
from moduai.proposals.rows import Given
from moduai.web.api.table import BY_NAME, OPERATIONS
from tests.web.console.conftest import crowded
from tests.web.office import ENGINE, Office


async def done(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: httpx2.Response, code: str) -> str:
    assert answer.json()["error"]["code"] == code, answer.text
    return str(answer.json()["error"]["message"])


async def test_now_tells_of_load_engines_and_the_last_hour(desk: Office) -> None:
    desk.lane.stats.queue.by_bits[20] = 9
    desk.lane.stats.queue.sum_us = 9_000_000
    desk.lane.stats.errors["line_full"] = 3
    assert desk.services.workers is not None
    desk.services.workers._sockets = {"2": desk.services.loaded.home / "none.sock"}
    at = time.time_ns() // 1000
    async with desk.services.database.begin() as connection:
        row = msgspec.structs.asdict(UsageRow(id="1", at=at, subject="a", tokens_out=7, outcome="failed"))
        await put_usage(connection, [row])
    async with desk.client("officer") as client:
        now = await done(await client.get("/api/now"))
    assert (now["running"], now["capacity"], now["waiting"]) == (0, 32, 0)
    assert now["wait"] == {"count": 9, "mean_s": 1.0, "median_s": 1.049, "p95_s": 1.049}
    assert now["first_token"]["p95_s"] is None
    assert now["engines"][0] | {"models": 0} == {
        "id": ENGINE.id, "name": "lab", "kind": "vllm", "state": "active", "health": "well", "running": 0,
        "concurrency": 32, "failures": 0, "models": 0,
    }  # fmt: skip
    assert now["workers"][0]["boot"] == "boot"
    assert now["workers"][1] == {"name": "2", "boot": "", "started_at": 0}, "it does not answer"
    assert [one["name"] for one in now["models"]] == ["Qwen/Qwen3-8B", "haneul-32b"]
    assert now["errors"] == [{"code": "line_full", "count": 3}]
    assert (now["recent"]["requests"], now["recent"]["failed"], now["recent"]["tokens_out"]) == (1, 1, 7)
    assert len(now["recent"]["minutes"]) == 60
    assert now["recent"]["minutes"][-1]["failed"] + now["recent"]["minutes"][-2]["failed"] == 1


async def test_now_is_told_while_the_database_is_away(desk: Office) -> None:
    assert desk.services.database.file is not None
    desk.services.database.file.unlink()
    async with desk.client("operator") as client:
        desk.services.sessions.put(b"", None, 0)
        answer = await client.get("/api/now")
        if answer.status_code == 200:  # the session was known
            assert answer.json()["recent"] is None
        else:
            refused(answer, "not_signed_in")
        headers = {"authorization": "Bearer x"}
        assert (await client.get("/api/usage", headers=headers)).status_code in {401, 503}


async def test_an_engine_is_drained_removed_and_brought_back(desk: Office) -> None:
    async with desk.client("operator") as client:
        assert (await done(await client.post("/api/engines/lab/drain")))["state"] == "draining"
        await desk.follow()
        assert (await done(await client.get("/api/now")))["engines"][0]["state"] == "draining"
        assert (await done(await client.delete(f"/api/engines/{ENGINE.id}")))["state"] == "removed"
        assert not (await done(await client.get("/api/engines")))["items"]
        assert len((await done(await client.get("/api/engines?removed=true")))["items"]) == 1
        refused(await client.post(f"/api/engines/{ENGINE.id}/drain"), "conflict")
        refused(await client.post("/api/engines/nobody/drain"), "not_found")
        assert (await done(await client.post(f"/api/engines/{ENGINE.id}/resume")))["state"] == "active"
    told = [(one.action, one.actor, one.target) for one in await desk.entries()]
    operator = desk.people["operator"]
    assert told == [(f"engine.{what}", operator, ENGINE.id) for what in ("resume", "remove", "drain")]


async def test_an_engine_is_added_and_its_key_is_never_shown(desk: Office) -> None:
    async with running_engine() as fake, desk.client("operator") as client:
        body = {"url": fake.url, "key": fake.key or "secret-key-1", "name": "new", "count": 2}
        made = await done(await client.post("/api/engines", json={**body, "models": []}), 201)
        assert (made["name"], made["key"], made["count"], made["follows"]) == ("new", True, 2, True)
        assert "secret-key-1" not in (await client.get("/api/engines")).text
        refused(await client.post("/api/engines", json={**body, "models": ["gone"]}), "engine_not_usable")
    for url, code in (
        ("unix:///var/run/docker.sock", "value_not_allowed"),
        ("http://127.0.0.1:9", "engine_not_usable"),
        ("ftp://x", "value_not_allowed"),
        ("http://user@x:1/", "value_not_allowed"),
    ):
        async with desk.client("operator") as client:
            refused(await client.post("/api/engines", json={"url": url}), code)
    assert [one.action for one in await desk.entries()] == ["engine.add"]


async def test_people_are_found_changed_and_signed_out(desk: Office) -> None:
    resident = desk.people["resident"]
    async with desk.client("admin") as client:
        found = await done(await client.post("/api/people/search", json={"text": "one RES"}))
        assert [one["id"] for one in found["items"]] == [resident]
        page = await done(await client.post("/api/people/search", json={"limit": 4}))
        rest = await done(await client.post("/api/people/search", json={"limit": 4, "after": page["next"]}))
        assert {one["id"] for one in page["items"] + rest["items"]} == set(desk.people.values())
        assert rest["next"] == ""
        shown = await done(await client.get(f"/api/people/{resident}"))
        assert shown["sessions"][0]["device"] == "Firefox · Linux"
        changed = await done(await client.patch(f"/api/people/{resident}", json={"region": "KR-26"}))
        assert (changed["region"], changed["role"]) == ("KR-26", "resident")
        assert (await done(await client.patch(f"/api/people/{resident}", json={"region": ""})))[
            "region"
        ] == ""
        assert (await done(await client.post(f"/api/people/{resident}/signout")))["count"] == 1
        refused(await client.patch(f"/api/people/{resident}", json={}), "invalid_parameter")
        refused(await client.patch(f"/api/people/{resident}", json={"name": "x"}), "invalid_parameter")
        refused(await client.patch(f"/api/people/{resident}", json={"region": "부산"}), "invalid_parameter")
        refused(
            await client.patch(f"/api/people/{resident}", json={"organisation": "no"}), "value_not_allowed"
        )
        refused(await client.get("/api/people/nobody"), "not_found")
    told = {one.action: one.detail for one in await desk.entries("person")}
    assert told == {"person.change": '{"region":""}', "person.signout": '{"sessions":1}'} | told
    assert "One resident" not in "".join(one.detail for one in await desk.entries())


async def test_an_admin_stays(desk: Office) -> None:
    admin = desk.people["admin"]
    async with desk.client("admin") as client:
        assert "Another admin" in refused(
            await client.patch(f"/api/people/{admin}", json={"role": "resident"}), "conflict"
        )
        refused(await client.delete(f"/api/people/{admin}"), "conflict")
        steward = desk.people["steward"]
        await done(await client.patch(f"/api/people/{steward}", json={"role": "admin"}))
    headers = await desk.key(steward)
    async with desk.client() as client:
        await done(await client.patch(f"/api/people/{admin}", json={"role": "resident"}, headers=headers))
        refused(
            await client.patch(f"/api/people/{steward}", json={"state": "blocked"}, headers=headers),
            "conflict",
        )


async def test_an_account_is_deleted_with_its_key(desk: Office) -> None:
    resident = desk.people["resident"]
    async with desk.client("admin") as client:
        await done(await client.delete(f"/api/people/{resident}"))
        refused(await client.get(f"/api/people/{resident}"), "not_found")
        refused(await client.delete(f"/api/people/{resident}"), "not_found")
    assert resident in desk.services.subjects.destroyed()
    assert [(one.action, one.target) for one in await desk.entries()] == [("person.delete", resident)]


async def test_organisations_keys_and_invitations(desk: Office) -> None:
    async with desk.client("admin") as client:
        made = await done(
            await client.post("/api/organisations", json={"name": "부산", "region": "KR-26"}), 201
        )
        refused(await client.post("/api/organisations", json={"name": "부산"}), "conflict")
        body = {"name": "ci", "organisation": made["id"]}
        new = await done(await client.post("/api/keys", json=body), 201)
        assert new["clear"].startswith("modu-")
        assert new["clear"] not in (await client.get("/api/keys")).text
        for number in range(3):
            await client.post("/api/keys", json={"name": f"k{number}"})
        page = await done(await client.get("/api/keys?limit=3"))
        rest = await done(await client.get(f"/api/keys?limit=3&after={page['next']}"))
        assert (len(page["items"]), len(rest["items"]), rest["next"]) == (3, 1, "")
        refused(await client.get("/api/keys?after=key_x"), "invalid_parameter")
        assert (await done(await client.delete(f"/api/keys/{new['key']['id']}")))["state"] == "revoked"
        refused(await client.delete("/api/keys/key_x"), "not_found")
        refused(await client.post("/api/keys", json={"name": "old", "expires_at": 5}), "value_not_allowed")
        invitation = await done(await client.post("/api/invitations", json={"role": "steward"}), 201)
        assert invitation["path"].startswith("/join/")
        assert invitation["path"][6:] not in (await client.get("/api/invitations")).text
        id_ = invitation["invitation"]["id"]
        assert (await done(await client.delete(f"/api/invitations/{id_}")))["state"] == "revoked"
        refused(await client.delete(f"/api/invitations/{id_}"), "not_found")
    assert all(one.actor == desk.people["admin"] for one in await desk.entries())
    assert new["clear"] not in "".join(one.detail for one in await desk.entries())


async def test_a_key_that_manages_is_the_callers_own(desk: Office) -> None:
    async with desk.client("admin") as client:
        new = await done(await client.post("/api/keys", json={"name": "mine", "manage": True}), 201)
    assert new["key"]["subject"] == desk.people["admin"]
    assert set(new["key"]["scopes"]) == {"inference", "manage"}
    await desk.follow()
    async with desk.client() as client:
        headers = {"authorization": f"Bearer {new['clear']}"}
        await done(await client.put("/api/banner", json={"words": {"en": "Hi"}}, headers=headers))
        entry = (await desk.entries("switch"))[0]
        assert entry.actor == desk.people["admin"]


async def test_a_repeated_request_makes_nothing_more(desk: Office) -> None:
    async with desk.client("admin") as client:
        headers = {"idempotency-key": "order-1"}
        first, *others = await asyncio.gather(
            *(client.post("/api/keys", json={"name": "once"}, headers=headers) for _ in range(3))
        )
        statuses = sorted(answer.status_code for answer in (first, *others))
        assert statuses == [201, 409, 409]
        assert len((await client.get("/api/keys")).json()["items"]) == 1
        assert (
            await client.post("/api/keys", json={"name": "x"}, headers={"idempotency-key": "2"})
        ).is_success
        long = {"idempotency-key": "x" * 101}
        refused(await client.post("/api/keys", json={"name": "x"}, headers=long), "invalid_parameter")


async def test_reports_are_read_and_handled(desk: Office) -> None:
    async with desk.services.database.begin() as connection:
        ids = [
            await file_report(
                connection, desk.services.subjects, person="", turn=f"t{n}", model="m", reason="wrong",
                text=ReportText(question="Where?", answer="<b>There</b>", remark="No."),
            )
            for n in range(3)
        ]  # fmt: skip
    async with desk.client("steward") as client:
        page = await done(await client.get("/api/reports?limit=2"))
        rest = await done(await client.get(f"/api/reports?limit=2&after={page['next']}"))
        assert {one["id"] for one in page["items"] + rest["items"]} == set(ids)
        assert "Where?" not in str(page)
        report = await done(await client.post(f"/api/reports/{ids[0]}/read"))
        assert report["text"]["question"] == "Where?"
        handled = await done(
            await client.post(f"/api/reports/{ids[0]}/handle", json={"state": "handled", "note": "done"})
        )
        assert (handled["state"], handled["handled_by"]) == ("handled", desk.people["steward"])
        assert len((await done(await client.get("/api/reports?state=open")))["items"]) == 2
        refused(await client.post("/api/reports/rep_x/read"), "not_found")
        refused(await client.get("/api/reports?after=nonsense"), "invalid_parameter")
    assert [one.action for one in await desk.entries()] == ["report.handle", "report.read"]


async def test_a_persons_text_needs_leave(desk: Office) -> None:
    resident = desk.people["resident"]
    async with desk.client("steward") as client:
        refused(await client.post(f"/api/people/{resident}/conversations"), "leave_missing")
        refused(await client.post(f"/api/people/{resident}/conversations/cnv_x"), "leave_missing")
        refused(
            await client.post(f"/api/people/{resident}/leave", json={"reason": "short"}), "invalid_parameter"
        )
        leave = await done(
            await client.post(f"/api/people/{resident}/leave", json={"reason": "A threat was reported."})
        )
        assert leave["person"] == resident
        assert (await done(await client.post(f"/api/people/{resident}/conversations")))["items"] == []
        refused(await client.post(f"/api/people/{resident}/conversations/cnv_x"), "not_found")
        odd = f"/api/people/{resident}/conversations/%E2%80%AE"  # the log takes no such letter
        refused(await client.post(odd), "value_not_allowed")
        looks = await done(await client.get(f"/api/people/{resident}/looks"))
        assert looks["mine"]["id"] == leave["id"]
        assert looks["items"][0]["used_at"]
        assert (await done(await client.delete(f"/api/people/{resident}/leave")))["ended"] == 1
        refused(await client.post(f"/api/people/{resident}/conversations"), "leave_missing")
    async with desk.client("committee") as client:
        assert (await done(await client.get("/api/looks")))["items"][0]["reason"] == "A threat was reported."
    assert [one.action for one in await desk.entries()] == [
        "look.end",
        "look.read",
        "look.read",
        "look.leave",
    ]


async def test_banner_and_stop(desk: Office) -> None:
    async with desk.client("operator") as client:
        until = int(time.time()) + 3600
        await done(
            await client.put(
                "/api/banner", json={"words": {"ko": "점검"}, "level": "warning", "until": until}
            )
        )
        await done(await client.post("/api/stop", json={"model": "Qwen/Qwen3-8B", "words": {"en": "Broken"}}))
        await done(await client.post("/api/stop", json={}))
        items = {one["name"]: one for one in (await done(await client.get("/api/switches")))["items"]}
        assert set(items) == {"banner", "model:Qwen/Qwen3-8B", "service"}
        assert items["banner"] | {"set_at": 0} == {
            "name": "banner", "words": {"ko": "점검"}, "level": "warning", "until": until,
            "set_by": desk.people["operator"], "set_at": 0,
        }  # fmt: skip
        await desk.follow()
        now = await done(await client.get("/api/now"))
        assert all(one["stopped"] for one in now["models"])
        assert (await done(await client.post("/api/start", json={})))["cleared"] is True
        assert (await done(await client.post("/api/start", json={})))["cleared"] is False
        assert (await done(await client.delete("/api/banner")))["cleared"] is True
        refused(await client.put("/api/banner", json={}), "value_not_allowed")
        refused(await client.put("/api/banner", json={"words": {"en": "x"}, "until": 5}), "value_not_allowed")


async def test_settings_and_the_audit_log(desk: Office) -> None:
    async with desk.client("admin") as client:
        settings = (await done(await client.get("/api/settings")))["items"]
        assert {"name", "value", "origin", "description"} == set(settings[0])
        assert any(one["name"] == "console.utc_offset" for one in settings)
        for word in ("a", "b", "c"):
            await done(await client.put("/api/banner", json={"words": {"en": word}}))
        page = await done(await client.get("/api/audit?limit=2&action=switch"))
        rest = await done(await client.get(f"/api/audit?limit=2&action=switch&after={page['next']}"))
        assert [one["number"] for one in page["items"] + rest["items"]] == [3, 2, 1]
        verdict = await done(await client.get("/api/audit/verify"))
        assert (verdict["ok"], verdict["entries"]) == (True, 3)
        assert (await done(await client.get("/api/audit/roots")))["roots"] == []
        refused(await client.get("/api/audit?after=1.2"), "invalid_parameter")


BAD: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/api/nothing", {}, 404, "not_found"),
    ("GET", "/api/", {}, 404, "not_found"),
    ("POST", "/api/now", {}, 405, "method_not_allowed"),
    ("TRACE", "/api/now", {}, 405, "method_not_allowed"),
    ("PUT", "/api/openapi.json", {}, 405, "method_not_allowed"),
    ("GET", "/api/usage?by=hour&by=model", {}, 400, "invalid_parameter"),
    ("GET", "/api/usage?by", {}, 400, "invalid_parameter"),
    ("GET", "/api/usage?colour=red", {}, 400, "invalid_parameter"),
    ("GET", "/api/audit?limit=0", {}, 400, "invalid_parameter"),
    ("GET", "/api/audit?since=99999999999999999999", {}, 400, "invalid_parameter"),
    ("GET", "/api/people/%00", {}, 400, "invalid_parameter"),
    ("GET", "/api/people/%ff", {}, 404, "not_found"),
    ("DELETE", "/api/keys/k?key=other", {}, 400, "invalid_parameter"),
    ("PATCH", "/api/people/x", {"json": {"person": "y"}}, 400, "invalid_parameter"),
    ("POST", "/api/keys?name=x", {"json": {}}, 400, "invalid_parameter"),
    ("POST", "/api/keys", {"content": b"{"}, 400, "invalid_json"),
    ("POST", "/api/keys", {"content": b"[]"}, 400, "invalid_json"),
    ("POST", "/api/keys", {"content": b'{"name": "\xff"}'}, 400, "invalid_json"),
    ("POST", "/api/keys", {"content": b"[" * 60_000}, 400, "invalid_json"),
    ("POST", "/api/keys", {"content": b'{"name": "\\u0000"}'}, 400, "invalid_parameter"),
    ("POST", "/api/keys", {"content": b'{"name": "\\ud800"}'}, 400, "invalid_json"),
    ("POST", "/api/people/search", {"json": {"after": "\x00"}}, 400, "invalid_parameter"),
    ("POST", "/api/keys", {"content": b"x" * 70_000}, 413, "body_too_large"),
    ("POST", "/api/keys", {"data": {"name": "x"}}, 415, "media_type_refused"),
]


async def test_bad_requests(desk: Office) -> None:
    async with desk.client("admin") as client:
        for method, path, more, status, code in BAD:
            headers = {"content-type": "application/json"} if "content" in more else {}
            answer = await client.request(method, path, headers=headers, **more)
            case = (method, path, more)
            assert answer.status_code == status, (case, answer.text)
            assert answer.json()["error"]["code"] == code, case
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"
            assert ("allow" in answer.headers) is (status == 405), case


async def test_every_change_is_in_the_audit_log(desk: Office) -> None:
    resident = desk.people["resident"]
    async with desk.services.database.begin() as connection:
        report = await file_report(
            connection,
            desk.services.subjects,
            person="",
            turn="t",
            model="m",
            reason="wrong",
            text=ReportText(),
        )
        pack = chosen(desk.services.loaded, parse)
        change = Given(claim="a-gpus-50000", status="funded", day="2026-11-20", source="a")
        proposals = [(await propose(connection, pack, change, by="sub_1")).id for _ in range(2)]
    async with running_engine() as fake, desk.client("admin") as client:
        key = (await client.post("/api/keys", json={"name": "k"})).json()["key"]["id"]
        invitation = (await client.post("/api/invitations", json={})).json()["invitation"]["id"]
        given: dict[str, dict[str, Any]] = {
            "engine.add": {"url": fake.url, "key": fake.key},
            "engine.drain": {"engine": "lab"},
            "engine.resume": {"engine": "lab"},
            "engine.remove": {"engine": "lab"},
            "banner.set": {"words": {"en": "Hi"}},
            "banner.clear": {},
            "policy.apply": {"text": shipped_text().replace("weight = 10", "weight = 8")},
            "policy.undo": {},
            "quota.set": {"owner": resident, "tokens": 5},
            "quota.clear": {"owner": resident},
            "service.stop": {},
            "service.start": {},
            "org.create": {"name": "new"},
            "invite.create": {},
            "invite.revoke": {"invitation": invitation},
            "key.create": {"name": "new"},
            "key.revoke": {"key": key},
            "report.read": {"report": report},
            "report.handle": {"report": report, "state": "handled"},
            "look.take": {"person": resident, "reason": "A threat was reported."},
            "look.conversations": {"person": resident},
            "look.end": {"person": resident},
            "knowledge.add": {"address": "https://example.org/a.pdf"},
            "knowledge.update": {"collection": "laws"},
            "knowledge.remove": {"collection": "laws"},
            "plan.propose": {"claim": "a-gpus-50000", "status": "funded", "day": "2026-11-20", "source": "a"},
            "plan.accept": {"proposal": proposals[0]},
            "plan.reject": {"proposal": proposals[1]},
            "person.change": {"person": resident, "group": "g1"},
            "person.signout": {"person": resident},
            "person.delete": {"person": resident},
        }
        changing = {one.name for one in OPERATIONS if one.writes}
        # A search and a check change nothing; reading one conversation is tried with text in another test.
        assert set(given) == changing - {"person.find", "look.read", "policy.check"}
        for name, fields in given.items():
            operation, before = BY_NAME[name], len(await desk.entries())
            path = operation.path.format(**fields)
            body = {key: value for key, value in fields.items() if f"{{{key}}}" not in operation.path}
            answer = await client.request(operation.method, path, **({"json": body} if body else {}))
            assert answer.is_success, (name, answer.text)
            entries = await desk.entries()
            assert len(entries) == before + 1, name
            assert entries[0].actor == desk.people["admin"]


async def test_shares_name_organisations_and_go_on_without_the_database(desk: Office) -> None:
    async with crowded(desk), desk.client("operator") as client:
        told = await done(await client.get("/api/shares"))
        model = next(one for one in told["models"] if one["waiting"])
        assert (model["running"], model["waiting"], model["places"]) == (2, 7, 2)
        classes = {each["id"]: each for each in model["classes"]}
        (library,) = classes["resident"]["organisations"]
        assert (library["name"], library["running"] + library["waiting"]) == ("부산 도서관", 6)
        assert (classes["public-duty"]["organisations"], classes["public-duty"]["kept_back"]) == ([], 1)
        assert classes["guest"]["networks"] == 2
        assert told["policy"]["source"] == "shipped"
        assert model["forecasts"][0]["kind"] == "light"
        await desk.services.database.dispose()
        assert desk.services.database.file is not None
        desk.services.database.file.unlink()
        assert (await done(await client.get("/api/shares")))["models"], "from memory, without names"
