from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from moduai import __version__
from moduai.cli import COMMANDS, main
from moduai.cli.common import done, table


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    return ended.value.code or 0, told.out, told.err


def test_help_names_every_command_and_shows_examples(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "Examples:" in out


def test_help_costs_little_cpu():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "moduai.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.3


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"modu {__version__}\n", "")


def test_a_wrong_word_is_status_2_with_a_hint(capsys):
    status, out, err = run(capsys, "dcotor")
    assert (status, out) == (2, "")
    assert "modu doctor" in err
    assert run(capsys)[0] == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(capsys, name):
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert "Examples:" in out or "COMMAND" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_unknown_option(capsys, name):
    assert run(capsys, name, "--no-such-option")[0] == 2


def test_settings_show_value_origin_and_description(capsys, tmp_path, monkeypatch):
    (tmp_path / "modu.toml").write_text("[gateway]\nport = 9001\n")
    monkeypatch.setenv("MODU_LINE__MAX_WAIT_S", "7")
    monkeypatch.setenv("MODU_DATABASE__URL", "postgresql+asyncpg://modu:secret@db/modu")
    status, out, _ = run(capsys, "settings", "--home", str(tmp_path), "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert (rows["gateway.port"]["value"], rows["gateway.port"]["origin"]) == (
        9001,
        str(tmp_path / "modu.toml"),
    )
    assert (rows["line.max_wait_s"]["value"], rows["line.max_wait_s"]["origin"]) == (7, "environment")
    assert rows["web.title"]["origin"] == "default"
    assert "secret" not in out
    _, out, _ = run(capsys, "settings", "show", "gateway.port", "--home", str(tmp_path))
    assert "gateway.port = 9001" in out
    assert "MODU_GATEWAY__PORT" in out


def test_a_bad_setting_is_one_line_that_names_it(capsys, tmp_path):
    (tmp_path / "modu.toml").write_text("[gateway]\nport = 'x'\n")
    status, out, err = run(capsys, "settings", "--home", str(tmp_path))
    assert (status, out) == (1, "")
    assert "gateway.port" in err
    assert err.count("\n") == 1


def test_a_table_is_plain_when_piped_and_minds_wide_characters(capsys):
    table(
        [{"name": "모두", "count": 1200}, {"name": "abcdef", "count": 7}], {"name": "name", "count": "count"}
    )
    assert capsys.readouterr().out == "name    count\n모두    1,200\nabcdef      7\n"
    table([], ["name"], empty="No keys yet.")
    assert capsys.readouterr().out == "No keys yet.\n"
    table([{"name": "x", "more": 1}], ["name"], json=True)
    assert json.loads(capsys.readouterr().out) == [{"name": "x", "more": 1}]
    done("Done.", {"id": 1}, json=True)
    assert json.loads(capsys.readouterr().out) == {"id": 1}
