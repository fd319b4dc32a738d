"""LangChain's OpenAI classes work unchanged."""

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

ASK = [SystemMessage("짧게 답하세요."), HumanMessage("모두의 AI란?")]


@tool
def weather(city: str) -> str:
    """오늘의 날씨."""
    return f"{city}: 맑음"


class Answer(BaseModel):
    """An answer in one field."""

    answer: str


@pytest.fixture
def chat(clean):
    return ChatOpenAI(
        model=clean.model, base_url=f"{clean.url}/v1", api_key=SecretStr(clean.key), max_retries=0, timeout=60
    )


def test_invoke(chat):
    answer = chat.invoke(ASK)
    assert answer.content.startswith("모두의 AI는")
    assert answer.usage_metadata["output_tokens"] == 16


def test_stream(chat):
    whole = AIMessageChunk(content="")
    for part in chat.stream(ASK, stream_usage=True):
        whole += part
    assert whole.content.startswith("모두의 AI는")
    assert whole.usage_metadata["output_tokens"] == 16


async def test_asynchronous(chat):
    assert (await chat.ainvoke(ASK)).content.startswith("모두의 AI는")
    assert len([part async for part in chat.astream(ASK)]) > 16


def test_tools(chat):
    call = chat.bind_tools([weather]).invoke(ASK).tool_calls[0]
    assert (call["name"], call["args"]) == ("weather", {"city": "서울"})


def test_structured_output(chat):
    answer = chat.with_structured_output(Answer, method="json_schema").invoke(ASK)
    assert answer.answer.startswith("모두의 AI는")


def test_several_at_once(chat):
    assert len(chat.batch([ASK] * 5)) == 5


def test_embeddings(clean):
    embed = OpenAIEmbeddings(
        model="fake-embed",
        base_url=f"{clean.url}/v1",
        api_key=SecretStr(clean.key),
        check_embedding_ctx_length=False,  # else it fetches a tokenizer from the network
    )
    assert [len(one) for one in embed.embed_documents(["하나", "둘"])] == [8, 8]


def test_errors(chat):
    with pytest.raises(openai.NotFoundError):
        chat.model_copy(update={"model_name": "no-such-model"}).invoke(ASK)
