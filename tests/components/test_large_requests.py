"""Requests that are large in one dimension: bounded work, bounded answers, and a name for what is refused."""

from __future__ import annotations

import time

import pytest

from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import MAX_NODES, JSONObject, JSONValue, as_object, dumps
from asgi_llmgw.testing import call
from tests.components.test_translator import Vendor
from tests.samples import chat_request, messages_answer

pytestmark = pytest.mark.anyio

TARGETS: tuple[Protocol, ...] = ("anthropic_messages", "gemini_generate")
HELLO: JSONValue = {"role": "user", "content": "Hello"}
TOOL: JSONObject = {"type": "object", "properties": {"a": {"type": "string"}}}
HI: JSONValue = {"role": "assistant", "content": "Hi"}


def tool(number: int) -> JSONValue:
    return {"type": "function", "function": {"name": f"f{number}", "parameters": TOOL}}


def history(ids: list[str]) -> list[JSONValue]:
    """One turn with a call of each id, answered in the wrong order."""
    calls: list[JSONValue] = [
        {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids
    ]
    results: list[JSONValue] = [{"role": "tool", "tool_call_id": id, "content": "1"} for id in reversed(ids)]
    return [HELLO, {"role": "assistant", "tool_calls": calls}, *results]


def legacy(count: int) -> list[JSONValue]:
    """Calls of the old form, all before their results."""
    calls: list[JSONValue] = [
        {"role": "assistant", "content": None, "function_call": {"name": f"f{i}", "arguments": "{}"}}
        for i in range(count)
    ]
    results: list[JSONValue] = [{"role": "function", "name": f"f{i}", "content": "1"} for i in reversed(range(count))]
    return [HELLO, *calls, *results]


MANY_MEMBERS: JSONObject = {f"field_{i}": 1 for i in range(20_000)}
LARGE: dict[str, JSONObject] = {
    "messages": {"messages": [*([HELLO, HI] * 5_000), HELLO]},
    "tools": {"tools": [tool(i) for i in range(5_000)]},
    "calls": {"messages": history([f"c{i}" for i in range(5_000)])},
    "calls_of_one_id": {"messages": history(["c"] * 5_000)},
    "legacy_calls": {"messages": legacy(5_000)},
    "unknown_fields": MANY_MEMBERS,
    "unknown_members": {"messages": [{"role": "user", "content": "Hello", **MANY_MEMBERS}]},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", LARGE)
async def test_many_things_take_little_time(name: str, target: Protocol) -> None:
    """F048: 10,000 messages, 5,000 tools, 5,000 calls answered in the wrong order."""
    body = dumps({**chat_request(), **LARGE[name]})
    vendor = Vendor(messages_answer(), status=200)
    started = time.perf_counter()
    answer = await call(TranslatorMiddleware(vendor, serve="openai_chat", over=target), body=body)
    assert time.perf_counter() - started < 5
    assert vendor.body
    assert sum(len(key) + len(value) for key, value in answer.headers.items()) < 4096


@pytest.mark.parametrize("where", ["name", "member", "value"])
async def test_a_long_name_is_not_repeated_in_the_answer(where: str) -> None:
    """F048: 1 MB names."""
    long = "x" * 1_000_000
    fields: dict[str, JSONObject] = {
        "name": {long: 1},
        "member": {"messages": [{"role": "user", "content": "Hello", long: 1}]},
        "value": {"tool_choice": long},
    }
    app = TranslatorMiddleware(Vendor(), serve="openai_chat", over="anthropic_messages", on_loss="reject")
    answer = await call(app, body={**chat_request(), **fields[where]})
    assert answer.status == 400
    assert len(answer.body) < 4096


async def test_too_many_values_are_refused_by_name() -> None:
    """F048, F030"""
    app = TranslatorMiddleware(Vendor(), serve="openai_chat", over="anthropic_messages")
    answer = await call(app, body=b'{"model":"m","messages":[' + b"{}," * MAX_NODES + b"{}]}")
    assert answer.status == 413
    assert as_object(as_object(answer.json)["error"])["code"] == "json_too_large"
