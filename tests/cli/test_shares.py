"""``modu shares`` against a lane that has more than it can run."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec
from typer.testing import CliRunner

from moduai import service
from moduai.cli.shares import app
from moduai.gateway.routes import Routes
from moduai.gateway.server import Server
from moduai.gateway.shares import Shares
from tests.gateway.conftest import no_pages
from tests.web.console.conftest import crowded
from tests.web.office import Office, office


async def ask(desk: Office, *words: str) -> str:
    """What the command says of the office's lane, served on loopback."""
    services = desk.services
    home, settings = services.loaded.home, msgspec.to_builtins(services.loaded.settings)
    settings["gateway"]["port"] = 0
    routes = Routes(desk.lane, list, time.time())
    server = Server(
        msgspec.convert(settings, type(services.loaded.settings)),
        desk.lane,
        services.keys,
        routes,
        lambda: no_pages,
    )
    host, port = await server.listen()
    lock = service.hold(home)
    try:
        service.write_status(home, service.Service(os.getpid(), f"http://{host}:{port}", int(time.time())))
        result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--home", str(home)])
        assert result.exit_code == 0, result.output
        return result.stdout
    finally:
        os.close(lock)
        await server.drain(0)


async def test_shares_name_organisations_but_not_few_people() -> None:
    async with office() as desk, crowded(desk):
        text = await ask(desk)
    lines = [line.split() for line in text.splitlines()]
    assert "fake-model: 2 of 2 places run, 7 wait" in text
    assert next(line for line in lines if "도서관" in line)[:3] == ["부산", "도서관", "1"]
    assert ["2", "networks", "of", "guests"] in lines
    assert ["1", "organisation", "of", "few", "people"] in lines
    assert "org_few" not in text
    assert ["fake-model", "light", "22.5", "100", "1"] in lines
    assert "1,234 queued, 7 shortened" in text


async def test_shares_in_json_are_those_of_the_api() -> None:
    async with office() as desk, crowded(desk), desk.client("operator") as client:
        api = (await client.get("/api/shares")).content
        told = msgspec.json.decode(await ask(desk, "--json"), type=Shares)
        wanted = msgspec.json.decode(api, type=Shares)
    assert [model.id for model in told.models] == [model.id for model in wanted.models]
    assert told.models[1].classes[0].organisations[0].name == "부산 도서관"
    assert told.policy == wanted.policy
