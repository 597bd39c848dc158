"""Reasoning settings on their way to Anthropic."""

from __future__ import annotations

import pytest

from asgi_llmgw.ir import Effort, Opaque, Reasoning, ReasoningPart, Sampling, Tool, ToolChoice

from .samples import OWN, assistant, body_of, call, chat, encode, notes_of, result, user


@pytest.mark.parametrize(
    ("effort", "budget"),
    [("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16384), ("xhigh", 32768), ("max", 39_999)],
)
def test_an_effort_becomes_a_budget(effort: Effort, budget: int) -> None:
    limit = 40_000
    body = body_of(chat(reasoning=Reasoning(effort), max_output_tokens=limit))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] == limit


@pytest.mark.parametrize(
    ("budget", "limit", "expected"),
    [
        pytest.param(500, 8000, 1024, id="C5_raised_to_the_least"),
        pytest.param(9000, 5000, 4999, id="C5_below_the_limit"),
        pytest.param(9000, 1025, 1024, id="C5_just_enough"),
        pytest.param(9000, 1024, None, id="C5_no_room"),
        pytest.param(-1, 20_000, 8192, id="left_to_the_model"),
        pytest.param(0, 20_000, None, id="off"),
    ],
)
def test_a_budget_fits_between_the_least_and_the_limit(budget: int, limit: int, expected: int | None) -> None:
    request = chat(reasoning=Reasoning(budget_tokens=budget), max_output_tokens=limit)
    body = body_of(request)
    assert body.get("thinking") == (None if expected is None else {"type": "enabled", "budget_tokens": expected})
    assert body["max_tokens"] == limit
    changed = {note for note in notes_of(request) if note[0].startswith("reasoning")}
    assert bool(changed) == (budget != 0)


def test_our_own_limit_leaves_room_for_the_answer() -> None:
    body = body_of(chat(reasoning=Reasoning("high")))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 16384}
    assert body["max_tokens"] == 16384 + 4096
    largest = body_of(chat(reasoning=Reasoning("max")))
    assert largest["max_tokens"] == 32_000
    assert largest["thinking"] == {"type": "enabled", "budget_tokens": 32_000 - 4096}


@pytest.mark.parametrize(
    ("reasoning", "thinking", "effort"),
    [
        pytest.param(Reasoning("none"), {"type": "disabled"}, None, id="off"),
        pytest.param(Reasoning("minimal"), {"type": "adaptive"}, "low", id="minimal"),
        pytest.param(Reasoning("xhigh"), {"type": "adaptive"}, "xhigh", id="xhigh"),
        pytest.param(Reasoning(budget_tokens=0), {"type": "disabled"}, None, id="budget_0"),
        pytest.param(Reasoning(budget_tokens=4096), {"type": "adaptive"}, "low", id="budget_4096"),
        pytest.param(Reasoning(budget_tokens=31_999), {"type": "adaptive"}, "xhigh", id="budget_31999"),
        pytest.param(Reasoning(budget_tokens=-1), {"type": "adaptive"}, None, id="budget_open"),
        pytest.param(
            Reasoning("high", visible=True), {"type": "adaptive", "display": "summarized"}, "high", id="shown"
        ),
        pytest.param(Reasoning(visible=False), {"type": "adaptive", "display": "omitted"}, None, id="hidden"),
    ],
)
def test_adaptive_models_get_an_effort(reasoning: Reasoning, thinking: object, effort: str | None) -> None:
    body = body_of(chat(reasoning=reasoning), thinking="adaptive")
    assert body["thinking"] == thinking
    assert body.get("output_config") == (None if effort is None else {"effort": effort})


@pytest.mark.parametrize("thinking", ["adaptive", "budget", "none"])
def test_what_is_left_open_stays_open(thinking: str) -> None:
    body = body_of(chat(), thinking=thinking)
    assert "thinking" not in body and "output_config" not in body


def test_a_model_that_does_not_think_is_not_told_to() -> None:
    body, notes = encode(chat(reasoning=Reasoning("high")), thinking="none")
    assert "thinking" not in body
    assert ("reasoning", "dropped") in {(n.path, n.code) for n in notes}
    assert ("reasoning", "dropped") not in {
        (n.path, n.code) for n in encode(chat(reasoning=Reasoning("none")), thinking="none")[1]
    }


def test_a_forced_tool_choice_turns_thinking_off() -> None:
    """J11"""
    request = chat(reasoning=Reasoning("low"), tools=(Tool("f"),), tool_choice=ToolChoice("required"))
    body = body_of(request)
    assert "thinking" not in body and body["tool_choice"] == {"type": "any"}
    assert ("reasoning", "dropped") in notes_of(request)


def test_a_tool_loop_without_its_thinking_turns_thinking_off() -> None:
    """R4"""
    tools = (Tool("look"),)
    bare = chat(user("a"), assistant(call("c")), result("c"), tools=tools, reasoning=Reasoning("low"))
    assert "thinking" not in body_of(bare)
    assert ("reasoning", "dropped") in notes_of(bare)
    thought = ReasoningPart("", Opaque(OWN, "signature", "s"))
    whole = chat(user("a"), assistant(thought, call("c")), result("c"), tools=tools, reasoning=Reasoning("low"))
    assert "thinking" in body_of(whole)


def test_sampling_that_thinking_forbids_is_dropped() -> None:
    sampling = Sampling(temperature=0.2, top_p=0.5, top_k=3)
    request = chat(reasoning=Reasoning("low"), sampling=sampling, max_output_tokens=8000)
    assert not {"temperature", "top_p", "top_k"} & set(body_of(request))
    assert {("temperature", "dropped"), ("top_p", "dropped"), ("top_k", "dropped")} <= notes_of(request)
    allowed = chat(reasoning=Reasoning("low"), sampling=Sampling(temperature=1, top_p=0.95), max_output_tokens=8000)
    assert {"temperature", "top_p"} <= set(body_of(allowed))
