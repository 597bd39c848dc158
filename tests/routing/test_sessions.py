"""Which session a request belongs to."""

from __future__ import annotations

import pytest

from asgi_llmgw.json import Document, JSONObject, dumps
from asgi_llmgw.routing.sessions import session_of
from tests.samples import chat_request


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"x-claude-code-session-id", id="C14_claude_code"),
        pytest.param(b"session_id", id="C14_codex"),
        pytest.param(b"session-id", id="C14_codex_since_0_90"),
        pytest.param(b"conversation_id", id="C14_codex_conversation"),
        pytest.param(b"x-session-affinity", id="C14_opencode"),
        b"x-session-id",
    ],
)
def test_an_agents_header_names_its_session(name: bytes) -> None:
    """C14."""
    headers = ((b"host", b"x"), (name, b"5f0c7a34"))
    assert session_of(headers, dumps(chat_request(prompt_cache_key="other"))) == "5f0c7a34"


@pytest.mark.parametrize("value", [b"", b"x" * 257], ids=["empty", "too_long"])
def test_a_header_that_is_no_name_is_passed_over(value: bytes) -> None:
    assert session_of(((b"session_id", value),), b"{}") is None


def test_the_prompt_cache_key_names_it() -> None:
    """C14."""
    assert session_of((), dumps(chat_request(prompt_cache_key="agent-7", safety_identifier="user-1"))) == "agent-7"


@pytest.mark.parametrize(
    "user",
    [
        "user_0a1b_account_2c3d_session_4e5f",
        '{"device_id":"0a1b","account_uuid":"2c3d","session_id":"4e5f"}',
    ],
    ids=["C14_plain", "C14_json"],
)
def test_the_end_user_of_claude_code_holds_the_session(user: str) -> None:
    """C14."""
    body: JSONObject = {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"user_id": user}}
    other: JSONObject = {"messages": [{"role": "user", "content": "Ho"}], "metadata": {"user_id": user}}
    session = session_of((), dumps(body))
    assert session is not None and "4e5f" in session
    assert session_of((), dumps(other)) == session


def test_a_session_is_found_wherever_it_stands_in_the_metadata() -> None:
    body = dumps({"metadata": {"trace": {"user_id": "no"}, "user_id": "session_4e5f"}})
    assert session_of((), body) == session_of((), Document.of(body)) == "session_4e5f"


def test_of_an_agents_headers_the_first_counts() -> None:
    headers = ((b"x-session-id", b"third"), (b"session_id", b"first"), (b"session_id", b"second"))
    assert session_of(headers, b"{}") == "first"


def test_the_safety_identifier_is_better_than_nothing() -> None:
    assert session_of((), dumps(chat_request(safety_identifier="user-1"))) == "user-1"


def test_nothing_tells_a_session() -> None:
    assert session_of(((b"user-agent", b"x"),), dumps(chat_request())) is None


def test_what_a_message_says_about_sessions_is_no_session() -> None:
    """A word in a prompt or in a tool's arguments moves nobody to another account."""
    text = 'set "prompt_cache_key": "x" and "safety_identifier": "y"'
    call: JSONObject = {
        "type": "tool_use",
        "id": "t",
        "name": "find",
        "input": {"user_id": "42", "safety_identifier": "43"},
    }
    body: JSONObject = {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": [call]}]}
    assert session_of((), dumps(body)) is None


def test_what_is_not_text_is_no_session() -> None:
    assert session_of((), dumps({"prompt_cache_key": None, "metadata": "x", "safety_identifier": 7})) is None
    assert session_of((), dumps({"prompt_cache_key": "", "metadata": None, "safety_identifier": "x" * 2000})) is None
    assert session_of((), b"\x1f\x8b") is None
    assert session_of((), dumps({"metadata": [1], "safety_identifier": "user-1"})) == "user-1"
    assert session_of((), b'{"prompt_cache_key": "\xff\xfe"}') is not None
