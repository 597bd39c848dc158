"""Run the cases: ask the gateway as a client, with the scripted vendor behind it, and judge what comes back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

import aiohttp

from asgi_llmgw.conformance.answer import Answer
from asgi_llmgw.conformance.cases import CASES, Case
from asgi_llmgw.conformance.judge import complaints
from asgi_llmgw.conformance.readers import read
from asgi_llmgw.conformance.requests import client_request
from asgi_llmgw.conformance.upstream import ScriptedVendor, mark
from asgi_llmgw.conformance.vendors import VENDORS
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.protocols import PROTOCOLS

Outcome: TypeAlias = Literal["pass", "fail", "skip"]

MODELS: Final = "conformance-{protocol}"
"""What the models are called where nobody says otherwise."""

_ORDINARY: Final = "text"
_TOLD_ANYWAY: Final = (_ORDINARY, "usage")
_AT_ONCE: Final = 4
_SECONDS: Final = 30.0
_NOT_SERVED: Final = (404, 405, 501)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked of whom.

    Args:
        base_url: the gateway, without a version: `http://127.0.0.1:8080`.
        api_key: what the gateway takes for a client's key.
        models: the name of the model that stands for a protocol, with `{protocol}` where that belongs.
    """

    base_url: str
    api_key: str = field(repr=False)
    models: str = MODELS
    clients: Sequence[Protocol] = PROTOCOLS
    upstreams: Sequence[Protocol] = PROTOCOLS
    cases: Sequence[Case] = CASES

    def model(self, protocol: Protocol) -> str:
        """The model whose vendor speaks this protocol."""
        return model_name(self.models, protocol)


@dataclass(frozen=True, slots=True)
class Result:
    """One case between one client and one vendor.

    Args:
        details: what is wrong, or why it was skipped.
        asked: the gateway asked this vendor, in the protocol expected.
        breaches: those of the details that are about the form of the answer and not about what it says.
    """

    client: Protocol
    upstream: Protocol
    case: Case
    outcome: Outcome
    details: tuple[str, ...] = ()
    asked: bool = True
    breaches: tuple[str, ...] = ()

    def as_json(self) -> JSONObject:
        """The result for programs."""
        return {
            "client": self.client,
            "upstream": self.upstream,
            "case": self.case.name,
            "stream": self.case.stream,
            "ids": list(self.case.ids.split()),
            "outcome": self.outcome,
            "details": list(self.details),
        }


def model_name(template: str, protocol: Protocol) -> str:
    """The template with the protocol in it; at its end, where it names no place."""
    return template.replace("{protocol}", protocol) if "{protocol}" in template else template + protocol


async def run_cases(selection: Selection, vendor: ScriptedVendor) -> list[Result]:
    """Every case whose script the upstream's protocol has, for every pair; in the order of the table."""
    limit = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session:

        async def one(client: Protocol, upstream: Protocol, case: Case) -> Result:
            async with limit:
                return await _run(session, selection, vendor, client, upstream, case)

        results = await asyncio.gather(
            *(
                one(client, upstream, case)
                for client in selection.clients
                for upstream in selection.upstreams
                for case in selection.cases
                if VENDORS[upstream].script(case.script or case.name, stream=case.stream) is not None
            )
        )
    return told_once(results)


def told_once(results: Sequence[Result]) -> list[Result]:
    """A breach of the protocol that the ordinary answer has is told of it alone: the other cases are about others."""
    ordinary = {
        (result.client, result.upstream, result.case.stream): result.breaches
        for result in results
        if result.case.name == _ORDINARY
    }
    found = []
    for result in results:
        known = ordinary.get((result.client, result.upstream, result.case.stream), ())
        if result.outcome == "fail" and result.case.name not in _TOLD_ANYWAY:
            left = tuple(detail for detail in result.details if detail not in known)
            result = replace(result, outcome="fail" if left else "pass", details=left)
        found.append(result)
    return found


async def _run(
    session: aiohttp.ClientSession,
    selection: Selection,
    vendor: ScriptedVendor,
    client: Protocol,
    upstream: Protocol,
    case: Case,
) -> Result:
    run = secrets.token_hex(8)
    answer = await _ask(session, selection, client, upstream, case, run)
    asked = vendor.asked.pop(run, [])
    if not asked:
        told = f"{answer.status or ''} {answer.error or '; '.join(answer.problems)}".strip()
        if answer.status in _NOT_SERVED:
            return Result(client, upstream, case, "skip", (f"the gateway does not serve this: {told}",), asked=False)
        return Result(client, upstream, case, "fail", (f"the vendor was not asked: {told}",), asked=False)
    last = asked[-1]
    if last.protocol != upstream:
        reason = f"the gateway asks this vendor in {last.protocol}"
        return Result(client, upstream, case, "skip", (reason,), asked=False)
    if VENDORS[upstream].script(case.script or case.name, stream=last.stream) is None:
        return Result(client, upstream, case, "skip", ("the gateway asks the vendor for a stream, or for none",))
    details = complaints(case, client, answer, last)
    outcome: Outcome = "fail" if details else "pass"
    return Result(client, upstream, case, outcome, details, breaches=tuple(answer.problems))


async def _ask(
    session: aiohttp.ClientSession,
    selection: Selection,
    client: Protocol,
    upstream: Protocol,
    case: Case,
    run: str,
) -> Answer:
    text = f"{mark(case.script or case.name, run)} Please go on."
    request = client_request(
        client,
        model=selection.model(upstream),
        prompt=case.prompt,
        text=text,
        stream=case.stream,
        key=selection.api_key,
    )
    url = selection.base_url.rstrip("/").removesuffix("/v1") + request.path
    headers = {**request.headers, "content-type": "application/json"}
    received, aborted = bytearray(), False
    try:
        async with session.post(url, data=dumps(request.body), headers=headers) as response:
            try:
                async for chunk in response.content.iter_any():
                    received += chunk
            except (aiohttp.ClientError, TimeoutError):
                aborted = True
            answer = read(client, bytes(received), status=response.status, stream=case.stream, aborted=aborted)
            answer.retry_after = response.headers.get("retry-after")
            return answer
    except TimeoutError:
        return Answer(status=0, aborted=True, problems=[f"no answer within {_SECONDS:.0f} seconds"])
    except aiohttp.ClientError as error:
        return Answer(status=0, aborted=True, problems=[f"the gateway cannot be asked: {type(error).__name__}"])
