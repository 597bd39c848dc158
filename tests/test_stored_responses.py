"""Responses that lie at a vendor, through the whole gateway: made, gone on from, fetched, deleted, compacted."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw import Gateway, build_app
from asgi_llmgw._types import Scope
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Opaque
from asgi_llmgw.json import JSONObject, as_object, dumps, loads_object
from asgi_llmgw.reasoning.envelope import PROCESS_KEY, seal
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope, sse_response
from tests.samples import frame, messages_answer, messages_stream, responses_answer

pytestmark = pytest.mark.anyio

NOT_FOUND = b'{"error":{"message":"Response with id \'x\' not found.","type":"invalid_request_error"}}'
TEAM_A, TEAM_B = b"client-key-of-team-a", b"client-key-of-team-b"


def made(identifier: str) -> bytes:
    return dumps({**loads_object(responses_answer()), "id": identifier})


def made_in_a_stream(identifier: str) -> list[bytes]:
    response: JSONObject = {**loads_object(responses_answer()), "id": identifier}
    begun: JSONObject = {"instructions": "id", "id": identifier, "object": "response", "output": []}
    return [
        b": waiting\n\n",
        frame({"type": "response.queued", "sequence_number": 0, "response": begun}, "response.queued"),
        frame({"type": "response.completed", "sequence_number": 1, "response": response}, "response.completed"),
    ]


class House:
    """A gateway with two vendors that speak Responses and one that does not, each answering as told."""

    def __init__(self, *kinds: str) -> None:
        self.vendors = {name: FakeUpstream([]) for name in kinds or ("openai", "other", "anthropic")}
        self.registry = CollectorRegistry()
        self.lines: list[bytes] = []

    def open(self) -> Gateway:
        other = {"protocol": ["openai_responses"], "base_url": "https://other.example/v1", "api_key": "key-of-other"}
        known = {"openai": {"api_key": "key-of-openai"}, "other": other, "anthropic": {"api_key": "key-of-anthropic"}}
        models: dict[str, object] = {
            "gpt": {"targets": ["openai/gpt-5", "other/large"]},
            "large": {"targets": ["other/large"]},
            "claude": {"targets": ["anthropic/claude-sonnet-4-5"]},
            "either": {"targets": ["anthropic/claude-sonnet-4-5", "other/large"]},
        }
        if len(self.vendors) < len(known):
            models = {"gpt": {"targets": ["openai/gpt-5"]}}
        document = {
            "providers": {name: known[name] for name in self.vendors},
            "models": models,
            "keys": [
                {"name": "team-a", "key": TEAM_A.decode()},
                {"name": "team-b", "key": TEAM_B.decode(), "models": ["claude", "gpt"]},
            ],
        }
        return build_app(
            parse_config(document, environ={}),
            upstreams=self.vendors,
            registry=self.registry,
            access_log=self.lines.append,
        )

    def says(self, vendor: str, *answers: FakeResponse | bytes) -> None:
        self.vendors[vendor].answers = [
            FakeResponse([answer]) if isinstance(answer, bytes) else answer for answer in answers
        ]

    def asked(self, vendor: str) -> list[tuple[str, str]]:
        return [(request.method, request.url) for request in self.vendors[vendor].requests]


@pytest.fixture
def house() -> House:
    return House()


def scope(method: str, path: str, key: bytes = TEAM_A, query: bytes = b"") -> Scope:
    headers = ((b"authorization", b"Bearer " + key), (b"content-type", b"application/json"))
    return http_scope(method, path, headers=headers, query=query)


def asking(model: str, **fields: object) -> JSONObject:
    return {"model": model, "input": "Hello", **fields}  # type: ignore[dict-item]


def error_of(body: object) -> JSONObject:
    return as_object(as_object(body)["error"])  # type: ignore[arg-type]


async def test_a_response_is_fetched_from_the_vendor_that_made_it(house: House) -> None:
    house.says("other", made("resp_1"), made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(
        gateway, scope("GET", "/v1/responses/resp_1", query=b"include%5B%5D=reasoning.encrypted_content")
    )
    assert answer.body == made("resp_1")
    assert house.asked("other")[1] == (
        "GET",
        "https://other.example/v1/responses/resp_1?include%5B%5D=reasoning.encrypted_content",
    )
    request = house.vendors["other"].requests[1]
    assert dict(request.headers)[b"authorization"] == b"Bearer key-of-other"
    assert request.body == b"" and house.asked("openai") == []


async def test_the_id_is_known_before_the_stream_that_tells_it_has_ended(house: House) -> None:
    house.says("other", sse_response(*made_in_a_stream("resp_s")), made("resp_s"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large", stream=True))
    assert (await call(gateway, scope("GET", "/v1/responses/resp_s"))).status == 200
    assert house.asked("other")[1][1].endswith("/v1/responses/resp_s")


@pytest.mark.parametrize(
    ("method", "action", "query"),
    [
        ("DELETE", "", b""),
        ("POST", "/cancel", b""),
        ("GET", "/input_items", b"limit=2&order=asc&after=msg_1"),
    ],
)
async def test_every_operation_goes_where_the_response_is(house: House, method: str, action: str, query: bytes) -> None:
    told = b'{"id":"resp_1","object":"whatever","deleted":true}'
    house.says("other", made("resp_1"), told)
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope(method, f"/v1/responses/resp_1{action}", query=query))
    assert (answer.status, answer.body) == (200, told)
    expected = f"https://other.example/v1/responses/resp_1{action}" + (f"?{query.decode()}" if query else "")
    assert house.asked("other")[1] == (method, expected)


async def test_a_stream_is_taken_up_again_byte_for_byte(house: House) -> None:
    chunks = made_in_a_stream("resp_s")[1:]
    house.says("other", made("resp_s"), sse_response(*chunks))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large", background=True))
    again = await call(
        gateway, scope("GET", "/v1/responses/resp_s", query=b"stream=true&starting_after=1&x=y&key=" + TEAM_A)
    )
    assert again.body == b"".join(chunks)
    assert again.headers[b"content-type"].startswith(b"text/event-stream")
    request = house.vendors["other"].requests[1]
    assert request.url.endswith("/v1/responses/resp_s?stream=true&starting_after=1")
    assert request.stream and dict(request.headers)[b"accept"] == b"text/event-stream"


async def test_a_stream_that_breaks_while_it_is_taken_up_again_ends_with_an_error(house: House) -> None:
    house.says("other", made("resp_s"), sse_response(*made_in_a_stream("resp_s")[1:2]))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope("GET", "/v1/responses/resp_s", query=b"stream=true"))
    assert b"event: error" in answer.body


async def test_a_stream_that_breaks_inside_its_first_event_is_a_bad_gateway(house: House) -> None:
    house.says("other", made("resp_s"), sse_response(made_in_a_stream("resp_s")[1][:20]))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope("GET", "/v1/responses/resp_s", query=b"stream=true"))
    assert answer.status == 502


@pytest.mark.parametrize("size", [1, 50, 10_000])
async def test_a_stream_is_whole_without_its_last_blank_line(house: House, size: int) -> None:
    whole = b"".join(made_in_a_stream("resp_s")).rstrip(b"\n")
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    house.says("other", made("resp_s"), sse_response(*pieces))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope("GET", "/v1/responses/resp_s", query=b"stream=true"))
    assert answer.body == whole


async def test_a_stream_without_further_events_is_empty(house: House) -> None:
    house.says("other", made("resp_s"), sse_response())
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope("GET", "/v1/responses/resp_s", query=b"stream=true&starting_after=9"))
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("method", "action"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
async def test_the_response_of_another_key_does_not_exist(house: House, method: str, action: str) -> None:
    house.says("other", made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope(method, f"/v1/responses/resp_1{action}", key=TEAM_B))
    assert answer.status == 404
    assert error_of(answer.json) == {
        "message": "Response with id 'resp_1' not found.",
        "type": "invalid_request_error",
        "param": "id",
        "code": "response_not_found",
    }
    assert len(house.asked("other")) == 1


async def test_nobody_is_asked_without_a_key(house: House) -> None:
    answer = await call(house.open(), http_scope("GET", "/v1/responses/resp_1", headers=()))
    assert answer.status == 401
    assert house.lines and all(not house.asked(name) for name in house.vendors)


async def test_an_unknown_response_is_asked_for_where_only_one_vendor_could_have_it() -> None:
    house = House("openai", "anthropic")
    house.says("openai", made("resp_old"))
    answer = await call(house.open(), scope("GET", "/v1/responses/resp_old"))
    assert answer.body == made("resp_old")
    assert house.asked("openai") == [("GET", "https://api.openai.com/v1/responses/resp_old")]


async def test_an_unknown_response_is_not_looked_for_at_several_vendors(house: House) -> None:
    answer = await call(house.open(), scope("GET", "/v1/responses/resp_old"))
    assert answer.status == 404
    assert error_of(answer.json)["code"] == "response_not_found"
    assert "never stored" in str(error_of(answer.json)["message"])
    assert all(not house.asked(name) for name in house.vendors)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_translated_response_says_that_it_was_never_stored(house: House, stream: bool) -> None:
    house.says("anthropic", sse_response(*messages_stream("Hi")) if stream else FakeResponse([messages_answer()]))
    gateway = house.open()
    first = await call(gateway, scope("POST", "/v1/responses"), asking("claude", stream=stream))
    assert first.status == 200 and b"msg_1" in first.body
    answer = await call(gateway, scope("GET", "/v1/responses/msg_1"))
    assert answer.status == 404
    assert "translated from another protocol and never stored" in str(error_of(answer.json)["message"])
    further = await call(gateway, scope("POST", "/v1/responses"), asking("either", previous_response_id="msg_1"))
    assert further.status == 400
    assert error_of(further.json)["code"] == "previous_response_not_found"
    assert "never stored" in str(error_of(further.json)["message"])


async def test_to_store_where_nothing_is_stored_is_told(house: House) -> None:
    house.says("anthropic", messages_answer())
    answer = await call(house.open(), scope("POST", "/v1/responses"), asking("claude", store=True))
    assert as_object(answer.json)["store"] is False
    assert b'"diagnostic_codes":[' in house.lines[0] and b'"diagnostics":0' not in house.lines[0]


async def test_a_conversation_goes_on_where_it_lies(house: House) -> None:
    """The first target of the model's would not know the response."""
    refused = FakeResponse([b'{"error":{"message":"busy","type":"server_error"}}'], status=500)
    house.says("openai", refused)
    house.says("other", made("resp_1"), made("resp_2"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("gpt"))
    assert len(house.asked("openai")) == 1
    answer = await call(gateway, scope("POST", "/v1/responses"), asking("gpt", previous_response_id="resp_1"))
    assert as_object(answer.json)["id"] == "resp_2"
    assert len(house.asked("openai")) == 1 and len(house.asked("other")) == 2
    assert loads_object(house.vendors["other"].requests[1].body) == {
        "model": "large",
        "input": "Hello",
        "previous_response_id": "resp_1",
    }


async def test_a_failure_does_not_carry_a_conversation_to_another_vendor(house: House) -> None:
    house.says("openai", made("resp_1"), FakeResponse([b"{}"], status=503))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("gpt"))
    answer = await call(gateway, scope("POST", "/v1/responses"), asking("gpt", previous_response_id="resp_1"))
    assert answer.status == 503
    assert house.asked("other") == []


