"""Operations beside chat through the whole gateway: routes, failover, limits, metrics, and what is kept for whom."""

from __future__ import annotations

import base64
import struct

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from asgi_llmgw import Gateway, build_app
from asgi_llmgw._types import Scope
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.testing import (
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from tests.samples import chat_answer

pytestmark = pytest.mark.anyio

VECTORS = dumps(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
)
GEMINI_VECTORS = b'{"embeddings":[{"values":[0.5,-1.0]}]}'
TEAM, SMALL, LIMITED = b"client-key-of-team", b"client-key-of-small", b"client-key-of-limited"
CHUNK = b'data: {"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"Hi","finish_reason":null}]}\n\n'
LAST = b'data: {"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"","finish_reason":"stop"}]}\n\n'


class House:
    """A gateway before a vendor of each kind, each answering as told."""

    def __init__(self) -> None:
        self.vendors = {name: FakeUpstream([]) for name in ("openai", "other", "gemini", "anthropic")}
        self.registry = CollectorRegistry()
        self.lines: list[bytes] = []
        other = {"protocol": ["openai_chat"], "base_url": "https://other.example/v1", "api_key": "key-of-other"}
        document = {
            "providers": {
                "openai": {"api_key": "key-of-openai"},
                "gemini": {"api_key": "key-of-gemini"},
                "anthropic": {"api_key": "key-of-anthropic"},
                "other": other,
            },
            "models": {
                "small": {"targets": ["openai/text-embedding-3-small", "other/bge"]},
                "g": {"targets": ["gemini/gemini-embedding-001"]},
                "pictures": {"targets": ["gemini/imagen-4.0"]},
                "edited": {"targets": ["gemini/gemini-2.5-flash-image"]},
                "spoken": {"targets": ["gemini/gemini-3.8-flash-tts", "openai/tts-1"]},
                "heard": {"targets": ["gemini/gemini-2.5-flash", "openai/whisper-large"]},
                "heard-strictly": {"targets": ["gemini/gemini-2.5-flash"], "on_loss": "reject"},
                "strict": {"targets": ["openai/text-embedding-3-small"], "on_loss": "reject"},
                "claude": {"targets": ["anthropic/claude-sonnet-4-5"]},
                "either": {"targets": ["anthropic/claude-sonnet-4-5", "other/bge"]},
                "whisper-1": {"targets": ["openai/whisper-large", "other/whisper"]},
                "hedged": {"targets": ["openai/whisper-large", "other/whisper"], "hedge": {"after_seconds": 0.001}},
                "omni-moderation-latest": {"targets": ["openai/omni-moderation-2024"]},
            },
            "prices": {
                "openai/whisper-large": {"input": 0.0, "output": 0.0, "minute": 0.006},
                "openai/tts-1": {"input": 0.0, "output": 0.0, "characters": 15.0},
                "gemini/imagen-4.0": {"input": 0.0, "output": 0.0, "picture": 0.04},
                "gemini/gemini-2.5-flash": {"input": 1.0, "output": 2.0, "audio_input": 10.0},
            },
            "routing": {"files": "openai"},
            "retry": {"backoff_seconds": 0.001, "max_backoff_seconds": 0.001},
            "keys": [
                {"name": "team", "key": TEAM.decode()},
                {"name": "small", "key": SMALL.decode(), "models": ["small"]},
                {"name": "limited", "key": LIMITED.decode(), "tpm": 20},
            ],
        }
        self.gateway: Gateway = build_app(
            parse_config(document, environ={}),
            upstreams=self.vendors,
            registry=self.registry,
            access_log=self.lines.append,
        )

    def says(self, vendor: str, *answers: FakeResponse | BaseException | bytes) -> FakeUpstream:
        told = self.vendors[vendor]
        told.answers = [FakeResponse([answer]) if isinstance(answer, bytes) else answer for answer in answers]
        return told

    @property
    def line(self) -> JSONObject:
        return loads_object(self.lines[-1])


@pytest.fixture
def house() -> House:
    return House()


def scope(
    path: str, key: bytes = TEAM, method: str = "POST", kind: bytes = b"application/json", query: bytes = b""
) -> Scope:
    headers = ((b"authorization", b"Bearer " + key), (b"content-type", kind))
    return http_scope(method, path, headers=headers, query=query)


def code(body: object) -> object:
    return as_object(as_object(body)["error"]).get("code")  # type: ignore[arg-type]


async def test_only_the_models_name_is_changed_and_what_it_cost_is_known(house: House) -> None:
    house.says("openai", VECTORS)
    answer = await call(house.gateway, scope("/v1/embeddings"), b'{"input":  ["a"], "model":"small", "x": 1.50}')
    assert (answer.status, answer.body) == (200, VECTORS)
    request = house.vendors["openai"].requests[0]
    assert request.body == b'{"input":  ["a"], "model":"text-embedding-3-small", "x": 1.50}'
    assert request.url == "https://api.openai.com/v1/embeddings"
    assert dict(request.headers)[b"authorization"] == b"Bearer key-of-openai"
    line = house.line
    assert (line["input_tokens"], line["output_tokens"], line["provider"]) == (5, 0, "openai")
    assert (line["route"], line["endpoint"], line["outcome"]) == ("small", "/v1/embeddings", "completed")
    text = generate_latest(house.registry).decode()
    labels = 'api_key="team",endpoint="/v1/embeddings",model="small",provider="openai"'
    assert f"llm_requests_total{{{labels}}} 1.0" in text


async def test_another_target_is_asked_where_one_fails(house: House) -> None:
    house.says("openai", FakeResponse([b'{"error":{"message":"down"}}'], status=500))
    house.says("other", VECTORS)
    answer = await call(house.gateway, scope("/v1/embeddings"), {"model": "small", "input": "a"})
    assert (answer.status, house.line["provider"]) == (200, "other")
    assert loads_object(house.vendors["other"].requests[0].body)["model"] == "bge"


async def test_a_vendor_without_the_operation_leaves_it_to_the_next(house: House) -> None:
    house.says("other", VECTORS)
    assert (await call(house.gateway, scope("/v1/embeddings"), {"model": "either", "input": "a"})).status == 200
    refused = await call(house.gateway, scope("/v1/embeddings"), {"model": "claude", "input": "a"})
    assert (refused.status, code(refused.json)) == (400, "unsupported_operation")


async def test_the_allow_list_holds_for_every_operation(house: House) -> None:
    for path, model in (("/v1/embeddings", "g"), ("/v1/moderations", None), ("/v1/images/generations", "g")):
        body: JSONObject = {"input": "a"} if model is None else {"input": "a", "model": model}
        answer = await call(house.gateway, scope(path, SMALL), body)
        assert (answer.status, code(answer.json)) == (404, "model_not_found")
    assert (await call(house.gateway, scope("/v1/embeddings", b"nobody"), {"model": "small"})).status == 401


async def test_tokens_are_limited_and_counted_as_the_vendor_says(house: House) -> None:
    house.says("openai", VECTORS)
    asking: JSONObject = {"model": "small", "input": "a"}
    statuses = [(await call(house.gateway, scope("/v1/embeddings", LIMITED), asking)).status for _ in range(6)]
    assert statuses[0] == 200 and statuses[-1] == 429
    assert statuses == sorted(statuses) and 3 <= statuses.count(200) <= 4


async def test_a_model_that_is_not_named_is_openais_own(house: House) -> None:
    house.says("openai", b'{"id":"modr-1","results":[]}')
    assert (await call(house.gateway, scope("/v1/moderations"), {"input": "a"})).status == 200
    assert loads_object(house.vendors["openai"].requests[0].body)["model"] == "omni-moderation-2024"


async def test_reranking_and_filling_in_pass_as_they_are(house: House) -> None:
    ranked = b'{"results":[{"index":1,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}'
    house.says("openai", ranked)
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        answer = await call(house.gateway, scope(path), {"model": "small", "query": "a", "documents": ["b", "c"]})
        assert (answer.status, answer.body) == (200, ranked)
        assert house.vendors["openai"].requests[-1].url == "https://api.openai.com/v1/rerank"
    await call(house.gateway, scope("/v1/fim/completions"), {"model": "small", "prompt": "a", "suffix": "b"})
    assert house.vendors["openai"].requests[-1].url == "https://api.openai.com/v1/fim/completions"


async def test_the_vendors_own_refusal_is_shown(house: House) -> None:
    told = b'{"error":{"message":"too many dimensions","type":"invalid_request_error","param":null,"code":null}}'
    house.says("openai", FakeResponse([told], status=400))
    answer = await call(house.gateway, scope("/v1/embeddings"), {"model": "small", "input": "a"})
    assert (answer.status, answer.body) == (400, told)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, b"{}"),
        (403, b'{"error":{"message":"You are not allowed to generate embeddings from this model"}}'),
        (401, b'{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: x"}}'),
        (501, b'{"error":{"message":"This server does not support embeddings."}}'),
    ],
)
async def test_a_model_that_cannot_do_it_is_none_the_worse_for_chat(house: House, status: int, told: bytes) -> None:
    """Whoever asks a model for the wrong thing does not take it from those who chat with it."""
    house.says("openai", FakeResponse([told], status=status))
    house.says("other", VECTORS)
    for _ in range(3):
        asked = await call(house.gateway, scope("/v1/embeddings"), {"model": "small", "input": "a"})
        assert (asked.status, house.line["provider"]) == (200, "other")
        alone = await call(house.gateway, scope("/v1/embeddings"), {"model": "strict", "input": "a"})
        assert (alone.status, code(alone.json)) == (400, "unsupported_operation")
    house.says("openai", chat_answer())
    chat = await call(house.gateway, scope("/v1/chat/completions"), {"model": "strict", "messages": []})
    assert (chat.status, house.line["provider"]) == (200, "openai")


