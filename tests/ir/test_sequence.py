from __future__ import annotations

from hypothesis import given

from asgi_llmgw.ir import PartEnd, PartStart, StreamEvent, TextDelta, TextPart, accumulate, check_stream
from asgi_llmgw.ir.sequence import Sequencer
from tests.strategies import responses, tellings


def sequenced(events: list[StreamEvent]) -> list[StreamEvent]:
    sequencer = Sequencer()
    return [told for event in events for told in sequencer.feed(event)]


def test_the_first_part_is_told_at_once_and_the_others_wait() -> None:
    sequencer = Sequencer()
    first, second = PartStart(0, TextPart("")), PartStart(1, TextPart(""))
    assert list(sequencer.feed(first)) == [first]
    assert list(sequencer.feed(second)) == []
    assert list(sequencer.feed(TextDelta(1, "b"))) == []
    assert list(sequencer.feed(TextDelta(0, "a"))) == [TextDelta(0, "a")]
    assert list(sequencer.feed(PartEnd(0))) == [PartEnd(0), second, TextDelta(1, "b")]
    assert list(sequencer.feed(TextDelta(1, "c"))) == [TextDelta(1, "c")]


@given(responses().flatmap(tellings))
def test_any_interleaving_becomes_a_row_that_tells_the_same(events: list[StreamEvent]) -> None:
    """Law 8."""
    row = sequenced(events)
    opened = [event.index for event in row if isinstance(event, PartStart)]
    closed = [event.index for event in row if isinstance(event, PartEnd)]
    assert opened == closed
    assert accumulate(check_stream(row)) == accumulate(events)
