"""The recorded lists of models: the same names, asked of the running gateway by each vendor's own SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import anthropic
import openai
import pytest
from google import genai

from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import JSONObject, as_int, as_list, as_object, as_str, loads_object
from tests.servers import background, uvicorn_server
from tests.wire import needs_wire, recordings

pytestmark = needs_wire

KINDS: Final = {"openai_models": "openai", "anthropic_models": "anthropic", "gemini_models": "gemini"}


def listed(folder: str) -> list[JSONObject]:
    """What the vendor listed."""
    (found,) = recordings(folder)
    assert found.response is not None
    told = loads_object(found.response)
    return [as_object(entry) for entry in as_list(told.get("data", told.get("models")))]


def name_of(entry: JSONObject) -> str:
    return as_str(entry.get("id")) or (as_str(entry.get("name")) or "").removeprefix("models/")


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """A gateway for each list, that has the models of the list by their own names."""
    with background() as running:
        found = {}
        for folder, kind in KINDS.items():
            names = [name_of(entry) for entry in listed(folder)]
            document = {
                "providers": {kind: {"api_key": "k"}},
                "models": {name: {"targets": [f"{kind}/{name}"]} for name in names},
            }
            app = build_app(parse_config(document, environ={}), access_log=None)
            found[folder] = running.enter(uvicorn_server(app))
        yield found


def test_openai_s_list(urls: dict[str, str], report: Callable[[str, int], None]) -> None:
    recorded = listed("openai_models")
    with openai.OpenAI(base_url=urls["openai_models"] + "/v1", api_key="any") as client:
        models = client.models.list().data
        one = client.models.retrieve("gpt-4-turbo" if "gpt-4-turbo" in {m.id for m in models} else "gpt-4")
    assert [model.id for model in models] == [name_of(entry) for entry in recorded]
    assert {model.object for model in models} == {"model"} and all(model.created for model in models)
    extra = one.model_extra or {}
    assert (extra["context_window"], extra["providers"]) == (8192, ["openai"])
    assert extra["pricing"]["currency"] == "USD"
    assert extra["capabilities"]["tools"] is True
    report("models of the recorded lists in the hands of the vendors' SDKs", len(models))


def test_anthropic_s_list(urls: dict[str, str], report: Callable[[str, int], None]) -> None:
    recorded = listed("anthropic_models")
    with anthropic.Anthropic(base_url=urls["anthropic_models"], api_key="any") as client:
        models = list(client.models.list())
        assert [model.id for model in models] == [name_of(entry) for entry in recorded]
        for model, entry in zip(models, recorded, strict=True):
            told = client.models.retrieve(model.id).to_dict()
            for key in ("max_input_tokens", "max_tokens"):
                assert told[key] == entry[key], model.id
            said, known = as_object(entry["capabilities"]), as_object(told["capabilities"])  # type: ignore[arg-type]
            assert known
            for name, supported in known.items():
                assert as_object(supported)["supported"] == as_object(said[name])["supported"], (model.id, name)
            assert (told["type"], bool(told["display_name"])) == ("model", True)
    report("models of the recorded lists in the hands of the vendors' SDKs", len(models))


def test_google_s_list(urls: dict[str, str], report: Callable[[str, int], None]) -> None:
    recorded = listed("gemini_models")
    client = genai.Client(api_key="any", http_options={"base_url": urls["gemini_models"]})
    models = list(client.models.list())
    assert [model.name for model in models] == [entry["name"] for entry in recorded]
    known = 0
    for model, entry in zip(models, recorded, strict=True):
        if model.input_token_limit is not None:
            known += 1
            assert model.input_token_limit == as_int(entry["inputTokenLimit"]), model.name
            assert model.output_token_limit == as_int(entry["outputTokenLimit"]), model.name
            assert bool(model.thinking) == bool(entry.get("thinking")), model.name
    assert known >= 15
    report("models of the recorded lists in the hands of the vendors' SDKs", len(models))
    report("limits of models as the vendors list them", known + len(listed("anthropic_models")))
