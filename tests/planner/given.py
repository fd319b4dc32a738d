"""A small scenario to change, and what is given to every one."""

from functools import cache
from pathlib import Path

from moduai.gateway.policy_text import parse, shipped_text
from moduai.packs import where
from moduai.packs.pack import Pack
from moduai.packs.read import read as read_pack
from moduai.planner.scenario import Given, ScenarioError, World, read

TEXT = """\
[scenario]
name = { en = "Small" }
start = 2027-03-02
tick_minutes = 15
draws = 4
currency = "XTS"

[[region]]
id = "XA-N"
population = 3_000

[[region]]
id = "XA-S"
population = 1_000

[[curve]]
id = "day"
hours = [0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
weekend = 0.5

[[demand]]
id = "people"
service_class = "resident"
of = "everyone"
most = [0.2, 0.5, 0.8]
questions_a_day = 40
curve = "day"
model = "llama-3.1-8b"
patience_s = 120

[[demand]]
id = "agents"
kind = "agents"
service_class = "business"
count = 50
questions_a_day = [100, 2_000, 9_000]
model = "llama-3.1-8b"

[[demand]]
id = "night"
kind = "batch"
service_class = "batch"
count = 1
questions_a_day = 40_000
model = "llama-3.1-8b"

[[site]]
id = "hall"
pue = 1.2

[[fleet]]
id = "gpus"
accelerator = "h100"
count = 2
sites = { hall = 1 }
models = { "llama-3.1-8b" = 1 }
availability = 1
price = [9, 10, 12]
bought = 2027

[[goal]]
service_class = "resident"
wait_s = 2

[power]
kwh = 0.2

[[budget]]
year = 2027
amount = 1_000
"""


@cache
def pack(name: str) -> Pack:
    """A pack by its id, or the invented country's."""
    return read_pack(where.folder(name, Path(__file__).parents[1] / "packs"), parse)


GIVEN = Given(parse, shipped_text(), pack)


def world(folder: Path, *changes: tuple[str, str], more: str = "", text: str = TEXT) -> World:
    """The scenario with some text in place of other."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "small.toml").write_text(text + more)
    return read(folder / "small.toml", GIVEN)


def faults(folder: Path, *changes: tuple[str, str], more: str = "") -> list[str]:
    """What is wrong with it: ``line: path: text``."""
    try:
        world(folder, *changes, more=more)
    except ScenarioError as error:
        return [f"{one.file}:{one.line}: {'.'.join(map(str, one.path))}: {one.text}" for one in error.faults]
    return []
