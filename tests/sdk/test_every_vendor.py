"""Every recorded exchange of the vendors that imitate OpenAI, through the running gateway and each vendor's own row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import anthropic
import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import JSONObject, as_bool, as_str, dumps, loads_object
from asgi_llmgw.providers.catalog import CATALOG
from tests.sdk.expected import Expected, expected
from tests.sdk.recorded import RecordedUpstream, recorded_upstream
from tests.servers import background, uvicorn_server
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

CHAT: Final = recordings("openai_compat")
RESPONSES: Final = recordings("openai_compat_responses")
KINDS: Final = {"azure": "azure-deployments"}
"""The row that calls as the recorded client did, where it is not that of the vendor's name."""
UNLISTED: Final = {"anthropic", "gemini", "github-copilot", "snowflake"}
"""Those whose imitation of OpenAI is no row of the catalog: they are configured by URL."""
PLACES: Final = {"endpoint": "https://resource.openai.azure.com", "api_version": "2024-10-21"}
FILTERED: Final = "openai_compat/prompt-content-filtering"
BROKEN: Final = "openai_compat/tool-use-failed-error-streaming-with-text"
FAILURES: Final = {FILTERED, BROKEN}
QUESTION: Final[JSONObject] = {"messages": [{"role": "user", "content": "Hello"}]}


@dataclass(frozen=True)
class House:
    url: str
    upstream: RecordedUpstream


def provider(vendor: str, url: str) -> dict[str, object]:
    """The vendor's own row, at the address of the recordings but with the path its own has."""
    if vendor in UNLISTED:
        protocols = ["openai_chat", "openai_responses"]
        return {"protocol": protocols, "base_url": f"{url}/v1", "api_key": "upstream-key"}
    row = CATALOG[KINDS.get(vendor, vendor)]
    address = row.address({}, PLACES)
    assert address is not None
    return {"kind": KINDS.get(vendor, vendor), "base_url": url + urlsplit(address).path, "api_key": "upstream-key"}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    vendors = {vendor_of(found) for found in [*CHAT, *RESPONSES]}
    with background() as running:
        upstream = running.enter(recorded_upstream())
        config = parse_config(
            {
                "breaker": {"enabled": False},
                "providers": {
                    **{f"{vendor}-row": provider(vendor, upstream.url) for vendor in vendors},
                    # for clients of other protocols: what stands behind must be Responses, of which there is one only
                    "responses": {
                        "protocol": "openai_responses",
                        "base_url": f"{upstream.url}/v1",
                        "api_key": "upstream-key",
                    },
                },
            },
            environ={},
        )
        url = running.enter(uvicorn_server(build_app(config, access_log=None)))
        yield House(url, upstream)


def vendor_of(found: Recording) -> str:
    return as_str(found.meta.get("vendor")) or ""


def model_of(found: Recording, provider: str = "") -> str:
    return f"{provider or vendor_of(found) + '-row'}/{found.folder.parent.name}--{found.folder.name}"


def asked(found: Recording) -> JSONObject:
    """The recorded request, for the model that means its answer; usage is asked for, so that nothing is left out."""
    body = {**QUESTION, "stream": True} if found.request is None else loads_object(found.request)
    if as_bool(body.get("stream")) and "input" not in body:
        body["stream_options"] = {"include_usage": True}
    return {**body, "model": model_of(found)}


def post(client: httpx2.Client, path: str, body: JSONObject) -> httpx2.Response:
    return client.post(path, content=dumps(body), headers={"content-type": "application/json"})


def test_every_recording_comes_back_byte_for_byte(house: House, report: Callable[[str, int], None]) -> None:
    with httpx2.Client(base_url=house.url, timeout=30) as client:
        for found in [*CHAT, *RESPONSES]:
            is_chat = found in CHAT
            body = asked(found) if is_chat else {"input": "Hello", **asked(found)}
            answer = post(client, "/v1/chat/completions" if is_chat else "/v1/responses", body)
            if found.id == BROKEN:
                # the end of the stream is the gateway's: an error, and no [DONE] as if it were whole
                assert found.stream is not None
                assert answer.content.startswith(found.stream.partition(b"event: error")[0])
                assert b"tool_use_failed" in answer.content and b"[DONE]" not in answer.content
            elif found.id == FILTERED:
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")
            else:
                assert answer.status_code == 200, found.id
                assert answer.content == (found.stream or found.response), found.id
            sent = loads_object(house.upstream.bodies[-1])
            assert {**sent, "model": ""} == {**body, "model": ""}, found.id
            report(f"{found.folder.parent.name} exchanges through the gateway, byte for byte", 1)
    assert (len(CHAT), len(RESPONSES)) == (31, 4)


