"""json-cpu with every feature on, and the shares of a real engine: the fair queue in the live service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cpu import ENGINE, Turns, interleave, line
from benchmarks.harness import modu, nginx, process
from benchmarks.harness.process import StartError
from moduai.accounts.keys import create_key
from moduai.accounts.organisations import create_organisation
from moduai.gateway.policy_text import shipped_text
from moduai.settings import load
from moduai.store.database import Database

JSON_MUST = 3.0
WEIGHTS = {"one": 1, "three": 3}
"""Organisations, and what their weights are."""
CLIENTS = 5
"""Of each organisation."""
TOKENS = 16
LOADING_S = 90.0
QUESTION = "대한민국의 수도는 어디인가요?"
SHARE_ERROR = 0.15


def json_cpu(bench: Bench) -> Measured:
    """CPU a JSON request with a choice of two engines: each request has a ticket, a place in the tree, a
    route by predicted finish, and is learned from. (With one engine and nobody waiting it slips past all
    this: that is `service`'s figure.)
    """
    place = bench.place("fair-json-cpu")
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(_engine(bench, place / f"engine-{n}.log")) for n in range(2)]
        home = modu.prepare(place / "home", engines)
        targets = [
            stack.enter_context(
                modu.running_modu(home, place / "modu.log", on=bench.target, beside=bench.beside)
            ),
            stack.enter_context(nginx.running_nginx(place, engines[0], on=bench.target)),
        ]
        turns: Turns = interleave(bench, targets, "json", rounds=1 if bench.quick else 5)
    value = round(turns.times("modu", "nginx", "json", first=1), 3)
    errors = sum(result.errors for results in turns.values() for result in results)
    row = Row("json-cpu", value, f"<= {JSON_MUST}", value <= JSON_MUST and not errors)
    return Measured(row, [line(name, "json", turns, first=1) for name in turns], errors > 0)


def engine(bench: Bench) -> Measured:
    """Ten clients of two organisations, weights 1 to 3, before the real engine in the box with two slots:
    what the ledger says that each was served while both waited.
    """
    place = bench.place("engine")
    home = modu.prepare(place / "home")
    keys = asyncio.run(_organisations(home.folder))
    with modu.up(home, place / "modu.log", on=bench.target | bench.beside, engine=True) as supervisor:
        url = modu.wait_for_status(home.folder, supervisor, place / "modu.log")
        model = modu.wait_for_model(url, home.key)
        began, ended, errors = _ask(url, model, keys, 8.0 if bench.quick else 60.0)
        time.sleep(1.0)
        served, steps = _served(home.folder / "modu.db", began, ended)
    total = sum(served.values()) or 1
    due = sum(WEIGHTS.values())
    error = max(abs(served[name] / total * due / weight - 1) for name, weight in WEIGHTS.items())
    notes = [
        *(
            f"{name} (weight {WEIGHTS[name]}): {cost} weighted tokens"
            for name, cost in sorted(served.items())
        ),
        f"steps in the ledger: {dict(steps)}; errors: {len(errors)} {errors[:1]}",
    ]
    row = Row("engine", round(error, 3), f"<= {SHARE_ERROR}", error <= SHARE_ERROR and not errors)
    return Measured(row, notes, bool(errors))


@contextlib.contextmanager
def _engine(bench: Bench, log: Path) -> Iterator[str]:
    with process.engine_process(log, *ENGINE, on=bench.beside) as url:
        yield url


async def _organisations(folder: Path) -> dict[str, str]:
    """A key of each organisation, by name; the policy gives them their weights."""
    keys, rules = {}, [shipped_text()]
    db = Database(load(folder, {}).database_url)
    try:
        async with db.begin() as connection:
            for name, weight in WEIGHTS.items():
                made = await create_organisation(connection, name)
                keys[name], _ = await create_key(connection, name=name, organisation=made.id)
                rules.append(f"[class.business.organisation.{made.id}]\nweight = {weight}")
    finally:
        await db.dispose()
    (folder / "policy.toml").write_text("\n\n".join(rules) + "\n")
    return keys


def _ask(url: str, model: str, keys: dict[str, str], seconds: float) -> tuple[float, float, list[str]]:
    """Ask for so long with all clients; when all were at it, when the first stopped, and what went wrong."""
    body = {"model": model, "max_tokens": TOKENS, "messages": [{"role": "user", "content": QUESTION}]}
    data, errors = json.dumps(body).encode(), list[str]()
    loaded = time.time() + LOADING_S
    while (error := _one(url, keys["one"], data)) and time.time() < loaded:
        time.sleep(0.2)  # the engine reads its weights
    if error:
        raise StartError(f"the engine does not answer: {error}")
    until = time.time() + seconds

    def client(key: str) -> None:
        while time.time() < until:
            if error := _one(url, key, data):
                errors.append(error)
                return

    threads = [threading.Thread(target=client, args=(key,)) for key in keys.values() for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    began = time.time()
    for thread in threads:
        thread.join()
    return began, until, errors


def _one(url: str, key: str, data: bytes) -> str:
    """Ask once; what went wrong, if it did."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        return error.read(200).decode("utf-8", "replace")
    except OSError as error:
        return str(error)
    return ""


def _served(ledger: Path, began: float, ended: float) -> tuple[Counter[str], Counter[str]]:
    """Weighted tokens by organisation of what ended between two times, and steps."""
    served: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    query = (
        "SELECT name, tokens_in - tokens_cached + 2 * tokens_out, step FROM usage JOIN organisations"
        " ON organisations.id = usage.organisation WHERE at + duration_us BETWEEN ? AND ?"
    )
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        for name, cost, step in database.execute(query, (began * 1e6, ended * 1e6)):
            served[name] += cost
            steps[step or "at once"] += 1
    return served, steps
