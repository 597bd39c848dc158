"""Everything recorded of the operations beside chat, replayed through a running gateway by the vendors' own SDKs."""

from __future__ import annotations

import base64
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import google.genai
import google.genai.types
import httpx2
import openai
import pytest

from asgi_llmgw.json import JSONObject, JSONValue, as_float, as_list, as_object, as_str, loads, loads_object
from tests.sdk.operations import BOUNDARY, KEY, Vendor, answer_of, form_of, gateway, vendor
from tests.servers import SERVERS, ServerName, background
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

FOLDERS = (
    "openai_embeddings",
    "gemini_embeddings",
    "openai_images",
    "gemini_predict",
    "openai_audio",
    "openai_moderations",
    "openai_completions",
    "gemini_cache",
)
ALL = recordings(*FOLDERS)
RAW: Counter[str] = Counter()
BY_SDK: Counter[str] = Counter()


class House:
    """A gateway that serves, and the vendor behind it."""

    def __init__(self, url: str, vendor: Vendor) -> None:
        self.url = url
        self.vendor = vendor

    def says(self, recording: Recording) -> bytes:
        self.vendor.answer = answer_of(recording)
        self.vendor.asked.clear()
        return self.vendor.answer[2]

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0)

    def gemini(self, *, vertex: bool = False) -> google.genai.Client:
        options = google.genai.types.HttpOptions(base_url=self.url)
        return google.genai.Client(api_key=KEY, http_options=options, vertexai=vertex)


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with background() as loop:
        found = loop.enter(vendor())
        server = SERVERS[cast(ServerName, request.param)]
        yield House(loop.enter(server(gateway(found.url))), found)


def folder(recording: Recording) -> str:
    return recording.folder.parent.name


@pytest.mark.parametrize("recording", ALL, ids=lambda recording: recording.id)
def test_what_was_recorded_comes_back_as_it_was(house: House, recording: Recording) -> None:
    """The client's bytes reach the vendor, and the vendor's bytes the client."""
    told = house.says(recording)
    sent, kind = recording.request or b"", "application/json"
    if (recording.folder / "request.form.json").exists():
        sent, kind = form_of(recording, "whisper-1"), f"multipart/form-data; boundary={BOUNDARY}"
    path = recording.path.replace("/projects/PROJECT", "/projects/p")
    method = as_str(recording.meta["method"]) or "POST"
    with httpx2.Client(trust_env=False) as client:
        answer = client.request(
            method,
            house.url + path,
            content=sent or None,
            headers={"authorization": f"Bearer {KEY}", "content-type": kind},
        )
    assert (answer.status_code, answer.content) == (recording.status, told)
    (asked,) = house.vendor.asked
    assert asked.line.split()[0] == method
    assert "/projects/" not in asked.line and "upstream-key" in asked.head.decode()
    assert KEY not in asked.head.decode()
    if sent and folder(recording) == "openai_images" and b"multipart" in asked.head:
        # the form names no model, and the vendor is told which one it was routed by
        added = b'\r\n--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\ndall-e-2' % BOUNDARY.encode()
        assert asked.body.replace(added, b"") == sent
    elif sent and "requests" not in loads_or_empty(sent):
        assert asked.body == sent
    RAW[folder(recording)] += 1


def keywords(recording: Recording) -> dict[str, Any]:
    """What an SDK is called with."""
    return cast(dict[str, Any], loads_object(recording.request or b"{}"))


def loads_or_empty(body: bytes) -> JSONObject:
    return {} if body.startswith(b"--") else loads_object(body)


def of(*names: str) -> list[object]:
    return [pytest.param(recording, id=recording.id) for recording in ALL if folder(recording) in names]


def vectors(recording: Recording) -> list[list[float]]:
    """The vectors of a recorded answer, however it writes them."""
    answer = loads_object(recording.response or b"{}")
    found = [as_object(entry) for entry in as_list(answer.get("data") or answer.get("embeddings"))]
    return [floats(entry.get("embedding") or entry.get("values")) for entry in found]


def floats(value: JSONValue) -> list[float]:
    if isinstance(value, str):
        raw = base64.b64decode(value)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return [as_float(item) or 0.0 for item in as_list(value)]


@pytest.mark.parametrize("recording", of("openai_embeddings"))
def test_embeddings_by_openais_sdk(house: House, recording: Recording) -> None:
    house.says(recording)
    asked = keywords(recording)
    with house.openai() as client:
        found = client.embeddings.create(**asked)
    expected = vectors(recording)
    if asked.get("encoding_format") == "base64":
        told = [floats(cast(str, entry.embedding)) for entry in found.data]
    else:
        told = [entry.embedding for entry in found.data]
    assert told == expected
    assert found.usage.prompt_tokens > 0
    BY_SDK[folder(recording)] += 1