async def test_a_key_that_is_refused_is_given_up_all_the_same(house: House) -> None:
    told = b'{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}'
    house.says("openai", FakeResponse([told], status=401))
    house.says("other", VECTORS)
    for _ in range(2):
        asked = await call(house.gateway, scope("/v1/embeddings"), {"model": "small", "input": "a"})
        assert (asked.status, house.line["provider"]) == (200, "other")
    assert len(house.vendors["openai"].requests) == 1


async def test_an_openai_client_gets_geminis_vectors(house: House) -> None:
    house.says(
        "gemini", b'{"embeddings":[{"values":[0.5,-1.0]},{"values":[2,3]}],"usageMetadata":{"promptTokenCount":7}}'
    )
    asked: JSONObject = {"model": "g", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64", "user": "u"}
    answer = await call(house.gateway, scope("/v1/embeddings"), {**asked, "task_type": "RETRIEVAL_QUERY"})
    found = loads_object(answer.body)
    raw = [base64.b64decode(str(as_object(entry)["embedding"])) for entry in as_list(found["data"])]
    assert [struct.unpack("<2f", vector) for vector in raw] == [(0.5, -1.0), (2.0, 3.0)]
    assert found["model"] == "g" and found["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    request = house.vendors["gemini"].requests[0]
    assert request.url.endswith("/v1beta/models/gemini-embedding-001:batchEmbedContents")
    assert as_list(loads_object(request.body)["requests"])[1] == {
        "model": "models/gemini-embedding-001",
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 2,
        "content": {"role": "user", "parts": [{"text": "b"}]},
    }
    assert house.line["input_tokens"] == 7 and b"x-llmgw-diagnostics" not in answer.headers


async def test_token_ids_mean_nothing_to_another_vendor(house: House) -> None:
    answer = await call(house.gateway, scope("/v1/embeddings"), {"model": "g", "input": [[1, 2], [3]]})
    assert (answer.status, code(answer.json)) == (400, "unsupported_parameter")


@pytest.mark.parametrize("many", [True, False])
async def test_a_gemini_client_gets_openais_vectors(house: House, many: bool) -> None:
    house.says("openai", VECTORS)
    content: JSONObject = {"content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING", "outputDimensionality": 2}
    action, asked = ("batchEmbedContents", {"requests": [content]}) if many else ("embedContent", content)
    answer = await call(house.gateway, scope(f"/v1beta/models/small:{action}"), asked)  # type: ignore[arg-type]
    vector = {"values": [0.5, -1.0]}
    told = {"embeddings": [vector]} if many else {"embedding": vector}
    assert loads_object(answer.body) == {**told, "usageMetadata": {"promptTokenCount": 5}}
    assert answer.headers[b"x-llmgw-diagnostics"] == b"1; codes=dropped"
    assert loads_object(house.vendors["openai"].requests[0].body) == {
        "model": "text-embedding-3-small",
        "input": ["a"],
        "encoding_format": "float",
        "dimensions": 2,
    }
    path = f"/v1beta/models/strict:{action}"
    assert (await call(house.gateway, scope(path), asked)).status == 400  # type: ignore[arg-type]


async def test_an_openai_client_gets_the_pictures_of_imagen(house: House) -> None:
    house.says("gemini", b'{"predictions":[{"bytesBase64Encoded":"aGk=","mimeType":"image/png"}]}')
    asked: JSONObject = {"model": "pictures", "prompt": "a cat", "size": "1024x1024", "quality": "high"}
    answer = await call(house.gateway, scope("/v1/images/generations"), asked)
    assert (answer.status, loads_object(answer.body)["data"]) == (200, [{"b64_json": "aGk="}])
    assert answer.headers[b"x-llmgw-diagnostics"] == b"1; codes=dropped"
    assert house.vendors["gemini"].requests[0].url.endswith("/v1beta/models/imagen-4.0:predict")
    house.says("gemini", b'{"predictions":[{"raiFilteredReason":"no"}]}')
    blocked = await call(house.gateway, scope("/v1/images/generations"), asked)
    assert (blocked.status, code(blocked.json)) == (400, "moderation_blocked")


async def test_vectors_that_are_missing_are_not_made_up(house: House) -> None:
    house.says("gemini", GEMINI_VECTORS)
    assert (await call(house.gateway, scope("/v1/embeddings"), {"model": "g", "input": ["a", "b"]})).status == 502


async def test_the_models_inside_a_batch_are_the_one_that_was_routed_by(house: House) -> None:
    """A key that may use one model gets that one."""
    house.says("gemini", GEMINI_VECTORS)
    asked: JSONObject = {"requests": [{"model": "models/dearer", "content": {"parts": [{"text": "a"}]}}]}
    answer = await call(house.gateway, scope("/v1beta/models/g:batchEmbedContents"), asked)
    assert answer.body == GEMINI_VECTORS
    (request,) = as_list(loads_object(house.vendors["gemini"].requests[0].body)["requests"])
    assert as_object(request)["model"] == "models/gemini-embedding-001"


async def test_a_streamed_completion_passes_as_it_is(house: House) -> None:
    house.says("openai", sse_response(b": hello\n\n" + CHUNK[:30], CHUNK[30:] + LAST, b"data: [DONE]\n\n"))
    answer = await call(house.gateway, scope("/v1/completions"), {"model": "small", "prompt": "a", "stream": True})
    assert answer.body == b": hello\n\n" + CHUNK + LAST + b"data: [DONE]\n\n"
    assert house.line["finish_reason"] == "stop"


async def test_a_stream_that_breaks_ends_with_an_error(house: House) -> None:
    broken = UpstreamError("The connection broke.", failure="unreachable")
    for last in ([], [broken]):
        house.says("openai", sse_response(CHUNK, CHUNK[:20], *last))
        answer = await call(house.gateway, scope("/v1/completions"), {"model": "small", "prompt": "a", "stream": True})
        assert answer.body.startswith(CHUNK + b"data: {") and b'"error"' in answer.body
        assert b"[DONE]" not in answer.body and house.line["outcome"] == "upstream_error"


async def test_speech_is_passed_on_while_it_comes(house: House) -> None:
    sound = (b"content-type", b"audio/mpeg")
    house.says("openai", FakeResponse([b"ID3", b"\x00\xff"], headers=(sound,)))
    answer = await call(house.gateway, scope("/v1/audio/speech"), {"model": "small", "input": "hi", "voice": "alloy"})
    assert (answer.body, answer.headers[b"content-type"]) == (b"ID3\x00\xff", b"audio/mpeg")


async def test_speech_that_breaks_is_left_unfinished(house: House) -> None:
    """The server cuts the connection, and nobody takes a part for the whole."""
    broken = UpstreamError("The connection broke.", failure="unreachable")
    house.says("openai", FakeResponse([b"ID3", broken], headers=((b"content-type", b"audio/mpeg"),)))
    send = RecordingSend()
    await house.gateway(scope("/v1/audio/speech"), ScriptedReceive(b'{"model":"small","input":"hi"}'), send)
    assert send.body == b"ID3" and not send.finished
    assert house.line["outcome"] == "upstream_error"
