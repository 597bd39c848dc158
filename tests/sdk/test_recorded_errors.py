"""Every recorded error body, through the running gateway: its class, its status, and the words of each dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Queue
from typing import Final

import httpx2
import pytest

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_object, as_str, dumps, loads_object
from asgi_llmgw.protocols import SERVED, codec
from tests.sdk.recorded import RecordedUpstream, recorded_upstream
from tests.servers import background, uvicorn_server
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

ERRORS: Final = recordings("errors")
SPOKEN: Final[dict[str, Protocol]] = {
    "openai_chat": "openai_chat",
    "openai_compat": "openai_chat",
    "openai_completions": "openai_chat",
    "openai_embeddings": "openai_chat",
    "openai_compat_embeddings": "openai_chat",
    "openai_responses": "openai_responses",
    "openai_compat_responses": "openai_responses",
    "anthropic_messages": "anthropic_messages",
    "gemini_generate": "gemini_generate",
    "gemini_predict": "gemini_generate",
}
"""In whose words the error is told: errors of operations that are no chat have the same shapes."""

CREDENTIAL: Final = {
    "agent-knowledege-with-crewai-knowledge-3",
    "azure-openai-embeddings-3",
    "chat-error-handling-with-gemini-2-5-flash-raises-appropriate-aut",
    "chat-error-handling-with-mistral-mistral-small-latest-raises-app",
    "chat-error-handling-with-ollama-cloud-gpt-oss-120b-raises-approp",
    "chat-error-handling-with-xai-grok-4-1-fast-non-reasoning-raises",
    "completion-invalid-api-key",
    "crew-memory-with-google-vertex-embedder-1",
    "response-error",
}
MODEL_ACCESS: Final = {
    "chat-reasoning-2",
    "embeddings-model-not-found",
    "generate-content-missing-model",
    "inferred-model-name-suggestion",
    "is-default-provider-without-explicit-llm-set-on-agent-2",
    "model-name-suggestion-anthropic",
    "model-name-suggestion-openai-chat",
    "testcrewmultimodaltest-image-file-gemini-gemini-1-5-flash-2",
}
RATE_LIMIT: Final = {
    "google-429-retry-info",
    "test-mixed-files-gemini-gemini-2-0-flash-2",
    "test-video-file-gemini-gemini-2-0-flash",
}
TOO_LONG: Final = {
    "chat-real-error-scenarios-claude-haiku-4-5-handles-context-lengt",
    "chat-real-error-scenarios-gpt-5-nano-handles-context-length-exce",
    "chat-real-error-scenarios-vertexai-2-5-flash-handles-context-len-2",
}
WHERE: Final[dict[Protocol, str]] = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate": "/v1beta/models/{model}:generateContent",
}
WORDS: Final[dict[str, dict[Protocol, str]]] = {
    "caller_fault": {"anthropic_messages": "invalid_request_error", "gemini_generate": "INVALID_ARGUMENT"},
    "model_access": {"anthropic_messages": "not_found_error", "gemini_generate": "NOT_FOUND"},
    "rate_limit": {"anthropic_messages": "rate_limit_error", "gemini_generate": "RESOURCE_EXHAUSTED"},
    "credential": {"anthropic_messages": "api_error"},
}
STATUS: Final = {"caller_fault": 400, "model_access": 404, "rate_limit": 429, "credential": 502}
MISSING_IN_RESPONSES: Final = 400
"""Where OpenAI's Responses tell of a model that does not exist."""


@dataclass(frozen=True)
class House:
    url: str
    upstream: RecordedUpstream
    log: Queue[bytes]


@pytest.fixture
def house() -> Iterator[House]:
    with background() as running:
        upstream = running.enter(recorded_upstream())
        config = parse_config(
            {
                "breaker": {"enabled": False},
                "retry": {"attempts": 1},
                "providers": {
                    name.replace("_", "-"): {
                        "protocol": name,
                        "base_url": upstream.url + path,
                        "api_key": "upstream-key",
                    }
                    for name, path in {
                        "openai_chat": "/v1",
                        "openai_responses": "/v1",
                        "anthropic_messages": "",
                        "gemini_generate": "",
                    }.items()
                },
            },
            environ={},
        )
        log: Queue[bytes] = Queue()
        url = running.enter(uvicorn_server(build_app(config, access_log=log.put)))
        yield House(url, upstream, log)


def class_of(found: Recording) -> str:
    name = found.folder.name
    groups = {"credential": CREDENTIAL, "model_access": MODEL_ACCESS, "rate_limit": RATE_LIMIT}
    return next((failure for failure, names in groups.items() if name in names), "caller_fault")


def question(client: Protocol, model: str) -> JSONObject:
    turns: JSONObject = {"messages": [{"role": "user", "content": "Hello"}]}
    match client:
        case "openai_chat":
            return {"model": model, **turns}
        case "openai_responses":
            return {"model": model, "input": "Hello"}
        case "anthropic_messages":
            return {"model": model, "max_tokens": 100, **turns}
        case "gemini_generate":
            return {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
        case "bedrock_converse":
            raise AssertionError("no client speaks it")


@pytest.mark.parametrize("client", SERVED)
def test_every_recorded_error_keeps_its_meaning(
    house: House, client: Protocol, report: Callable[[str, int], None]
) -> None:
    with httpx2.Client(base_url=house.url, timeout=30) as http:
        for found in ERRORS:
            spoken = SPOKEN[as_str(found.meta.get("protocol")) or ""]
            model = f"{spoken.replace('_', '-')}/errors--{found.folder.name}"
            body = dumps(question(client, model))
            answer = http.post(WHERE[client].format(model=model), content=body)
            failure = class_of(found)
            where = f"{found.id} for {client}"
            responses = client == "openai_responses" and failure == "model_access"
            assert answer.status_code == (MISSING_IN_RESPONSES if responses else STATUS[failure]), where
            told = as_object(loads_object(house.log.get(timeout=10))["error"])
            assert told["failure"] == failure, where
            assert (told["kind"] == "context_too_long") == (found.folder.name in TOO_LONG), where
            _is_in_the_words_of(client, answer, failure, where)
            if failure == "credential":
                assert b"api key" not in answer.content.lower(), where
            else:
                # what the vendor said is what the client reads
                assert _message(client, answer) != "", where
            if client != "gemini_generate":
                # Gemini has no code for it: its clients have the vendor's words
                again = codec(client).decode_error(answer.status_code, answer.content)
                assert (again.kind == "context_too_long") == (found.folder.name in TOO_LONG), where
            report(f"recorded errors told to {client} clients", 1)
    assert len(ERRORS) == 46


def _message(client: Protocol, answer: httpx2.Response) -> str:
    return as_str(as_object(loads_object(answer.content)["error"]).get("message")) or ""


def _is_in_the_words_of(client: Protocol, answer: httpx2.Response, failure: str, where: str) -> None:
    """The shape of the client's own vendor, and its word for what happened."""
    told = loads_object(answer.content)
    error = as_object(told["error"])
    word = WORDS[failure].get(client)
    match client:
        case "anthropic_messages":
            assert told["type"] == "error", where
            assert word is None or error["type"] == word, where
        case "gemini_generate":
            assert error["code"] == answer.status_code, where
            assert word is None or error["status"] == word, where
        case _:
            assert as_str(error.get("message")), where


def test_every_error_has_a_class() -> None:
    named = CREDENTIAL | MODEL_ACCESS | RATE_LIMIT | TOO_LONG
    assert named <= {found.folder.name for found in ERRORS}
