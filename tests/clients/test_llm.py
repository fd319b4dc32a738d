"""The command `llm` works unchanged, with its own list of OpenAI-compatible models."""

import json
import os
import subprocess
import sys

import pytest

MODELS = """\
- model_id: modu
  model_name: {model}
  api_base: "{url}/v1"
  api_key_name: modu
  supports_tools: true
  supports_schema: true
"""


def llm_of(service, tmp_path):
    """Runs `llm` with a folder of its own; gives what it prints."""
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(model=service.model, url=service.url))
    (tmp_path / "keys.json").write_text(json.dumps({"modu": service.key}))
    environ = {"PATH": os.environ["PATH"], "LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)}

    def run(*arguments, check=True):
        command = [sys.executable, "-m", "llm", *arguments]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=60, check=False, input=""
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def llm(clean, tmp_path):
    return llm_of(clean, tmp_path)


@pytest.mark.slow
def test_the_real_model_answers(whole, tmp_path):
    options = ("-o", "max_tokens", "24", "-o", "temperature", "0")
    asked = ("-m", "modu", *options, "대한민국의 수도는 어디인가요?")
    run = llm_of(whole, tmp_path)
    assert "서울" in run(*asked).stdout
    assert "서울" in run("--no-stream", *asked).stdout


def test_streams_an_answer(llm, clean):
    assert llm("-m", "modu", "모두의 AI란?").stdout.startswith("모두의 AI는")
    assert json.loads(clean.engine.seen()[-1]["body"])["stream"] is True


def test_without_a_stream(llm, clean):
    assert llm("-m", "modu", "--no-stream", "모두의 AI란?").stdout.startswith("모두의 AI는")
    assert not json.loads(clean.engine.seen()[-1]["body"]).get("stream")


def test_usage_is_logged(llm):
    assert "12 input, 16 output" in llm("-m", "modu", "-u", "모두의 AI란?").stderr


def test_schema(llm):
    assert "answer" in json.loads(llm("-m", "modu", "--schema", "answer, note", "모두의 AI란?").stdout)


def test_a_wrong_key_is_told(llm):
    done = llm("-m", "modu", "--key", "modu-wrong", "안녕?", check=False)
    assert done.returncode == 1
    assert "key" in done.stderr.lower()
