"""What a Gemini request says is translated, told about, or refused; it never disappears in silence."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import pytest

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.gemini_generate import CODEC

from .served import PATH

USER_DATA: Final = {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "googleSearch"}
"""What the client or the vendor fills: there, every name is allowed and carried whole."""

FULL: Final[JSONObject] = {
    "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "Hello"},
                {
                    "inlineData": {"mimeType": "image/png", "data": "aGk="},
                    "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
                },
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}},
            ],
        },
        {"role": "model", "parts": [{"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}}]},
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "1",
                        "name": "f",
                        "response": {"output": "x"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
                    }
                }
            ],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}], "googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {"temperature": 0.5, "thinkingConfig": {"thinkingLevel": "LOW"}},
}


def objects(value: JSONValue, path: str = "") -> Iterator[str]:
    """The path of every object that is not the user's own."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            if key not in USER_DATA:
                yield from objects(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from objects(inner, f"{path}[{index}]")


def with_member(path: str, name: str) -> JSONObject:
    """The request with one more member in the object at this path."""
    request = copy.deepcopy(FULL)
    node: JSONValue = request
    for step in path.replace("[", ".[").split(".") if path else ():
        if step.startswith("["):
            assert isinstance(node, list)
            node = node[int(step[1:-1])]
        else:
            assert isinstance(node, dict)
            node = node[step]
    assert isinstance(node, dict)
    node[name] = "secret sauce"
    return request


@pytest.mark.parametrize("path", [pytest.param(path, id=path or "the_request") for path in objects(FULL)])
@pytest.mark.parametrize("name", ["xUnheardOf", "x_unheard_of"])
def test_an_unknown_member_of_any_object_is_told_about(path: str, name: str) -> None:
    """F049: as an extension, or among the tools as one that only the vendor runs."""
    request = CODEC.decode_request(PATH, dumps(with_member(path, name)))
    told = {extension.path for extension in request.extensions}
    told |= {f"tools[0].{tool.kind}" for tool in request.tools if isinstance(tool, ir.ServerTool)}
    assert (f"{path}.xUnheardOf" if path else "xUnheardOf") in told