async def test_each_response_is_asked_for_with_the_key_that_made_it() -> None:
    """C14: it lies in that key's account."""
    upstream = FakeUpstream([FakeResponse([made("resp_1")]), FakeResponse([made("resp_2")]), FakeResponse([COMPACTED])])
    document = {
        "providers": {"openai": {"api_keys": ["upstream-1", "upstream-2"]}},
        "models": {"gpt": {"targets": ["openai/gpt-5"]}},
    }
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    for _ in range(2):
        await call(gateway, http_scope("POST", "/v1/responses"), asking("gpt"))
    for name in ("resp_2", "resp_1", "resp_1"):
        await call(gateway, http_scope("GET", f"/v1/responses/{name}", headers=()))
    for name in ("resp_1", "resp_2"):
        await call(gateway, http_scope("POST", "/v1/responses"), asking("gpt", previous_response_id=name))
    used = [dict(request.headers)[b"authorization"] for request in upstream.requests]
    first, second = used[:2]
    assert first != second
    assert used[2:] == [second, first, first, first, second]


async def test_a_model_of_other_vendors_cannot_go_on_from_it(house: House) -> None:
    house.says("openai", made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("gpt"))
    answer = await call(gateway, scope("POST", "/v1/responses"), asking("large", previous_response_id="resp_1"))
    assert answer.status == 400
    error = error_of(answer.json)
    assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")
    assert "does not serve the model 'large'" in str(error["message"])


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/compact"])
async def test_nobody_goes_on_from_the_response_of_another_key(path: str) -> None:
    house = House("openai", "anthropic")
    house.says("openai", made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("gpt"))
    answer = await call(gateway, scope("POST", path, TEAM_B), asking("gpt", previous_response_id="resp_1"))
    assert answer.status == 400
    assert error_of(answer.json)["message"] == "Previous response with id 'resp_1' not found."
    assert len(house.asked("openai")) == 1


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(b'"previous_response\\u005fid":"resp_1"', id="in_escapes"),
        pytest.param(b'"previous_response_id":"resp_1","previous_response_id":"resp_2"', id="twice"),
        pytest.param(b'"previous_response_id":"resp_2","previous_response\\u005fid":"resp_1"', id="twice_in_escapes"),
    ],
)
async def test_no_spelling_leads_to_the_response_of_another_key(field: bytes) -> None:
    """F034"""
    house = House("openai", "anthropic")
    house.says("openai", made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("gpt"))
    answer = await call(gateway, scope("POST", "/v1/responses", TEAM_B), b'{"model":"gpt","input":"Hi",%b}' % field)
    assert answer.status == 400
    assert error_of(answer.json)["param"] == "previous_response_id"
    assert len(house.asked("openai")) == 1