def test_every_recording_is_read_by_openai_s_sdk(house: House, report: Callable[[str, int], None]) -> None:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0) as client:
        for found in CHAT:
            if found.id in FAILURES:
                with pytest.raises(openai.APIError) as caught:
                    chat(client, asked(found))
                assert caught.value.code == ("content_filter" if found.id == FILTERED else "tool_use_failed")
            else:
                told = expected(*found.id.split("/"))
                assert chat(client, asked(found)) == told, found.id
                assert told.text or told.calls or told.refusal, found.id
            report("openai_compat exchanges in the hands of OpenAI's SDK", 1)
        for found in RESPONSES:
            told = expected(*found.id.split("/"))
            assert responses(client, {"input": "Hello", **asked(found)}) == told, found.id
            assert told.text or told.calls, found.id
            report("openai_compat_responses exchanges in the hands of OpenAI's SDK", 1)


def chat(client: openai.OpenAI, body: JSONObject) -> Expected:
    """The text and the calls that OpenAI's SDK finds."""
    if not body.get("stream"):
        answer = client.post("/chat/completions", body=body, cast_to=ChatCompletion)
        message = answer.choices[0].message
        calls = [call for call in message.tool_calls or [] if call.type == "function"]
        named = [(call.function.name, call.function.arguments) for call in calls]
        return found_in(message.content, named, message.refusal)
    chunks = client.post(
        "/chat/completions",
        body=body,
        cast_to=ChatCompletionChunk,
        stream=True,
        stream_cls=openai.Stream[ChatCompletionChunk],
    )
    text, refusal, pieces = "", "", dict[object, list[str]]()
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            refusal += choice.delta.refusal or ""
            for call in choice.delta.tool_calls or []:
                slot = pieces.setdefault(call.id if call.index is None else call.index, ["", ""])
                if call.function is not None:
                    slot[0] += call.function.name or ""
                    slot[1] += call.function.arguments or ""
    return found_in(text, [(name, arguments) for name, arguments in pieces.values()], refusal)


def responses(client: openai.OpenAI, body: JSONObject) -> Expected:
    """The same of Responses, from the events of a stream where it is one."""
    if not body.get("stream"):
        answer = client.post("/responses", body=body, cast_to=Response)
    else:
        events = client.post(
            "/responses",
            body=body,
            cast_to=cast("type[ResponseStreamEvent]", ResponseStreamEvent),
            stream=True,
            stream_cls=openai.Stream[ResponseStreamEvent],
        )
        answer = next(event.response for event in events if event.type == "response.completed")
    calls = [(item.name, item.arguments) for item in answer.output if item.type == "function_call"]
    return found_in(answer.output_text, calls, None)


def found_in(text: str | None, calls: list[tuple[str, str]], refusal: str | None) -> Expected:
    named = [(name, loads_object((arguments or "{}").encode())) for name, arguments in calls]
    return Expected(text or "", named, refusal or "")


def test_every_recording_is_read_by_anthropic_s_sdk(house: House, report: Callable[[str, int], None]) -> None:
    """Translated: ids that are missing, indices that begin at 1, reasoning under other names, empty first chunks."""
    with anthropic.Anthropic(base_url=house.url, api_key="any", max_retries=0) as client:
        for found in [*CHAT, *RESPONSES]:
            streamed = found.stream is not None
            model = model_of(found, "" if found in CHAT else "responses")
            if found.id in FAILURES:
                with pytest.raises(anthropic.APIError):
                    messages(client, model, streamed=streamed)
            else:
                told = expected(*found.id.split("/"))
                # the words of a refusal are text there, beside its stop reason
                told = Expected(told.text + told.refusal, told.calls)
                assert messages(client, model, streamed=streamed) == told, found.id
            report("openai_compat* exchanges in the hands of Anthropic's SDK", 1)


def messages(client: anthropic.Anthropic, model: str, *, streamed: bool) -> Expected:
    """The text and the calls that Anthropic's SDK finds."""
    question: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Hello"}]
    message: anthropic.types.Message
    if streamed:
        with client.messages.stream(model=model, max_tokens=1000, messages=question) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(model=model, max_tokens=1000, messages=question)
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    return Expected("".join(block.text for block in message.content if block.type == "text"), calls)
