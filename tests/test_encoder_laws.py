"""Whatever is told to an encoder, its client's own SDK takes what comes out."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from asgi_llmgw import ir
from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.json import as_object, loads, loads_object
from asgi_llmgw.protocols import StreamContext, codec
from asgi_llmgw.sse import ServerSentEvent
from tests.strategies import responses, tellings

QUICK = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
CHAT = codec("openai_chat")
CONTEXTS = st.builds(
    StreamContext,
    model=st.none() | st.just("alias"),
    include_usage=st.booleans(),
    include_thoughts=st.booleans(),
    clock=st.just(lambda: 1_700_000_000.0),
    new_id=st.just(lambda prefix: f"{prefix}1"),
)


def functions_only(response: ir.ChatResponse) -> ir.ChatResponse:
    """The SDK's chunks have no type for custom calls."""
    return msgspec.structs.replace(
        response,
        choices=tuple(
            msgspec.structs.replace(
                choice,
                parts=tuple(
                    msgspec.structs.replace(part, kind="function") if isinstance(part, ir.ToolCallPart) else part
                    for part in choice.parts
                ),
            )
            for choice in response.choices
        ),
    )


# one choice: the SDK cannot add up choices that begin out of order
FOR_THE_SDK = responses(most_choices=1).map(functions_only)


def encoded(events: list[ir.StreamEvent], context: StreamContext) -> list[ServerSentEvent]:
    encoder = CHAT.stream_encoder(context)
    return [frame for event in events for frame in encoder.feed(event)] + list(encoder.close())


@given(response=responses(), context=CONTEXTS)
@QUICK
def test_any_answer_becomes_a_completion_the_sdk_takes(response: ir.ChatResponse, context: StreamContext) -> None:
    """Law 4"""
    out = CHAT.encode_response(response, context=context)
    completion = ChatCompletion.model_validate(loads(out.body), strict=True)
    assert completion.model == (context.model or response.model)
    assert len(completion.choices) == len(response.choices)


@given(data=st.data(), response=FOR_THE_SDK, context=CONTEXTS)
@QUICK
def test_any_stream_becomes_chunks_the_sdk_takes(
    data: st.DataObject, response: ir.ChatResponse, context: StreamContext
) -> None:
    """Law 4: each choice finishes once, usage comes last and only where it was asked for, and `[DONE]` ends it."""
    *frames, done = encoded(data.draw(tellings(response)), context)
    assert done.data == b"[DONE]"
    state, finished = ChatCompletionStreamState(), []
    chunks = [ChatCompletionChunk.model_validate(loads(frame.data), strict=True) for frame in frames]
    for chunk in chunks:
        state.handle_chunk(chunk)
        finished += [choice.index for choice in chunk.choices if choice.finish_reason is not None]
    assert sorted(finished) == [choice.index for choice in response.choices]
    told = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(told) <= 1
    assert all(chunk is chunks[-1] and context.include_usage for chunk in told)


@given(data=st.data(), response=FOR_THE_SDK, context=CONTEXTS)
@QUICK
def test_a_stream_that_breaks_anywhere_ends_in_an_error_and_never_in_success(
    data: st.DataObject, response: ir.ChatResponse, context: StreamContext
) -> None:
    """F147 F149: no finish after the break, no `[DONE]`, and nothing after the error."""
    events = data.draw(tellings(response))[:-1]
    cut = data.draw(st.integers(0, len(events)))
    error = UpstreamError("It broke.", failure="transient")
    *frames, last = encoded([*events[:cut], ir.StreamFault(error)], context)
    assert as_object(loads_object(last.data)["error"])["message"] == "It broke."
    for frame in frames:
        ChatCompletionChunk.model_validate(loads(frame.data), strict=True)
    assert frames == encoded(events[:cut], context)[: len(frames)]


def test_every_error_has_a_shape_the_client_knows() -> None:
    """F220"""
    error = GatewayError("Something \u2028 went wrong.")
    frame = CHAT.encode_stream_error(error)
    assert loads_object(frame.data)["error"] == loads_object(CHAT.encode_error(error).body)["error"]
    assert b"\xe2\x80\xa8" not in frame.encode()


def test_a_custom_call_in_the_functions_form_is_told_by_its_name_and_input() -> None:
    call = ir.ToolCallPart("call_1", "grep", "a.*b", kind="custom")
    choice = ir.Choice((call,), ir.FinishReason("tool_calls"))
    out = CHAT.encode_response(ir.ChatResponse((choice,), legacy_functions=True), context=StreamContext())
    (whole,) = ChatCompletion.model_validate(loads(out.body)).choices
    assert whole.message.function_call is not None
    assert (whole.message.function_call.name, whole.message.function_call.arguments) == ("grep", "a.*b")
