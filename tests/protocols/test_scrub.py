"""What may not be repeated to a client."""

from __future__ import annotations

import pytest

from asgi_llmgw.protocols.scrub import MAX_MESSAGE, scrub


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123***def",
        "sk-ant-api03-abcDEF_123",
        "sk-1234567890abcdef",
        "gsk_abcdefghijklmnop1234",
        "xai-abcdefghijklmnop1234",
        "AIzaSyA1234567890abcdef",
        "ya29.a0AfH6SMBx-abc",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-123",
        "org-abc123DEF456",
        "proj_abc123DEF456",
    ],
)
def test_secret_does_not_survive(secret: str) -> None:
    """F107, X3."""
    assert secret not in scrub(f"Rate limit reached for {secret} in organization, see docs.")
    assert scrub(f"key '{secret}'.") == "key '[redacted]'."


@pytest.mark.parametrize("url", ["https://host/v1?key=abc123&alt=sse", "Authorization: Bearer abc.def"])
def test_key_in_context_does_not_survive(url: str) -> None:
    """X4."""
    assert "abc" not in scrub(url)


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "Unknown parameter: 'user_location'.",
        "A risk-adjusted answer for request req_011CeCGmMJJGRCp7xgjqapmJ",
        "The project is organization-wide; ask-me-anything",
        "Invalid 'messages[0].content': expected a key-value pair",
    ],
)
def test_innocent_text_is_left_alone(text: str) -> None:
    assert scrub(text) == text


def test_long_text_is_cut() -> None:
    assert len(scrub("a" * 10 * MAX_MESSAGE)) == MAX_MESSAGE
