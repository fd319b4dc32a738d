"""Limits for a day or a month, as operations."""

from __future__ import annotations

from sqlalchemy import text

from tests.web.office import Office


async def test_a_limit_is_set_shown_and_cleared_and_recorded(desk: Office) -> None:
    person = desk.people["resident"]
    path = f"/api/quotas/{person}"
    async with desk.client("operator") as operator, desk.client("admin") as admin:
        made = (await operator.put(path, json={"tokens": 900, "each": "month"})).json()
        assert (made["owner"], made["tokens"], made["each"]) == (person, 900, "month")
        assert made["set_by"] == desk.people["operator"]
        assert (await operator.get("/api/quotas")).json()["items"] == [made]
        assert (await operator.get(path)).json()["error"]["code"] == "permission_missing"
        shown = (await admin.get(path)).json()["quota"]
        assert (shown["tokens"], shown["used"], shown["left"], shown["class_name"]) == (900, 0, 900, "")
        async with desk.services.database.begin() as connection:
            put = text("INSERT INTO quota_books VALUES (:s, :o, 950, '{\"g\": [7, 1e11]}')")
            await connection.execute(put, {"s": shown["since"], "o": person})
        shown = (await admin.get(path)).json()["quota"]
        assert (shown["used"], shown["held"], shown["left"]) == (950, 7, 0)
        page = (await admin.get(f"/console/people/{person}")).text
        assert "0 of 900 tokens are left, until " in page
        assert (await operator.delete(path)).json() == {"cleared": True}
        assert (await operator.delete(path)).json() == {"cleared": False}
        assert (await admin.get(path)).json() == {"quota": None}
        assert "tokens are left" not in (await admin.get(f"/console/people/{person}")).text
        for refused in (
            await operator.put("/api/quotas/org_none", json={"tokens": 5}),
            await admin.get("/api/quotas/key_none"),
        ):
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        bad = await operator.put(path, json={"tokens": 0})
        assert bad.json()["error"]["code"] == "invalid_parameter"
    done = [(entry.action, entry.target) for entry in await desk.entries()]
    assert done == [("quota.clear", person), ("quota.set", person)]
