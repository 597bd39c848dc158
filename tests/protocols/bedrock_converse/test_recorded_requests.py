"""Every recorded request of every client as a Converse request: taken by Amazon's own client, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import loads_object
from asgi_llmgw.protocols import SERVED, Profile, codec
from asgi_llmgw.protocols.base import EncodedRequest
from asgi_llmgw.providers import families
from asgi_llmgw.translate import Translated, translate_request
from tests.pairs import FOLDERS
from tests.protocols.bedrock_converse.shapes import check_request, keep_the_rules
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

PROFILES: Final = {
    "default": Profile(),
    "unknown": families.BEDROCK_PLAIN,
    **{glob.strip("*"): facts for glob, facts in families.BEDROCK},
}
LEAST: Final[dict[ir.Protocol, int]] = {
    "openai_chat": 56,
    "openai_responses": 53,
    "anthropic_messages": 53,
    "gemini_generate": 51,
}
"""So many requests of each protocol can be sent."""
REFUSED: Final = {
    "messages[0].content[1]",
    "messages[1].content[0]",
    "messages[1].content[1]",
    "messages[2].content[0].content[0]",
    "messages[3].content[0]",
    "messages[5].content[1]",
    "messages[0].content[1].type",
    "background",
    "cachedContent",
    "container",
    "conversation",
    "input[6]",
    "mcp_servers",
    "modalities",
    "model",
    "modelArmorConfig",
    "n",
    "previous_response_id",
    "web_search_options",
}
"""For these fields the others are refused: several answers, files and addresses, another vendor's state and tools."""


def sent(source: ir.Protocol, profile: Profile) -> Iterator[tuple[Recording, Translated]]:
    for recording in recordings(*FOLDERS[source]):
        if recording.request is None:
            continue
        try:
            yield (
                recording,
                translate_request(
                    recording.request, source=source, target="bedrock_converse", path=recording.path, profile=profile
                ),
            )
        except InvalidRequest as error:
            assert error.param in REFUSED, (recording.id, error.param)


@pytest.mark.parametrize("facts", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("source", SERVED)
def test_every_recorded_request_is_one_that_amazons_own_client_would_send(
    source: ir.Protocol, facts: Profile, report: Callable[[str, int], None]
) -> None:
    """botocore takes its arguments, word for word, and writes the same call for them."""
    count = 0
    for recording, translated in sent(source, facts):
        try:
            given = check_request(EncodedRequest(translated.path, translated.body))
        except AssertionError as error:
            raise AssertionError(recording.id) from error
        keep_the_rules(given["messages"], recording.id)
        assert ("toolConfig" in given) or not any(
            "toolUse" in block or "toolResult" in block for turn in given["messages"] for block in turn["content"]
        ), recording.id
        count += 1
    assert count >= LEAST[source]
    report(f"requests of {source} as Converse", count)


@pytest.mark.parametrize("source", SERVED)
def test_what_a_request_says_arrives_or_is_told_to_be_lost(source: ir.Protocol) -> None:
    """Law 3: settings that have a word here, and a diagnostic for each that has none."""
    for recording, translated in sent(source, Profile()):
        before = codec(source).decode_request(recording.path, recording.request or b"")
        body = loads_object(translated.body)
        told = {item.path for item in translated.diagnostics}
        inference = body.get("inferenceConfig") or {}
        assert isinstance(inference, dict)
        sampling = before.sampling
        for name, key, value in (
            ("max_tokens", "maxTokens", before.max_output_tokens),
            ("temperature", "temperature", sampling.temperature),
            ("top_p", "topP", sampling.top_p),
            ("stop", "stopSequences", [*sampling.stop] or None),
        ):
            assert inference.get(key) == value or name in told, (recording.id, name)
        for name in ("seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"):
            assert getattr(sampling, name) is None or name in told, (recording.id, name)
        for extension in before.extensions:
            assert extension.path in told, (recording.id, extension.path)
        assert texts(before) <= told_texts(body), recording.id


def texts(request: ir.ChatRequest) -> set[str]:
    """What user, assistant and tools said."""
    parts = [part for message in request.messages for part in message.parts]
    inner = [one for part in parts if isinstance(part, ir.ToolResultPart) for one in part.content]
    said = {part.text.rstrip() for part in (*parts, *inner) if isinstance(part, ir.TextPart)}
    return {text for text in said if text.strip()}


def told_texts(value: object) -> set[str]:
    """Every text in a body."""
    match value:
        case {"text": str(text), **rest}:
            return {text.rstrip(), *told_texts(rest)}
        case dict():
            return {text for item in value.values() for text in told_texts(item)}
        case list():
            return {text for item in value for text in told_texts(item)}
        case _:
            return set()
