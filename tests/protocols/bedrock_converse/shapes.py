"""Amazon's own description of Converse, as botocore has it: what a request may be, and what an answer says."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, cast

import botocore.session
from botocore.eventstream import EventStream
from botocore.model import OperationModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from asgi_llmgw.json import loads_object
from asgi_llmgw.protocols.base import EncodedRequest
from asgi_llmgw.protocols.bedrock_converse.paths import parse_path

_ENDLESS: Final = {"ConversationalModelId"}
"""Patterns that take Python for ever."""


@cache
def operation(name: str) -> OperationModel:
    """`Converse` or `ConverseStream`."""
    model = botocore.session.Session().get_service_model("bedrock-runtime")
    return cast(OperationModel, model.operation_model(name))


def parameters(request: EncodedRequest) -> dict[str, Any]:
    """The arguments with which botocore's own client would make this call."""
    shape = operation(_operation(request)).input_shape
    value = _native(shape, loads_object(request.body))
    return {"modelId": parse_path(request.path).model, **value}


def check_request(request: EncodedRequest) -> dict[str, Any]:
    """Amazon's client takes these arguments, and writes this very call for them.

    Raises:
        AssertionError: it does not.
    """
    model = operation(_operation(request))
    given = parameters(request)
    report = ParamValidator().validate(given, model.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert list(_complaints(model.input_shape, given, "request")) == []
    written = create_serializer("rest-json", include_validation=False).serialize_to_request(given, model)
    assert written["method"] == "POST"
    assert written["url_path"] == request.path
    assert loads_object(written["body"]) == loads_object(request.body)
    return given


def keep_the_rules(turns: list[dict[str, Any]], name: str) -> None:
    """What the service demands and its description does not say."""
    roles = [turn["role"] for turn in turns]
    assert roles == [("user", "assistant")[number % 2] for number in range(len(roles))], name
    documents: list[object] = []
    for before, turn in zip([None, *turns], turns, strict=False):
        blocks = turn["content"]
        assert blocks and all(str(block["text"]).strip() for block in blocks if "text" in block), name
        asked = [_id(block, "toolUse") for block in (before["content"] if before else []) if "toolUse" in block]
        assert [_id(block, "toolResult") for block in blocks if "toolResult" in block] == asked, name
        found = [block["document"] for block in blocks if "document" in block]
        assert not found or any("text" in block for block in blocks), name
        documents += [document["name"] for document in found if isinstance(document, dict)]
    assert len(set(map(str, documents))) == len(documents), name


def _id(block: dict[str, object], kind: str) -> object:
    value = block[kind]
    assert isinstance(value, dict)
    return value["toolUseId"]


def read_answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A whole answer or an error, as botocore's client reads it."""
    told = {"status_code": status, "headers": dict(headers or {}), "body": body}
    return cast(dict[str, Any], create_parser("rest-json").parse(told, operation("Converse").output_shape))


class _Raw:
    """A body in pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def stream(self) -> Iterator[bytes]:
        yield from self._chunks


def read_stream(*chunks: bytes) -> list[dict[str, Any]]:
    """The events of a stream, as botocore's client reads them.

    Raises:
        EventStreamError: the stream tells an exception.
    """
    model = operation("ConverseStream")
    shape = model.output_shape.members["stream"]
    parser = create_parser("rest-json")._event_stream_parser
    return list(EventStream(_Raw(chunks), shape, parser, "ConverseStream"))


def _operation(request: EncodedRequest) -> str:
    return "ConverseStream" if parse_path(request.path).stream else "Converse"


def _native(shape: Shape, value: Any) -> Any:
    """JSON as botocore's arguments: bytes are bytes."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            members = shape.members
            assert set(value) <= set(members), (shape.name, set(value) - set(members))
            return {name: _native(members[name], item) for name, item in value.items()}
        case "list":
            return [_native(shape.member, item) for item in value]
        case "blob":
            return base64.b64decode(value, validate=True)
        case _:
            return value


def _complaints(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """What botocore leaves to the service: words, patterns, and most."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            for name, item in value.items():
                yield from _complaints(shape.members[name], item, f"{path}.{name}")
        case "list":
            for number, item in enumerate(value):
                yield from _complaints(shape.member, item, f"{path}[{number}]")
            if len(value) > shape.metadata.get("max", len(value)):
                yield f"{path} has too many members"
        case "map":
            for key, item in value.items():
                yield from _complaints(shape.key, key, f"{path} key")
                yield from _complaints(shape.value, item, f"{path}.{key}")
        case "string":
            pattern = shape.metadata.get("pattern")
            if shape.metadata.get("enum") and value not in shape.metadata["enum"]:
                yield f"{path}: {value!r} is none of its words"
            if pattern and shape.name not in _ENDLESS and not re.fullmatch(pattern, value):
                yield f"{path}: {value!r} does not look like {pattern}"
            if len(value) > shape.metadata.get("max", len(value)):
                yield f"{path} is too long"
        case "integer" | "float":
            if not shape.metadata.get("min", value) <= value <= shape.metadata.get("max", value):
                yield f"{path}: {value} is out of range"
        case _:
            return
