"""Public documents by the API: added, looked at, read again, removed, and nothing of the machine."""

from __future__ import annotations

import pytest

from moduai.knowledge import store
from tests.web.api.test_operations import done, refused
from tests.web.office import Office


async def test_a_collection_is_added_once_read_again_and_removed(desk: Office) -> None:
    body = {"address": "https://example.org/guide.pdf", "name": "안내", "licence": "KOGL-1"}
    headers = {"idempotency-key": "k1"}
    async with desk.client("steward") as client:
        made = await done(await client.post("/api/knowledge", json=body, headers=headers), 201)
        assert (made["kind"], made["state"], made["licence"]) == ("web", "waiting", "KOGL-1")
        refused(await client.post("/api/knowledge", json=body, headers=headers), "already_done")
        refused(await client.post("/api/knowledge", json=body), "conflict")
        listed = (await done(await client.get("/api/knowledge")))["items"]
        assert [one["name"] for one in listed] == ["laws", "안내"]
        assert await done(await client.get(f"/api/knowledge/{made['id']}")) == made
        again = await done(await client.post("/api/knowledge/laws/update", json={}))
        assert again["state"] == "waiting"
        gone = await done(await client.delete("/api/knowledge/laws"))
        assert gone == {"id": again["id"], "documents": 1}
        refused(await client.delete("/api/knowledge/laws"), "not_found")
    told = [(one.action, one.target) for one in await desk.entries()]
    assert told == [
        ("knowledge.remove", again["id"]), ("knowledge.update", again["id"]), ("knowledge.add", made["id"]),
    ]  # fmt: skip
    async with desk.services.database.connect() as connection:
        assert await store.known(connection, again["id"]) == {}


async def test_an_open_api_is_added_by_its_place(desk: Office) -> None:
    async with desk.client("operator") as client:
        body = {"address": "law.go.kr:prec?query=전세 보증금"}
        made = await done(await client.post("/api/knowledge", json=body), 201)
    assert (made["kind"], made["address"], made["name"]) == ("api", body["address"], body["address"])


async def test_documents_are_listed_page_by_page(desk: Office) -> None:
    async with desk.client("operator") as client:
        page = await done(await client.get("/api/knowledge/laws/documents?limit=1"))
        (one,) = page["items"]
        assert (one["key"], one["version"], one["facts"]["in_force_from"]) == ("kr/<b>.md", 1, "2026-01-01")
        assert page["next"] == one["id"]
        rest = await done(await client.get(f"/api/knowledge/laws/documents?after={page['next']}"))
        assert rest == {"items": [], "next": ""}
        refused(await client.get("/api/knowledge/none/documents"), "not_found")


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd", "file:///etc/passwd", "ssh://git@example.org/a.git", "../keyring", "https://a b/",
        "https://user:secret@example.org/a.git", "git+file:///srv/a.git", "https:///a.git",
        "law.go.kr:treaty", "law.go.kr:law?OC=somebody", "evil.go.kr:law",
    ],
)  # fmt: skip
async def test_only_addresses_of_the_web_are_taken(desk: Office, address: str) -> None:
    async with desk.client("admin") as client:
        answer = await client.post("/api/knowledge", json={"address": address})
        assert answer.status_code in {400, 422}, answer.text
        assert len((await done(await client.get("/api/knowledge")))["items"]) == 1
