"""What is wrong with an answer, in words; nothing is said of one that is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from asgi_llmgw.conformance.answer import Answer, ReadCall
from asgi_llmgw.conformance.cases import Case, Expected, Fails, Succeeds
from asgi_llmgw.conformance.readers import read
from asgi_llmgw.conformance.request_checks import check_schema, check_tool_error
from asgi_llmgw.conformance.upstream import Asked
from asgi_llmgw.conformance.vendors import VENDORS
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONError, JSONObject, loads_object

_SHORTEST_SECRET = 8


def complaints(case: Case, client: Protocol, answer: Answer, asked: Asked) -> tuple[str, ...]:
    """Everything wrong with the answer this client got, and with what the vendor was asked."""
    found = [*_answer(case.expected, client, answer), *_key(answer, asked)]
    if found and case.odd and client == asked.protocol and _as_it_came(case, client, answer):
        found = list(_key(answer, asked))
    if case.prompt == "tool-error":
        found += check_tool_error(client, asked)
    elif case.prompt == "schema":
        found += check_schema(asked)
    return tuple(found)


def _answer(expected: Expected, client: Protocol, answer: Answer) -> Iterator[str]:
    match expected:
        case Succeeds():
            yield from _success(expected, client, answer)
        case Fails():
            yield from _failure(expected, answer)
    yield from answer.problems


def _success(expected: Succeeds, client: Protocol, answer: Answer) -> Iterator[str]:
    if answer.status != 200:
        yield f"the status is {answer.status}: {answer.error!r}"
        return
    if answer.error is not None:
        yield f"an error: {answer.error!r}"
    if answer.aborted:
        yield "the connection broke off"
    if not answer.terminated:
        yield "the end of the answer is missing"
    if answer.text != expected.text:
        yield f"the text is {answer.text!r}, not {expected.text!r}"
    if answer.finish != expected.finish:
        yield f"the finish is {answer.finish}, not {expected.finish}"
    if expected.reasoning is not None and answer.reasoning != expected.reasoning:
        yield f"the reasoning is {answer.reasoning!r}, not {expected.reasoning!r}"
    # a message of Chat Completions has one place for each kind, so it has no order
    if expected.order is not None and client != "openai_chat" and tuple(answer.order) != expected.order:
        yield f"the parts come as {', '.join(answer.order)}, not as {', '.join(expected.order)}"
    if expected.usage is not None and answer.usage != expected.usage:
        yield f"the usage is {answer.usage}, not {expected.usage}"
    yield from _calls(expected, answer)


def _calls(expected: Succeeds, answer: Answer) -> Iterator[str]:
    if expected.open_call is not None:
        for call in answer.calls:
            if _whole(call) is not None:
                yield f"the call of {call.name} looks whole: {call.arguments}"
        return
    got = [(call.name, _whole(call)) for call in answer.calls]
    if got != list(expected.calls):
        told = ", ".join(f"{call.name}({call.arguments})" for call in answer.calls) or "none"
        yield f"the calls are {told}"


def _failure(expected: Fails, answer: Answer) -> Iterator[str]:
    if answer.status == 200:
        if not expected.events:
            yield "the status is 200, as if all were well"
        if answer.error is None:
            yield "the connection broke off without an error event" if answer.aborted else "no error is told"
        if answer.terminated or answer.finish is not None:
            yield f"it ends like a complete answer (finish {answer.finish})"
        if not expected.text.startswith(answer.text):
            yield f"the text is {answer.text!r}, not {expected.text!r}"
        for call in answer.calls:
            if _whole(call) is not None:
                yield f"the call of {call.name} looks whole: {call.arguments}"
        return
    if answer.status < 400 or (expected.statuses is not None and answer.status not in expected.statuses):
        wanted = " or ".join(map(str, expected.statuses or (400,)))
        yield f"the status is {answer.status}, not {wanted}"
    if not answer.error and not answer.problems:
        yield "the error has no message"
    if expected.retry_after is not None and answer.retry_after != str(expected.retry_after):
        yield f"retry-after is {answer.retry_after}, not {expected.retry_after}"


def _key(answer: Answer, asked: Asked) -> Iterator[str]:
    if len(asked.key) >= _SHORTEST_SECRET and asked.key.encode() in answer.raw:
        yield "the gateway's key for the vendor is shown to the client"


def _as_it_came(case: Case, client: Protocol, answer: Answer) -> bool:
    """Whether the client got what the vendor sent."""
    script = VENDORS[client].script(case.script or case.name, stream=case.stream)
    if script is None or answer.status != script.status:
        return False
    own = read(client, script.body, stream=case.stream)
    return answer.same_as(replace(own, retry_after=answer.retry_after))


def _whole(call: ReadCall) -> JSONObject | None:
    """The arguments, if they are complete."""
    try:
        return loads_object(call.arguments)
    except JSONError:
        return None
