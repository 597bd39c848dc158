"""One client, several vendors: reasoning state through the whole gateway."""

from __future__ import annotations

import pytest

from asgi_llmgw import Gateway, build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.reasoning.envelope import MARK
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from tests.reasoning.cases import SIGNATURE, THOUGHT, UPSTREAMS, turn_of
from tests.replaying import next_request, without_conventions
from tests.samples import chat_request, gemini_answer, messages_answer

pytestmark = pytest.mark.anyio

CLAUDE = UPSTREAMS["claude_thinks"][1]
GEMINI = UPSTREAMS["gemini_signs_a_call"][1]
QUESTION: JSONObject = {"model": "gemini-3-pro", "max_tokens": 9, "messages": [{"role": "user", "content": "Weather?"}]}


def vendor(*answers: bytes) -> FakeUpstream:
    return FakeUpstream([FakeResponse([answer]) for answer in answers])


def gateway(claude: FakeUpstream, gemini: FakeUpstream, **reasoning: object) -> Gateway:
    document: dict[str, object] = {
        "providers": {"anthropic": {"api_key": "k"}, "gemini": {"api_key": "k"}},
        "models": {"either": {"targets": ["anthropic/claude-sonnet-4-5", "gemini/gemini-3-pro"]}},
        "reasoning": reasoning,
    }
    for name in ("claude-sonnet-4-5", "gemini-3-pro"):
        provider = "anthropic" if name.startswith("claude") else "gemini"
        document["models"] |= {name: {"targets": [f"{provider}/{name}"]}}  # type: ignore[operator]
    config = parse_config(document, environ={})
    return build_app(config, upstreams={"anthropic": claude, "gemini": gemini}, access_log=None)


async def ask(app: Gateway, path: str, body: bytes | JSONObject, *, model: str | None = None) -> bytes:
    if model is not None:
        body = {**loads_object(body if isinstance(body, bytes) else dumps(body)), "model": model}
    answer = await call(app, http_scope("POST", path), body)
    assert answer.status == 200, answer.body
    return answer.body


async def test_a_conversation_moves_between_vendors_and_back() -> None:
    """R3, R5, R12."""
    claude, gemini = vendor(messages_answer(), b'{"input_tokens":17}'), vendor(GEMINI.answer, gemini_answer())
    app = gateway(claude, gemini)
    history = next_request("anthropic_messages", await ask(app, "/v1/messages", QUESTION), streamed=False)
    assert MARK.encode() in history
    await ask(app, "/v1/messages", history, model="claude-sonnet-4-5")
    await ask(app, "/v1/messages/count_tokens", history, model="claude-sonnet-4-5")
    for request in claude.requests:
        assert MARK.encode() not in request.body and THOUGHT.encode() not in request.body
    await ask(app, "/v1/messages", history, model="gemini-3-pro")
    assert as_object(turn_of(gemini.requests[1].body, "gemini_generate")[0])["thoughtSignature"] == THOUGHT


async def test_a_fallback_starts_from_what_the_client_sent() -> None:
    """R12: no attempt sees what was made for another."""
    overloaded = FakeResponse([b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'], status=529)
    claude = FakeUpstream([FakeResponse([CLAUDE.answer]), overloaded])
    gemini = vendor(gemini_answer())
    app = gateway(claude, gemini)
    answer = await ask(app, "/v1/chat/completions", chat_request("claude-sonnet-4-5"))
    await ask(app, "/v1/chat/completions", next_request("openai_chat", answer, streamed=False), model="either")
    assert turn_of(claude.requests[1].body, "anthropic_messages") == CLAUDE.replayed
    assert SIGNATURE.encode() not in gemini.requests[0].body and MARK.encode() not in gemini.requests[0].body


async def test_gateways_with_one_key_serve_the_same_clients() -> None:
    first = gateway(vendor(), vendor(GEMINI.answer), carriers_key="0123456789abcdef")
    history = next_request("anthropic_messages", await ask(first, "/v1/messages", QUESTION), streamed=False)
    for key, expected in (("0123456789abcdef", True), ("fedcba9876543210", False)):
        gemini = vendor(gemini_answer())
        await ask(gateway(vendor(), gemini, carriers_key=key), "/v1/messages", history, model="gemini-3-pro")
        assert (THOUGHT.encode() in gemini.requests[0].body) is expected
        assert MARK.encode() not in gemini.requests[0].body


@pytest.mark.parametrize("remembers", [True, False])
async def test_turns_are_remembered_as_configured(remembers: bool) -> None:
    """R6."""
    claude = vendor(CLAUDE.answer, messages_answer())
    app = gateway(claude, vendor(), side_table=remembers)
    answer = await ask(app, "/v1/chat/completions", chat_request("claude-sonnet-4-5"))
    await ask(
        app,
        "/v1/chat/completions",
        without_conventions(next_request("openai_chat", answer, streamed=False)),
        model="claude-sonnet-4-5",
    )
    assert (SIGNATURE.encode() in claude.requests[1].body) is remembers


async def test_thinking_is_off_where_a_running_calls_thought_is_another_vendors() -> None:
    """R4: the vendor refuses a running call without the thought before it."""
    claude = vendor(messages_answer())
    app = gateway(claude, vendor(GEMINI.answer))
    answer = await ask(app, "/v1/chat/completions", chat_request("gemini-3-pro"))
    history = {**loads_object(next_request("openai_chat", answer, streamed=False)), "reasoning_effort": "high"}
    as_list(history["messages"]).pop()
    await ask(app, "/v1/chat/completions", history, model="claude-sonnet-4-5")
    assert "thinking" not in loads_object(claude.requests[0].body)
