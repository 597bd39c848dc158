from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.json import as_list, as_object, loads_object
from asgi_llmgw.protocols.gemini_generate import CODEC
from tests.wire import Recording, needs_wire, recordings

from .received import read
from .sent import HELLO, THREE, contents

pytestmark = needs_wire


@pytest.mark.parametrize("recording", recordings("gemini_generate"), ids=lambda r: r.folder.name)
def test_an_answer_goes_back_as_it_came(recording: Recording) -> None:
    """R1, R5, R7: as the next request's history, every signed part is the one the vendor sent, in the same order."""
    if recording.response is not None:
        answer = CODEC.decode_response(recording.response)
        bodies = [recording.response]
    else:
        assert recording.stream is not None
        answer = ir.accumulate(read([recording.stream]))
        bodies = [line[5:] for line in recording.stream.splitlines() if line.startswith(b"data:")]
    for choice in answer.choices:
        calls = [part for part in choice.parts if isinstance(part, ir.ToolCallPart)]
        results = tuple(ir.ToolResultPart(part.id, (ir.TextPart("ok"),)) for part in calls)
        sent = contents(HELLO, ir.Message("assistant", choice.parts), ir.Message("tool", results), profile=THREE)
        signed = [as_object(part) for role, parts in sent if role == "model" for part in parts]
        given = [signature for body in bodies for signature in signatures(body, choice.index)]
        stand_ins = ("skip_thought_signature_validator", None)
        assert [s for part in signed if (s := part.get("thoughtSignature")) not in stand_ins] == given


def signatures(body: bytes, index: int) -> list[object]:
    answer = as_object(loads_object(body) if not body.lstrip().startswith(b"[") else {})
    return [
        as_object(part)["thoughtSignature"]
        for candidate in map(as_object, as_list(answer.get("candidates")))
        if candidate.get("index", 0) == index
        for part in as_list(as_object(candidate.get("content")).get("parts"))
        if "thoughtSignature" in as_object(part)
    ]
