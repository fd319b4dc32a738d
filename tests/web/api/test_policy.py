"""The policy over the API: shown to staff, checked, applied and undone by those who may."""

from __future__ import annotations

import pytest

from moduai.gateway import policy_file
from moduai.packs.where import POLICY, shipped
from tests.web.office import Office

IN_FORCE = (shipped()["kr"] / POLICY).read_text("utf-8")
"""What counts without a file: the policy of the country pack."""
OTHER = IN_FORCE.replace("weight = 10\n", "weight = 5\n")


async def test_every_member_of_staff_sees_how_the_service_is_shared(desk: Office) -> None:
    async with desk.client("committee") as client:
        answer = (await client.get("/api/policy")).json()
        assert (answer["source"], answer["problems"], answer["text"]) == ("pack", [], IN_FORCE)
        resident = answer["classes"][0]
        assert (resident["name"], resident["title"]["ko"], resident["people"]) == ("resident", "주민", 6)
        (desk.services.loaded.home / "policy.toml").write_text("half")
        assert "line 1" in (await client.get("/api/policy")).json()["problems"][0]
        for method, path in (("PUT", "/api/policy"), ("POST", "/api/policy/undo")):
            answer = await client.request(method, path, json={"text": OTHER})
            assert answer.json()["error"]["code"] == "permission_missing"


async def test_a_policy_is_checked_applied_and_undone(desk: Office) -> None:
    home = desk.services.loaded.home
    async with desk.client("operator") as client:
        checked = (await client.post("/api/policy/check", json={"text": OTHER.replace("\n", "\r\n")})).json()
        assert (checked["problems"], checked["remarks"]) == ([], [])
        assert checked["effects"][0]["what"][0] == "weight 10 → 5"
        assert checked["effects"][0]["people"] == 6
        assert not (home / "policy.toml").exists()
        applied = (await client.put("/api/policy", json={"text": OTHER})).json()
        assert applied["effects"] == checked["effects"]
        assert applied["digest"] == checked["digest"]
        assert policy_file.read(desk.services.loaded).policy.classes["resident"].weight == 5000
        undone = (await client.post("/api/policy/undo", json={})).json()
        assert undone["before"] == applied["digest"]
        assert policy_file.read(desk.services.loaded).text == IN_FORCE
    assert [one.action for one in await desk.entries()] == ["policy.undo", "policy.apply"]


async def test_a_key_of_an_operator_may_too_and_is_named(desk: Office) -> None:
    headers = await desk.key(desk.people["operator"])
    async with desk.client() as client:
        assert (await client.put("/api/policy", json={"text": OTHER}, headers=headers)).is_success
    assert '"key":"key_' in (await desk.entries("policy.apply"))[0].detail


async def test_a_policy_with_a_problem_is_refused(desk: Office) -> None:
    bad = IN_FORCE.replace("weight = 10\n", "weight = -5\n")
    async with desk.client("operator") as client:
        answer = await client.put("/api/policy", json={"text": bad})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "value_not_allowed")
        assert "class.resident.weight" in answer.json()["error"]["message"]
        checked = (await client.post("/api/policy/check", json={"text": bad})).json()
        assert checked["problems"][0]["path"] == ["class", "resident", "weight"]
        assert checked["problems"][0]["line"] > 1
        answer = await client.post("/api/policy/undo", json={})
        assert "There is no policy before this one" in answer.json()["error"]["message"]
        assert not (await desk.entries())


async def test_what_cannot_be_recorded_does_not_happen(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("moduai.gateway.policy_change.record", fails)
    async with desk.client("operator") as client:
        answer = await client.put("/api/policy", json={"text": OTHER})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert policy_file.read(desk.services.loaded).source == "pack"


async def test_a_key_may_be_made_for_a_class_of_the_policy(desk: Office) -> None:
    async with desk.client("admin") as client:
        made = await client.post("/api/keys", json={"name": "k", "service_class": "public-duty"})
        assert made.json()["key"]["service_class"] == "public-duty"
        refused = await client.post("/api/keys", json={"name": "k", "service_class": "school"})
        assert "no class of service 'school'" in refused.json()["error"]["message"]
        more = IN_FORCE + '[class.school]\ntitle = { ko = "학교", en = "Schools" }\n'
        assert (await client.put("/api/policy", json={"text": more})).is_success
        assert (await client.post("/api/keys", json={"name": "k", "service_class": "school"})).is_success
