"""Who may do what: every operation for everybody, from the tables."""

from __future__ import annotations

import re

import msgspec
import pytest

from moduai.accounts.roles import PERMISSIONS, ROLES
from moduai.gateway.errors import ApiError
from moduai.web.api.operation import Caller, Nothing, Operation, perform
from moduai.web.api.table import BY_NAME, OPERATIONS
from tests.web.office import Office

REFUSED = {"not_signed_in", "permission_missing", "scope_missing", "form_refused", "invalid_api_key"}


def address(operation: Operation) -> str:
    """Its path, with ids that nothing has."""
    return re.sub(r"\{\w+\}", "none", operation.path)


async def code_of(client: object, operation: Operation, **more: object) -> str:
    """The code of the refusal; empty if it was let in."""
    body = {} if operation.method in {"GET", "DELETE"} else {"json": {}}
    answer = await client.request(operation.method, address(operation), **body, **more)  # type: ignore[attr-defined]
    code = "" if answer.is_success else answer.json()["error"]["code"]
    return code if code in REFUSED else ""


@pytest.mark.parametrize("role", ["", *ROLES])
async def test_every_operation_for_every_role(desk: Office, role: str) -> None:
    before = len(await desk.entries())
    let_in = set()
    async with desk.client(role) as client:
        for operation in OPERATIONS:
            code = await code_of(client, operation)
            if not code:
                let_in.add(operation.name)
            else:
                assert code == ("permission_missing" if role else "not_signed_in"), operation.name
    allowed = PERMISSIONS.get(role, frozenset())
    assert let_in == {one.name for one in OPERATIONS if one.permission in allowed}
    if not let_in:
        assert len(await desk.entries()) == before


def test_every_permission_of_an_operation_is_one_that_roles_have() -> None:
    known = set().union(*PERMISSIONS.values())
    assert {operation.permission for operation in OPERATIONS} <= known
    assert len(BY_NAME) == len(OPERATIONS), "two operations have one name"
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)


async def test_an_unknown_role_or_permission_is_refused(desk: Office) -> None:
    operation = BY_NAME["setting.list"]
    for caller, used in (
        (Caller(person="sub_x", role="emperor"), operation),
        (Caller(person="sub_x", role=""), operation),
        (Caller(person="sub_x", role="admin"), Operation(**{**vars(operation), "permission": "everything"})),
    ):
        with pytest.raises(ApiError, match="permission_missing"):
            await perform(used, desk.services, caller, {})


@pytest.mark.parametrize("scheme", ["session", "key"])
async def test_a_role_counts_as_it_is_now(desk: Office, scheme: str) -> None:
    person = desk.people["operator"]
    headers = await desk.key(person) if scheme == "key" else {}
    async with (
        desk.client("admin") as admin,
        desk.client("operator" if scheme == "session" else "") as client,
    ):
        assert not await code_of(client, BY_NAME["engine.list"], headers=headers)
        changed = await admin.patch(f"/api/people/{person}", json={"role": "resident"})
        assert changed.json()["role"] == "resident"
        desk.services.sessions.clear()  # what the feed does
        code = await code_of(client, BY_NAME["engine.list"], headers=headers)
        assert code == ("permission_missing" if scheme == "key" else "not_signed_in")
        await admin.patch(f"/api/people/{person}", json={"role": "operator", "state": "blocked"})
        await desk.follow()
        code = await code_of(client, BY_NAME["engine.list"], headers=headers)
        assert code == ("invalid_api_key" if scheme == "key" else "not_signed_in")


async def test_keys_need_the_scope_and_a_person_with_a_role(desk: Office) -> None:
    async with desk.client() as client:
        for person, scopes, code in (
            (desk.people["admin"], ("inference",), "scope_missing"),
            ("sub_nobody", ("manage",), "permission_missing"),
            (desk.people["resident"], ("manage", "inference"), "permission_missing"),
            (desk.people["admin"], ("manage",), ""),
        ):
            headers = await desk.key(person, *scopes)
            assert await code_of(client, BY_NAME["setting.list"], headers=headers) == code
        for bad in ("Bearer modu-wrong", "Bearer ", "Bearer \u00e9"):
            answer = await client.get("/api/settings", headers={"authorization": bad.encode("latin-1")})
            assert answer.status_code == 401
        assert (await client.get("/api/settings", headers={"authorization": "Basic x"})).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"modu-token": ""},
        {"modu-token": "wrong"},
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_cookie_alone_changes_nothing(desk: Office, headers: dict[str, str]) -> None:
    async with desk.client("admin") as client:
        answer = await client.put("/api/banner", json={"en": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "form_refused")
        assert not (await client.get("/api/switches")).json()["items"]
    assert not await desk.entries()


async def test_a_read_from_another_site_is_refused(desk: Office) -> None:
    async with desk.client("admin") as client:
        headers = {"sec-fetch-site": "cross-site"}
        assert (await client.get("/api/people/x", headers=headers)).json()["error"]["code"] == "form_refused"
        assert "access-control-allow-origin" not in (await client.get("/api/settings")).headers


def test_no_request_takes_fields_that_it_does_not_name() -> None:
    for operation in OPERATIONS:
        if operation.request is not Nothing:
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({"role_of_mine": "admin"}, operation.request)