@pytest.mark.parametrize("recording", of("gemini_embeddings"))
def test_embeddings_by_googles_sdk(house: House, recording: Recording) -> None:
    house.says(recording)
    asked = loads_object(recording.request or b"{}")
    requests = [as_object(request) for request in as_list(asked.get("requests"))] or [asked]
    contents = [google.genai.types.Content.model_validate(request["content"]) for request in requests]
    model = as_str(recording.meta["model"]) or ""
    with house.gemini() as client:
        found = client.models.embed_content(model=model, contents=contents)
    told = [entry.values for entry in found.embeddings or []]
    answer = loads_object(recording.response or b"{}")
    expected = vectors(recording) or [floats(as_object(answer["embedding"])["values"])]
    assert told[: len(expected)] == expected
    BY_SDK[folder(recording)] += 1


def named(identifier: str) -> Recording:
    return next(recording for recording in ALL if recording.id == identifier)


@pytest.mark.parametrize("encoding", ["default", "float", "base64"])
def test_openais_sdk_gets_geminis_vectors(house: House, encoding: str) -> None:
    recording = named("gemini_embeddings/embedding-basic-functionality-gemini-embedding-001-can-handle-a")
    house.says(recording)
    chosen: dict[str, Any] = {} if encoding == "default" else {"encoding_format": encoding}
    with house.openai() as client:
        found = client.embeddings.create(model="as-gemini", input="Ruby", dimensions=768, **chosen)
    (expected,) = vectors(recording)
    told: Any = found.data[0].embedding
    assert (floats(told) if encoding == "base64" else told) == pytest.approx(expected, rel=1e-6)
    asked = loads_object(house.vendor.asked[0].body)
    assert as_object(as_list(asked["requests"])[0])["outputDimensionality"] == 768
    assert found.model == "as-gemini"


@pytest.mark.parametrize("name", ["embeddings-dimensions", "embeddings-mixed-batch", "v1-embedding"])
def test_googles_sdk_gets_openais_vectors(house: House, name: str) -> None:
    recording = named(f"openai_embeddings/{name}")
    house.says(recording)
    expected = vectors(recording)
    texts = [f"text {number}" for number in range(len(expected))]
    with house.gemini() as client:
        found = client.models.embed_content(model="as-openai", contents=texts)
    assert [entry.values for entry in found.embeddings or []] == expected
    assert loads_object(house.vendor.asked[0].body)["input"] == texts


@pytest.mark.parametrize("recording", of("gemini_predict"))
def test_predict_by_googles_sdk(house: House, recording: Recording) -> None:
    house.says(recording)
    with house.gemini(vertex=True) as client:
        found = client.models.embed_content(model="text-embedding-005", contents="Summarize.")
    (entry,) = found.embeddings or []
    (prediction,) = as_list(loads_object(recording.response or b"{}")["predictions"])
    assert entry.values == floats(as_object(as_object(prediction)["embeddings"])["values"])
    assert house.vendor.asked[0].line == "POST /v1beta/models/gemini-embedding-001:predict"
    BY_SDK[folder(recording)] += 1


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("recording", of("openai_images"))
def test_images_by_openais_sdk(house: House, recording: Recording) -> None:
    house.says(recording)
    with house.openai() as client:
        if recording.request is None:
            found = client.images.create_variation(image=("image.png", b"\x89PNG", "image/png"), n=2)
            assert b'name="n"\r\n\r\n2' in house.vendor.asked[0].body
        else:
            asked = keywords(recording)
            found = client.images.generate(**asked)
    expected = [as_object(entry) for entry in as_list(loads_object(recording.response or b"{}")["data"])]
    assert [(entry.url, entry.b64_json) for entry in found.data or []] == [
        (entry.get("url"), entry.get("b64_json")) for entry in expected
    ]
    BY_SDK[folder(recording)] += 1


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("recording", of("openai_audio"))
def test_audio_by_openais_sdk(house: House, recording: Recording) -> None:
    told = house.says(recording)
    file = ("speech.wav", b"RIFF....", "audio/wav")
    with house.openai() as client:
        if recording.request is not None:
            asked = keywords(recording)
            assert client.audio.speech.create(**asked).read() == told
        elif "transcriptions" in recording.path:
            heard = client.audio.transcriptions.create(model="whisper-1", file=file)
            assert heard.text == loads_object(told)["text"]
        else:
            assert client.audio.translations.create(model="whisper-1", file=file).text == loads_object(told)["text"]
    assert house.vendor.asked[0].line == f"POST {recording.path}"
    BY_SDK[folder(recording)] += 1


