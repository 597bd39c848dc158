"""No tool of a coding agent's may vanish on its way: what the vendor gets is compared with what the client sent.

C11: agents offer the tools of an editor beside their own, some of them deferred until a search has found them. They
disappeared behind gateways for reasons nobody found, so everything here is held against the request itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from asgi_llmgw import Gateway, build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.testing import Answer, FakeResponse, FakeUpstream, call, http_scope
from tests.samples import chat_answer, gemini_answer, messages_answer, responses_answer
from tests.wire import Recording, recordings

pytestmark = pytest.mark.anyio

OTHERS: tuple[Protocol, ...] = ("openai_chat", "openai_responses", "gemini_generate")
ANSWERS: dict[Protocol, bytes] = {
    "anthropic_messages": messages_answer(),
    "openai_chat": chat_answer(),
    "openai_responses": responses_answer(),
    "gemini_generate": gemini_answer(),
}
BETAS = (
    b"claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,advanced-tool-use-2025-11-20,"
    b"mid-conversation-tool-changes-2026-07-01,effort-2025-11-24,token-counting-2024-11-01"
)
HEADERS = (
    (b"content-type", b"application/json"),
    (b"x-api-key", b"an-agents-key"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", BETAS),
    (b"user-agent", b"claude-cli/2.1.330 (external, cli)"),
    (b"x-app", b"cli"),
)
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def tool(name: str, description: str, properties: JSONObject, *required: str, **fields: JSONValue) -> JSONObject:
    schema: JSONObject = {"$schema": DRAFT, "type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return {"name": name, "description": description, "input_schema": schema, **fields}


LONG = "mcp__" + "a-server-with-a-very-long-name_" * 3 + "_list_all"
TOOLS: list[JSONValue] = [
    tool("Bash", "Runs a command.\n\nUse it for git.", {"command": {"type": "string"}}, "command"),
    tool(
        "Read",
        "Reads a file.",
        {
            "file_path": {"type": "string", "pattern": "^/"},
            "limit": {"type": "integer", "exclusiveMinimum": 0, "default": 2000},
            "pages": {"type": "array", "items": {"type": "string"}, "maxItems": 20},
        },
        "file_path",
        eager_input_streaming=True,
    ),
    tool("ToolSearch", "Finds deferred tools.", {"query": {"type": "string"}}, "query"),
    tool("mcp__ide__getDiagnostics", "Get language diagnostics from VS Code", {"uri": {"type": "string"}}),
    tool(
        "mcp__ide__executeCode", "Execute python code in the kernel.", {"code": {"type": "string"}}, "code",
        defer_loading=True,
    ),
    tool("mcp__linear__create_issue", "Déposer un ticket 🎫", {"title": {"type": "string"}}, defer_loading=True),
    tool(LONG, "Lists.", {"after": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, defer_loading=True),
    tool("mcp__empty__ping", "", {}),
]  # fmt: skip
NAMES = [str(as_object(item)["name"]) for item in TOOLS]

THOUGHT: JSONObject = {"type": "thinking", "thinking": "", "signature": "EqQBCkYIBBgCKkD="}
SEARCH: JSONObject = {
    "type": "tool_use",
    "id": "toolu_01",
    "name": "ToolSearch",
    "input": {"query": "select:mcp__ide__executeCode"},
}
FOUND: JSONObject = {
    "type": "tool_result",
    "tool_use_id": "toolu_01",
    "content": [{"type": "tool_reference", "tool_name": "mcp__ide__executeCode"}],
}
SESSION: JSONObject = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 64000,
    "stream": False,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Run the cell é\u2028."}]},
        {"role": "assistant", "content": [THOUGHT, SEARCH]},
        {"role": "user", "content": [FOUND, {"type": "text", "text": "Go.", "cache_control": {"type": "ephemeral"}}]},
    ],
    "tools": TOOLS,
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": '{"device_id":"0a1b","account_uuid":"","session_id":"5f0c"}'},
}  # fmt: skip


@dataclass
class Offered:
    """A tool, whoever writes it down."""

    description: str | None
    schema: JSONValue


def house(protocol: Protocol, answer: bytes | None = None) -> tuple[Gateway, FakeUpstream]:
    upstream = FakeUpstream([FakeResponse([ANSWERS[protocol] if answer is None else answer])])
    vendor = {"protocol": protocol, "base_url": "https://vendor.example", "api_key": "upstream-key"}
    config = parse_config(
        {
            "keys": [{"name": "agent", "key": "an-agents-key"}],
            "providers": {"vendor": vendor},
            "models": {"*": {"targets": ["vendor/*"]}},
        },
        environ={},
    )
    return build_app(config, upstream=upstream, access_log=None), upstream


async def send(body: bytes, protocol: Protocol, answer: bytes | None = None) -> tuple[Answer, FakeUpstream]:
    gateway, upstream = house(protocol, answer)
    told = await call(gateway, http_scope(path="/v1/messages", headers=HEADERS, query=b"beta=true"), body)
    return told, upstream


def sent(body: bytes) -> dict[str, Offered]:
    """The tools that the client runs itself."""
    tools = [as_object(item) for item in as_list(loads_object(body).get("tools"))]
    return {
        str(item["name"]): Offered(as_str(item.get("description")) or None, item.get("input_schema"))
        for item in tools
        if item.get("type", "custom") == "custom"
    }


def arrived(body: bytes, protocol: Protocol) -> dict[str, Offered]:
    """The tools that the vendor was offered, by its own names for them."""
    tools = [as_object(item) for item in as_list(loads_object(body).get("tools"))]
    if protocol == "gemini_generate":
        tools = [as_object(item) for group in tools for item in as_list(group.get("functionDeclarations"))]
    elif protocol == "openai_chat":
        tools = [as_object(item["function"]) for item in tools]
    schema = "parametersJsonSchema" if protocol == "gemini_generate" else "parameters"
    return {
        str(item["name"]): Offered(as_str(item.get("description")) or None, item.get(schema))
        for item in tools
    }  # fmt: skip


def calling(name: str, protocol: Protocol) -> bytes:
    """An answer of the vendor's that calls a tool."""
    if protocol == "openai_chat":
        function: JSONObject = {"name": name, "arguments": "{}"}
        message: JSONObject = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        }
        return chat_answer(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    if protocol == "openai_responses":
        item: JSONObject = {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": name,
            "arguments": "{}",
            "status": "completed",
        }
        return dumps({**loads_object(responses_answer()), "output": [item]})
    part: JSONObject = {"functionCall": {"name": name, "args": {}}}
    candidate: JSONObject = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    return dumps({**loads_object(gemini_answer()), "candidates": [candidate]})


async def test_what_an_agent_sends_reaches_its_own_vendor_byte_for_byte() -> None:
    """C11"""
    body = dumps(SESSION)
    answer, upstream = await send(body, "anthropic_messages")
    assert answer.status == 200
    assert upstream.requests[0].body == body
    headers = dict(upstream.requests[0].headers)
    assert (headers[b"anthropic-beta"], headers[b"anthropic-version"]) == (BETAS, b"2023-06-01")


@pytest.mark.parametrize("protocol", OTHERS)
async def test_every_tool_arrives_whole(protocol: Protocol) -> None:
    """C11: name, description and schema; a name that the vendor would refuse is another one, and one for each."""
    answer, upstream = await send(dumps(SESSION), protocol)
    assert answer.status == 200, answer.body
    there = arrived(upstream.requests[0].body, protocol)
    assert list(there.values()) == list(sent(dumps(SESSION)).values())
    kept = [name for name in NAMES if name != LONG]
    assert [name for name in there if name in NAMES and name != LONG] == kept
    assert len(there) == len(TOOLS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", OTHERS)
async def test_every_tool_can_be_called_by_the_name_the_client_gave_it(protocol: Protocol, name: str) -> None:
    """C11"""
    _, upstream = await send(dumps(SESSION), protocol)
    theirs = list(arrived(upstream.requests[0].body, protocol))[NAMES.index(name)]
    answer, _ = await send(dumps(SESSION), protocol, calling(theirs, protocol))
    blocks = [as_object(block) for block in as_list(as_object(answer.json)["content"])]
    assert [block["name"] for block in blocks if block["type"] == "tool_use"] == [name]


@pytest.mark.parametrize("protocol", OTHERS)
async def test_a_search_for_tools_has_found_something(protocol: Protocol) -> None:
    """C11: the answer of the client's search is words, as others know no references."""
    answer, upstream = await send(dumps(SESSION), protocol)
    body = loads_object(upstream.requests[0].body)
    assert "Found the tool mcp__ide__executeCode" in dumps(without_tools(body)).decode()
    assert b"dropped" not in answer.headers.get(b"x-llmgw-diagnostics", b"")


def without_tools(body: JSONObject) -> JSONObject:
    return {name: value for name, value in body.items() if name != "tools"}


@pytest.mark.parametrize("protocol", OTHERS)
async def test_a_tool_that_comes_in_the_middle_arrives(protocol: Protocol) -> None:
    """C11: the editor connects late, and its tools stand in a message."""
    late = tool("mcp__ide__openDiff", "Opens a diff.", {"path": {"type": "string"}}, "path")
    block: JSONObject = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": late}}
    told: JSONObject = {"role": "system", "content": [block]}
    messages: list[JSONValue] = [*as_list(SESSION["messages"]), told]
    answer, upstream = await send(dumps({**SESSION, "messages": messages}), protocol)
    assert answer.status == 200, answer.body
    there = arrived(upstream.requests[0].body, protocol)
    assert there["mcp__ide__openDiff"] == Offered("Opens a diff.", late["input_schema"])
    assert len(there) == len(TOOLS) + 1


RECORDED = [found for found in recordings("anthropic_messages") if found.request is not None and sent(found.request)]


@pytest.mark.parametrize("recording", RECORDED, ids=lambda recording: recording.id)
@pytest.mark.parametrize("protocol", OTHERS)
async def test_the_tools_of_recorded_agents_arrive(protocol: Protocol, recording: Recording) -> None:
    """C11"""
    assert recording.request is not None
    answer, upstream = await send(dumps({**loads_object(recording.request), "stream": False}), protocol)
    assert answer.status == 200, answer.body
    assert arrived(upstream.requests[0].body, protocol) == sent(recording.request)


@pytest.mark.parametrize("recording", RECORDED, ids=lambda recording: recording.id)
async def test_what_recorded_agents_sent_reaches_its_own_vendor_byte_for_byte(recording: Recording) -> None:
    """C11"""
    body = recording.request or b""
    stream = loads_object(body).get("stream") is True
    _, upstream = await send(body, "anthropic_messages", recording.stream if stream else recording.response)
    assert upstream.requests[0].body == body