async def test_an_unknown_previous_response_is_left_to_the_vendor(house: House) -> None:
    house.says("openai", made("resp_2"))
    answer = await call(house.open(), scope("POST", "/v1/responses"), asking("gpt", previous_response_id="resp_old"))
    assert as_object(answer.json)["id"] == "resp_2"


async def test_what_the_client_did_not_store_is_not_remembered(house: House) -> None:
    house.says("other", made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large", store=False))
    assert (await call(gateway, scope("GET", "/v1/responses/resp_1"))).status == 404


@pytest.mark.parametrize("status", [400, 404])
async def test_the_vendors_own_words_about_a_response_are_passed_on(house: House, status: int) -> None:
    house.says("other", made("resp_1"), FakeResponse([NOT_FOUND], status=status))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope("DELETE", "/v1/responses/resp_1"))
    assert (answer.status, answer.body) == (status, NOT_FOUND)


async def test_the_vendors_trouble_with_our_key_is_not_the_clients(house: House) -> None:
    house.says("other", made("resp_1"), FakeResponse([b'{"error":{"message":"bad key sk-1"}}'], status=401))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    answer = await call(gateway, scope("GET", "/v1/responses/resp_1"))
    assert answer.status == 502
    assert b"sk-1" not in answer.body


async def test_a_page_is_no_response(house: House) -> None:
    house.says("other", made("resp_1"), b"<html>")
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    assert (await call(gateway, scope("GET", "/v1/responses/resp_1"))).status == 502