@pytest.mark.parametrize("recording", of("openai_moderations"))
def test_moderations_by_openais_sdk(house: House, recording: Recording) -> None:
    told = house.says(recording)
    with house.openai() as client:
        if recording.request is None:
            found = client.get(recording.path.removeprefix("/v1"), cast_to=httpx2.Response)
            assert loads(found.content) == loads(told)
        else:
            asked = keywords(recording)
            moderated = client.moderations.create(**asked)
            assert moderated.id == loads_object(told)["id"]
    BY_SDK[folder(recording)] += 1


@pytest.mark.parametrize("recording", of("openai_completions"))
def test_completions_by_openais_sdk(house: House, recording: Recording) -> None:
    house.says(recording)
    asked = keywords(recording)
    with house.openai() as client:
        if asked.get("stream"):
            with client.completions.create(**asked) as stream:
                texts = [chunk.choices[0].text for chunk in stream if chunk.choices]
            assert len(texts) > 1 and any(texts)
        else:
            found = client.completions.create(**asked)
            expected = as_object(as_list(loads_object(recording.response or b"{}")["choices"])[0])
            assert found.choices[0].text == expected["text"]
    BY_SDK[folder(recording)] += 1


@pytest.mark.parametrize("recording", of("gemini_cache"))
def test_caches_by_googles_sdk(house: House, recording: Recording) -> None:
    told = loads_object(house.says(recording))
    with house.gemini() as client:
        if recording.request is None:
            client.caches.delete(name=recording.path.removeprefix("/v1beta/"))
        else:
            config = google.genai.types.CreateCachedContentConfig(contents="Once upon a time.", ttl="300s")
            made = client.caches.create(model="gemini-2.5-flash", config=config)
            assert made.name == told["name"]
            assert loads_object(house.vendor.asked[0].body)["model"] == "models/gemini-2.5-flash"
    assert house.vendor.asked[0].line == f"{recording.meta['method']} {recording.path}"
    BY_SDK[folder(recording)] += 1


def test_files_and_batches_by_openais_sdk(house: House) -> None:
    """None was recorded: the answers are those of the reference."""
    line = b'{"custom_id":"1","method":"POST","url":"/v1/embeddings","body":{}}\n'
    made = b'{"id":"file-1","object":"file","bytes":66,"created_at":1,"filename":"a.jsonl","purpose":"batch"}'
    batch = (
        b'{"id":"batch_1","object":"batch","endpoint":"/v1/embeddings","input_file_id":"file-1","status":"validating"}'
    )
    house.vendor.asked.clear()
    with house.openai() as client:
        house.vendor.answer = (200, b"application/json", made)
        assert client.files.create(file=("a.jsonl", line), purpose="batch").id == "file-1"
        assert line in house.vendor.asked[0].body
        house.vendor.answer = (200, b"application/octet-stream", line)
        assert client.files.content("file-1").read() == line
        house.vendor.answer = (200, b"application/json", batch)
        begun = client.batches.create(
            input_file_id="file-1", endpoint="/v1/embeddings", completion_window="24h", metadata={"a": "b"}
        )
        assert begun.id == client.batches.retrieve("batch_1").id == client.batches.cancel("batch_1").id
    assert [asked.line for asked in house.vendor.asked] == [
        "POST /v1/files",
        "GET /v1/files/file-1/content",
        "POST /v1/batches",
        "GET /v1/batches/batch_1",
        "POST /v1/batches/batch_1/cancel",
    ]


def test_every_exchange_was_replayed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts, for each server that they ran on."""
    if len(request.session.items) < 2 * len(ALL):
        pytest.skip("a part of this file was run alone")
    recorded = Counter(folder(recording) for recording in ALL)
    with capsys.disabled():
        lines = [f"{name}: {recorded[name]} recorded, {RAW[name]} raw, {BY_SDK[name]} by SDK" for name in FOLDERS]
        sys.stdout.write("\nreplayed through the gateway, on uvicorn and hypercorn\n" + "\n".join(lines) + "\n")
    if sum(RAW.values()) + sum(BY_SDK.values()):
        assert {name: count // 2 for name, count in RAW.items()} == dict(recorded)
        assert {name: count // 2 for name, count in BY_SDK.items()} == dict(recorded)
