"""The conformance suite: this gateway passes it, and one that is at fault is shown to be."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from asgi_llmgw.cli import main
from asgi_llmgw.config import parse_config
from asgi_llmgw.conformance.answer import Answer
from asgi_llmgw.conformance.cases import CASES, Case
from asgi_llmgw.conformance.command import CLIENT_KEY, VENDOR_KEY, cases_named, check_gateway, config_text
from asgi_llmgw.conformance.judge import complaints
from asgi_llmgw.conformance.run import Result, Selection, model_name, run_cases, told_once
from asgi_llmgw.conformance.table import failed, table
from asgi_llmgw.conformance.upstream import Asked, scripted_vendor
from asgi_llmgw.conformance.vendors import VENDORS
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_list, loads_object
from asgi_llmgw.protocols import PROTOCOLS
from tests.conformance.careless import CarelessGateway
from tests.servers import uvicorn_server

ANYWHERE = "127.0.0.1:0"


@pytest.fixture(scope="module")
def ours() -> list[Result]:
    """Everything, with this gateway."""
    return asyncio.run(check_gateway(Selection(base_url="", api_key=""), listen=ANYWHERE))


@pytest.mark.parametrize("upstream", PROTOCOLS)
@pytest.mark.parametrize("client", PROTOCOLS)
def test_this_gateway_passes(ours: list[Result], client: Protocol, upstream: Protocol) -> None:
    """P0 P1 P2 P3 P4 P5 P6 P7 P9 T8 T9 F1 F16 F147 U1 U4 U5"""
    results = [result for result in ours if (result.client, result.upstream) == (client, upstream)]
    assert len(results) >= 30
    assert [(result.case.label, result.details) for result in results if result.outcome != "pass"] == []


async def _careless(cases: Sequence[str]) -> list[Result]:
    async with (
        scripted_vendor("127.0.0.1", 0) as (vendor, address),
        uvicorn_server(CarelessGateway(f"{address}/openai/v1")) as url,
    ):
        selection = Selection(base_url=url, api_key="any", upstreams=("openai_chat",), cases=cases_named(cases))
        return await run_cases(selection, vendor)


@pytest.mark.anyio
async def test_a_gateway_at_fault_is_shown_to_be() -> None:
    """P1 P4"""
    names = ["text", "parallel-tools", "split-characters", "interleaved-tools", "ends-early", "cut"]
    results = await _careless(names)
    outcomes = {
        result.case.name: result.outcome
        for result in results
        if result.client == "anthropic_messages" and result.case.stream
    }
    assert outcomes == {
        "text": "pass",
        "parallel-tools": "pass",
        "split-characters": "pass",
        "interleaved-tools": "fail",
        "ends-early": "fail",
        "cut": "fail",
    }
    told = table(results)
    assert 'the calls are weather(), clock({"city":{"zone":"Paris"}"CET"})' in told
    assert "it ends like a complete answer (finish stop)" in told


@pytest.mark.anyio
async def test_an_endpoint_that_a_gateway_does_not_have_is_skipped() -> None:
    results = await _careless(["text"])
    skipped = {(result.client, result.case.stream) for result in results if result.outcome == "skip"}
    assert skipped == {(client, stream) for client in PROTOCOLS for stream in (True, False)} - {
        ("anthropic_messages", True)
    }
    assert all("404" in detail for result in results if result.outcome == "skip" for detail in result.details)


def _case(name: str, *, stream: bool) -> Case:
    return next(case for case in CASES if case.name == name and case.stream == stream)


@pytest.mark.parametrize(
    ("name", "answer", "complaint"),
    [
        ("status-401", Answer(502, error="no", raw=b"key sk-of-the-vendor-0001"), "key for the vendor is shown"),
        ("status-429", Answer(429, error="no", retry_after=None), "retry-after is None, not 7"),
        ("status-503", Answer(500, error="no"), "the status is 500, not 503 or 529"),
        ("status-400", Answer(400, error=""), "the error has no message"),
        ("empty", Answer(terminated=True, finish="stop"), "as if all were well"),
        ("usage", Answer(text="Hello, world.", finish="stop", terminated=True), "the usage is None"),
        ("tools-finish-stop", Answer(finish="stop", terminated=True), "the finish is stop, not tool_calls"),
    ],
)
def test_a_wrong_answer_is_named(name: str, answer: Answer, complaint: str) -> None:
    asked = Asked("openai_chat", False, {}, "sk-of-the-vendor-0001")
    assert any(complaint in found for found in complaints(_case(name, stream=False), "gemini_generate", answer, asked))


GOOD = Answer(text="Hello, world.", finish="stop", terminated=True)


@pytest.mark.parametrize(
    ("name", "protocol", "body", "complaint"),
    [
        (
            "tool-error",
            "openai_chat",
            {"messages": [{"role": "tool", "content": "the disk is full"}]},
            "as an ordinary result",
        ),
        ("tool-error", "openai_chat", {"messages": []}, "did not reach the vendor"),
        ("schema", "openai_chat", {"tools": []}, "the tool's schema did not reach the vendor"),
        (
            "schema",
            "gemini_generate",
            {"parameters": {"type": ["object", "null"], "properties": {"level": {"enum": [1, 2]}}, "$defs": {}}},
            "Gemini knows no $defs",
        ),
        ("schema", "openai_chat", {"parameters": {"properties": {"level": {"type": "object"}}}}, "enum of numbers"),
        (
            "schema",
            "gemini_generate",
            {"parameters_json_schema": {"properties": {"level": {"enum": []}}}},
            "the enum of numbers became",
        ),
    ],
)
def test_a_request_that_lost_something_is_named(
    name: str, protocol: Protocol, body: JSONObject, complaint: str
) -> None:
    """P7 P9"""
    found = complaints(_case(name, stream=False), "anthropic_messages", GOOD, Asked(protocol, False, body, ""))
    assert any(complaint in text for text in found)


def test_nothing_checked_is_not_passed() -> None:
    skipped = Result("openai_chat", "openai_chat", CASES[0], "skip", ("404",))
    assert failed([skipped])
    assert failed([])


def test_what_is_wrong_is_told_once_for_all_pairs() -> None:
    """A wrong key would otherwise be a page of the same."""
    pairs: list[tuple[Protocol, Protocol]] = [("openai_chat", "openai_chat"), ("gemini_generate", "openai_chat")]
    wrong = [Result(*pair, case, "fail", ("it is wrong",)) for case in CASES[:2] for pair in pairs]
    refused = [Result(*pair, case, "fail", ("403",), asked=False) for case in CASES[:2] for pair in pairs]
    assert "FAIL text, an ordinary answer: c>c g>c\n     it is wrong\nFAIL usage" in table(wrong)
    assert table(refused).splitlines()[6:] == ["FAIL 4 results: c>c g>c", "     403", "0 passed, 4 failed, 0 skipped"]


def test_a_breach_of_the_ordinary_answer_is_not_told_again() -> None:
    """One missing name of an event would otherwise fail every case."""
    text, usage, cut = (_case(name, stream=True) for name in ("text", "usage", "cut"))
    wrong = ("no names", "the text is ''")
    pair: tuple[Protocol, Protocol] = ("openai_chat", "gemini_generate")
    results = [
        Result(*pair, text, "fail", wrong, breaches=("no names",)),
        Result(*pair, usage, "fail", ("no names",), breaches=("no names",)),
        Result(*pair, cut, "fail", ("no names",), breaches=("no names",)),
        Result(*pair, cut, "fail", wrong, breaches=("no names",)),
        Result("gemini_generate", "openai_chat", cut, "fail", ("no names",), breaches=("no names",)),
    ]
    told = [(result.outcome, result.details) for result in told_once(results)]
    assert told == [
        ("fail", wrong),
        ("fail", ("no names",)),
        ("pass", ()),
        ("fail", ("the text is ''",)),
        ("fail", ("no names",)),
    ]


def test_the_page_lists_every_case() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "conformance.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| (✓?) ?\| (✓?) ?\|", page, re.MULTILINE)
    modes = {case.name: {other.stream for other in CASES if other.name == case.name} for case in CASES}
    assert listed == [(name, "✓" * (True in kinds), "✓" * (False in kinds)) for name, kinds in modes.items()]


def test_the_rows_stand_in_the_order_of_the_cases() -> None:
    results = [Result("openai_chat", "openai_chat", case, "pass") for case in (CASES[5], CASES[1])]
    assert [line.split()[0] for line in table(results).splitlines()[3:5]] == [CASES[1].name, CASES[5].name]


def test_every_script_belongs_to_a_case() -> None:
    for vendor in VENDORS.values():
        for stream, scripts in ((True, vendor.streams), (False, vendor.wholes)):
            assert scripts.keys() <= {case.script or case.name for case in CASES if case.stream == stream}


def test_the_configuration_it_prints_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--print-config", "--listen", "127.0.0.1:9999", "--model-prefix", "x-"]) == 0
    shown = capsys.readouterr().out
    config = parse_config(tomllib.loads(shown), environ={})
    assert [route.name for route in config.route_table().routes][:4] == [model_name("x-", name) for name in PROTOCOLS]
    assert "http://127.0.0.1:9999/openai/v1" in shown
    assert CLIENT_KEY in shown and VENDOR_KEY in config_text("http://127.0.0.1:1")


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["conformance", "--case", "cut", "--client", "gemini_generate", "--upstream", "anthropic_messages"]
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["case  g>a", "cut  ok", "", "1 passed, 0 failed, 0 skipped"]


def test_the_command_prints_json(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    argv = ["conformance", "--json", "--case", "ends-early", "--client", "openai_chat", "--upstream", "openai_chat"]
    assert main(argv) == 0
    shown = loads_object(capsysbinary.readouterr().out)
    assert (shown["passed"], shown["failed"]) == (1, 0)
    assert as_list(shown["results"])[0] == {
        "client": "openai_chat",
        "upstream": "openai_chat",
        "case": "ends-early",
        "stream": True,
        "ids": ["P4"],
        "outcome": "pass",
        "details": [],
    }


def test_a_gateway_that_is_not_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["conformance", "--base-url", "http://127.0.0.1:1", "--listen", ANYWHERE, "--case", "cut"]
    assert main([*argv, "--client", "openai_chat", "--upstream", "openai_chat"]) == 1
    assert "the gateway cannot be asked" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--case", "dance"], ["--listen", "nowhere"], ["--listen", "127.0.0.1:x"]])
def test_what_makes_no_sense_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", *argv]) == 2
    assert capsys.readouterr().err.startswith("asgi-llmgw: ")