COMPACTED = (
    b'{"id":"resp_c","object":"response.compaction","output":[],"usage":{"input_tokens":156,"output_tokens":19}}'
)


async def test_compacts_at_the_first_vendor_that_can(house: House) -> None:
    house.says("other", COMPACTED)
    answer = await call(house.open(), scope("POST", "/v1/responses/compact"), asking("either"))
    assert (answer.status, answer.body) == (200, COMPACTED)
    assert house.asked("other") == [("POST", "https://other.example/v1/responses/compact")]
    assert loads_object(house.vendors["other"].requests[0].body) == {"model": "large", "input": "Hello"}
    labels = {"api_key": "team-a", "provider": "other", "model": "either"}
    count = house.registry.get_sample_value
    assert count("llm_tokens_total", {**labels, "type": "input"}) == 156
    assert count("llm_requests_total", {**labels, "endpoint": "/v1/responses/compact"}) == 1


async def test_a_vendor_of_another_protocol_cannot_compact(house: House) -> None:
    answer = await call(house.open(), scope("POST", "/v1/responses/compact"), asking("claude"))
    assert answer.status == 400
    assert error_of(answer.json)["code"] == "unsupported_operation"
    assert house.asked("anthropic") == []


async def test_only_models_of_the_key_are_compacted(house: House) -> None:
    answer = await call(house.open(), scope("POST", "/v1/responses/compact", TEAM_B), asking("large"))
    assert error_of(answer.json)["code"] == "model_not_found"
    assert house.asked("other") == []


async def test_compacts_what_lies_at_a_vendor_there(house: House) -> None:
    house.says("openai", FakeResponse([b"{}"], status=503), COMPACTED)
    house.says("other", made("resp_1"), COMPACTED)
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("gpt"))
    compact = asking("gpt", previous_response_id="resp_1")
    assert (await call(gateway, scope("POST", "/v1/responses/compact"), compact)).body == COMPACTED
    assert house.asked("other")[1][1].endswith("/v1/responses/compact")


async def test_reasoning_sealed_for_other_vendors_is_not_compacted(house: House) -> None:
    """R12."""
    sealed = seal(Opaque("anthropic_messages", "signature", "a-signature"), PROCESS_KEY)
    house.says("other", COMPACTED)
    thought: JSONObject = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    body = asking("large", input=[thought, {"role": "user", "content": "Hello"}])
    await call(house.open(), scope("POST", "/v1/responses/compact"), body)
    assert sealed.encode() not in house.vendors["other"].requests[0].body


async def test_each_operation_is_logged_and_counted_with_its_owner(house: House) -> None:
    house.says("other", made("resp_1"), made("resp_1"))
    gateway = house.open()
    await call(gateway, scope("POST", "/v1/responses"), asking("large"))
    await call(gateway, scope("GET", "/v1/responses/resp_1"))
    line = loads_object(house.lines[1])
    told = {
        name: line[name] for name in ("endpoint", "api_key", "model", "route", "provider", "upstream_model", "status")
    }
    assert told == {
        "endpoint": "/v1/responses/{id}",
        "api_key": "team-a",
        "model": "large",
        "route": "large",
        "provider": "other",
        "upstream_model": "large",
        "status": 200,
    }
    labels = {"api_key": "team-a", "provider": "other", "model": "large", "endpoint": "/v1/responses/{id}"}
    assert house.registry.get_sample_value("llm_requests_total", labels) == 1
    assert house.registry.get_sample_value("llm_tokens_total", {**labels, "type": "input"}) is None
