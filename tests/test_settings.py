"""Tables in settings: providers of sign-in, whose secrets are never shown."""

import json
from pathlib import Path

import pytest

from moduai.cli import main
from moduai.settings import SettingsError, load

SECRET = "hush-hush-4711"
TOML = f"""
[sign_in]
public_url = "https://ai.example.go.kr"

[sign_in.providers.gov]
name = "정부24"
issuer = "https://login.example.go.kr"
client_id = "modu"
client_secret = "{SECRET}"
region_claim = "address.region"
region_map = {{ "부산광역시" = "KR-26" }}

[people.groups]
student = {{ ko = "학생", en = "Students" }}
"""


def written(tmp_path: Path, text: str = TOML) -> Path:
    (tmp_path / "modu.toml").write_text(text, "utf-8")
    return tmp_path


def test_providers_from_the_file(tmp_path):
    settings = load(written(tmp_path), {}).settings
    provider = settings.sign_in.providers["gov"]
    assert (provider.client_secret, provider.region_map) == (SECRET, {"부산광역시": "KR-26"})
    assert provider.scopes == ("openid", "profile")
    assert settings.people.groups["student"]["en"] == "Students"


def test_providers_from_a_variable(tmp_path):
    one = {"x": {"name": "X", "issuer": "https://x.example", "client_id": "modu"}}
    found = load(tmp_path, {"MODU_SIGN_IN__PROVIDERS": json.dumps(one)}).settings
    assert found.sign_in.providers["x"].issuer == "https://x.example"


def test_keys_are_never_shown(tmp_path):
    (tmp_path / "modu.toml").write_text(f'[knowledge]\nlaw_go_kr_key = "{SECRET}"\n', "utf-8")
    loaded = load(tmp_path, {"MODU_KNOWLEDGE__DATA_GO_KR_KEY": SECRET})
    assert loaded.settings.knowledge.law_go_kr_key == loaded.settings.knowledge.data_go_kr_key == SECRET
    shown = {row.name: row.value for row in loaded.rows() if row.name.endswith("_key") and row.value}
    assert shown == {"knowledge.law_go_kr_key": "***", "knowledge.data_go_kr_key": "***"}
    assert SECRET not in repr(list(loaded.rows()))


def test_secrets_are_never_shown(tmp_path, capsys):
    loaded = load(written(tmp_path), {"MODU_DATABASE__URL": "postgresql+asyncpg://modu:pa:ss@w@host/db"})
    shown = repr(list(loaded.rows()))
    assert SECRET not in shown
    assert "'client_secret': '***'" in shown
    assert "pa:ss" not in shown
    assert "postgresql+asyncpg://modu:***@host/db" in shown
    for words in (["settings"], ["settings", "show", "sign_in.providers"]):
        with pytest.raises(SystemExit):
            main([*words, "--home", str(tmp_path), "--json"])
        said = capsys.readouterr()
        assert "login.example.go.kr" in said.out
        assert SECRET not in said.out + said.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('client_id = "modu"', "", "client_id"),
        ("https://login", "http://login", "https://"),
        ('region_map = { "부산광역시" = "KR-26" }', 'region_map = { "x" = "no code" }', "region_map"),
        ("providers.gov", "providers.Gov_1", "providers"),
        ('name = "정부24"', 'name = ""', "name"),
        ('client_id = "modu"', 'client_id = "modu"\nclient_secret_env = "X"', "one of client_secret"),
        ('client_id = "modu"', 'client_id = "modu"\nsecret = "x"', "secret"),
        ("https://ai.example.go.kr", "https://ai.example.go.kr/path", "public_url"),
    ],
)
def test_what_does_not_fit_stops_the_start_without_showing_a_secret(tmp_path, old, new, said):
    assert old in TOML
    with pytest.raises(SettingsError, match=said) as caught:
        load(written(tmp_path, TOML.replace(old, new)), {})
    assert SECRET not in str(caught.value)


def test_json_that_is_none(tmp_path):
    with pytest.raises(SettingsError, match=r"sign_in\.providers") as caught:
        load(tmp_path, {"MODU_SIGN_IN__PROVIDERS": '{"x": "' + SECRET})
    assert SECRET not in str(caught.value)
