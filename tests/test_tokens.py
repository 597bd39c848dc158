from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.json import JSONObject
from asgi_llmgw.tokens import estimate_tokens


def ask(content: object) -> JSONObject:
    return {"messages": [{"role": "user", "content": content}]}  # type: ignore[dict-item]


def test_errs_high_on_english_and_on_chinese() -> None:
    """C4: English has about four characters to a token, Chinese between one and two tokens to a character."""
    english = "The quick brown fox jumps over the lazy dog. " * 100
    assert estimate_tokens(ask(english)) > 1_000
    assert estimate_tokens(ask("敏捷的棕色狐狸" * 100)) >= 700


def test_every_kind_of_block_counts() -> None:
    """C4: tools, calls and results were seen counted as nothing."""
    empty = estimate_tokens(ask(""))
    tool: JSONObject = {**ask(""), "tools": [{"name": "look_up", "input_schema": {"type": "object"}}]}
    assert estimate_tokens(tool) > empty + 10
    call = ask([{"type": "tool_use", "id": "a", "name": "look_up", "input": {"query": "x" * 300}}])
    assert estimate_tokens(call) > empty + 100
    result = ask([{"type": "tool_result", "tool_use_id": "a", "content": "y" * 300}])
    assert estimate_tokens(result) > empty + 100


def test_a_picture_is_not_counted_as_text() -> None:
    picture = base64.b64encode(bytes(1_500_000)).decode()
    assert 1_600 < estimate_tokens(ask([{"type": "image", "source": {"data": picture}}])) < 10_000


def test_what_no_model_reads_does_not_count() -> None:
    assert estimate_tokens({**ask("hi"), "metadata": {"user_id": "x" * 10_000}}) < 100


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_never_counts_less(first: str, second: str) -> None:
    assert estimate_tokens(ask(first + second)) >= max(estimate_tokens(ask(first)), 1)
