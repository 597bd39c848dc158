"""Reading when a vendor wants to be asked again (F136)."""

from __future__ import annotations

import pytest

from asgi_llmgw.providers.classify import MAX_RETRY_AFTER, retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param((), None, id="absent"),
        pytest.param(((b"retry-after", b"2"),), 2.0, id="seconds"),
        pytest.param(((b"retry-after", b" 1.5 "),), 1.5, id="fraction"),
        pytest.param(((b"retry-after", b"0"),), 0.0, id="zero"),
        pytest.param(((b"retry-after", b"-1"),), 0.0, id="negative"),
        pytest.param(((b"retry-after", b"1e9"),), MAX_RETRY_AFTER, id="for_ever"),
        pytest.param(((b"retry-after", b"inf"),), MAX_RETRY_AFTER, id="infinite"),
        pytest.param(((b"retry-after", b"nan"),), None, id="not_a_number"),
        pytest.param(((b"retry-after", b"soon"),), None, id="junk"),
        pytest.param(((b"retry-after", b""),), None, id="empty"),
        pytest.param(((b"retry-after", b"\xff\xfe"),), None, id="bytes"),
        pytest.param(((b"retry-after", b"Tue, 14 Nov 2023 22:13:50 GMT"),), 30.0, id="date"),
        pytest.param(((b"retry-after", b"Tue, 14 Nov 2023 22:13:00 GMT"),), 0.0, id="past_date"),
        pytest.param(((b"retry-after", b"Tue, 14 Nov 9999 99:13:00 GMT"),), None, id="impossible_date"),
        pytest.param(((b"retry-after-ms", b"250"), (b"retry-after", b"1")), 0.25, id="milliseconds_win"),
        pytest.param(((b"retry-after-ms", b"soon"), (b"retry-after", b"1")), 1.0, id="broken_milliseconds"),
    ],
)
def test_reads_when_to_try_again(headers: tuple[tuple[bytes, bytes], ...], expected: float | None) -> None:
    assert retry_after(headers, clock=lambda: NOW) == expected
