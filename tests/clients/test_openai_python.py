"""The official OpenAI client for Python works unchanged."""

import asyncio
import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.conftest import until

ASK = [{"role": "user", "content": "모두의 AI란 무엇인가요?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "오늘의 날씨",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


@pytest.fixture
def client(clean):
    with OpenAI(base_url=f"{clean.url}/v1", api_key=clean.key, max_retries=0, timeout=60) as client:
        yield client


def test_chat(clean, client):
    answer = client.chat.completions.create(model=clean.model, messages=ASK)
    assert answer.choices[0].message.content.startswith("모두의 AI는")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == clean.model
    assert answer.usage.completion_tokens == 16
    assert answer.usage.prompt_tokens_details.cached_tokens == 4


def test_each_answer_leaves_a_row_that_its_header_names(clean, client):
    raw = client.chat.completions.with_raw_response.create(model=clean.model, messages=ASK)
    row = clean.row(raw.headers["x-request-id"])
    assert (row["tokens_in"], row["tokens_cached"], row["tokens_out"]) == (12, 4, 16)
    assert (row["outcome"], row["model"], row["stream"]) == ("ok", clean.model, 0)


def test_chat_as_a_stream(clean, client):
    parts = list(client.chat.completions.create(model=clean.model, messages=ASK, stream=True))
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text.startswith("모두의 AI는")
    assert parts[-1].choices[0].finish_reason == "stop"
    assert all(part.usage is None for part in parts), "usage was not asked for"


def test_usage_of_a_stream_when_asked(clean, client):
    stream = client.chat.completions.create(
        model=clean.model, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage.completion_tokens == 16


@pytest.mark.parametrize("stream", [False, True])
def test_tools(clean, client, stream):
    if stream:
        with client.chat.completions.stream(model=clean.model, messages=ASK, tools=TOOLS) as events:
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(model=clean.model, messages=ASK, tools=TOOLS)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "서울"}
    assert json.loads(clean.engine.seen()[-1]["body"])["tools"] == TOOLS


def test_response_format(clean, client):
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    how = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model=clean.model, messages=ASK, response_format=how)
    assert "answer" in json.loads(answer.choices[0].message.content)
    assert json.loads(clean.engine.seen()[-1]["body"])["response_format"] == how


def test_several_choices(clean, client):
    answer = client.chat.completions.create(model=clean.model, messages=ASK, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.completion_tokens == 48


def test_logprobs(clean, client):
    answer = client.chat.completions.create(model=clean.model, messages=ASK, logprobs=True, top_logprobs=0)
    assert answer.choices[0].logprobs.content[0].token == "모두의 "
    parts = client.chat.completions.create(model=clean.model, messages=ASK, logprobs=True, stream=True)
    assert any(part.choices and part.choices[0].logprobs for part in parts)


def test_an_image_passes_through_untouched(clean, client):
    picture = "data:image/png;base64,iVBORw0KGgo="
    content = [
        {"type": "text", "text": "이 그림은?"},
        {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
    ]
    client.chat.completions.create(model=clean.model, messages=[{"role": "user", "content": content}])
    assert json.loads(clean.engine.seen()[-1]["body"])["messages"][0]["content"] == content


def test_completions(clean, client):
    answer = client.completions.create(model=clean.model, prompt="모두의", max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    parts = client.completions.create(model=clean.model, prompt="모두의", stream=True)
    assert "".join(part.choices[0].text for part in parts if part.choices).startswith("모두의 AI는")


def test_embeddings(clean, client):
    answer = client.embeddings.create(model="fake-embed", input=["하나", "둘"])
    assert [len(one.embedding) for one in answer.data] == [8, 8]
    assert answer.usage.prompt_tokens == 24


def test_responses_pass_where_the_engine_has_them(clean, client):
    answer = client.responses.create(model=clean.model, input="안녕?")
    assert answer.output_text.startswith("모두의 AI는")
    events = list(client.responses.create(model=clean.model, input="안녕?", stream=True))
    assert events[-1].type == "response.completed"


def test_models(clean, client):
    assert {model.id for model in client.models.list()} == {"fake-model", "fake-embed"}


def test_a_model_by_its_name(clean, client):
    assert client.models.retrieve("fake-model").id == "fake-model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_errors_are_the_clients_own_classes(clean, client):
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=ASK)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as wrong:
        client.with_options(api_key="modu-wrong").models.list()
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=clean.model, messages=ASK, n=10_000)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("bad_request", openai.BadRequestError),
        ("busy", openai.InternalServerError),
        ("refuse", openai.InternalServerError),
        ("die", openai.InternalServerError),
    ],
)
def test_errors_of_the_engine(clean, client, fault, error):
    clean.engine.behave(fault=fault)
    with pytest.raises(error):
        client.chat.completions.create(model=clean.model, messages=ASK)


def test_a_stream_that_breaks_raises(clean, client):
    clean.engine.behave(fault="die_mid", after=3)
    parts = []
    with pytest.raises(openai.APIError):
        parts.extend(client.chat.completions.create(model=clean.model, messages=ASK, stream=True))
    assert len(parts) >= 3


def test_leaving_a_stream_cancels_upstream(clean, client):
    clean.engine.behave(chunks=10_000, pace_s=0.01)
    stream = client.chat.completions.create(model=clean.model, messages=ASK, stream=True)
    request_id = stream.response.headers["x-request-id"]
    next(iter(stream))
    stream.close()
    until(lambda: clean.engine.counts().cancelled == 1)
    assert clean.row(request_id)["outcome"] == "cancelled"


async def test_cancelling_a_json_request_cancels_upstream(clean):
    clean.engine.behave(fault="hang")
    async with AsyncOpenAI(base_url=f"{clean.url}/v1", api_key=clean.key, max_retries=0) as client:
        task = asyncio.create_task(client.chat.completions.create(model=clean.model, messages=ASK))
        await asyncio.to_thread(until, lambda: clean.engine.counts().running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.to_thread(until, lambda: clean.engine.counts().cancelled == 1)


def test_the_clients_own_timeout(clean, client):
    clean.engine.behave(fault="hang")
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=clean.model, messages=ASK)
    until(lambda: clean.engine.counts().cancelled == 1)


def test_a_client_retries_after_a_refusal(clean, client):
    clean.engine.script({"fault": "busy", "retry_after": 0})
    answer = client.with_options(max_retries=2).chat.completions.create(model=clean.model, messages=ASK)
    assert answer.choices[0].finish_reason == "stop"


async def test_many_at_once(clean):
    async with AsyncOpenAI(base_url=f"{clean.url}/v1", api_key=clean.key) as client:
        asked = [client.chat.completions.create(model=clean.model, messages=ASK) for _ in range(40)]
        answers = await asyncio.gather(*asked)
    assert {answer.usage.completion_tokens for answer in answers} == {16}
