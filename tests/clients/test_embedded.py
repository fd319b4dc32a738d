"""The official client, LangChain and `llm`'s way of asking, against the real model that comes with Modu.

The whole service runs as people start it: ``modu up``, its supervisor and its engine.
"""

import pytest
from langchain_openai import ChatOpenAI
from openai import OpenAI
from pydantic import SecretStr

pytestmark = pytest.mark.slow
ASK = [{"role": "user", "content": "대한민국의 수도는 어디인가요?"}]


@pytest.fixture
def client(whole):
    with OpenAI(base_url=f"{whole.url}/v1", api_key=whole.key, max_retries=3, timeout=90) as client:
        yield client


def test_chat_answers_and_is_in_the_ledger(whole, client):
    raw = client.chat.completions.with_raw_response.create(
        model=whole.model, messages=ASK, max_tokens=24, temperature=0
    )
    answer = raw.parse()
    assert "서울" in answer.choices[0].message.content
    row = whole.row(raw.headers["x-request-id"])
    assert row["outcome"] == "ok"
    assert row["tokens_out"] == answer.usage.completion_tokens > 0
    assert row["tokens_in"] == answer.usage.prompt_tokens > 0
    assert row["accelerator_us"] > 0


def test_stream_is_the_same_text_in_parts(whole, client):
    how = {"model": whole.model, "messages": ASK, "max_tokens": 24, "temperature": 0, "seed": 1}
    at_once = client.chat.completions.create(**how).choices[0].message.content
    parts = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == at_once
    assert len(parts) > 3
    assert parts[-1].usage.completion_tokens > 0


def test_langchain(whole):
    chat = ChatOpenAI(
        model=whole.model,
        base_url=f"{whole.url}/v1",
        api_key=SecretStr(whole.key),
        timeout=90,
        max_tokens=24,
        temperature=0,
    )
    assert "서울" in chat.invoke(ASK[0]["content"]).content
    assert "".join(part.content for part in chat.stream("안녕하세요?"))
