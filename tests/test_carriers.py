from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.carriers import MARK, Envelope, open_envelope, seal, unseal
from asgi_llmgw.ir import Opaque
from tests.strategies import PROTOCOL, TEXT, build, maybe

KEY = b"k" * 32
STATE = Opaque("anthropic_messages", "signature", "EqQBCgIYAhIM1gbc==")
KINDS = st.sampled_from(["signature", "redacted", "encrypted", "thought_signature"])
STATES = build(Opaque, protocol=PROTOCOL, kind=KINDS, payload=TEXT, id=maybe(TEXT))
PLACES = st.sampled_from(["reasoning", "call", "text", "empty", "media"])
ENVELOPES = build(Envelope, opaque=STATES, place=PLACES, call_id=TEXT, length=st.integers(0, 10**9))


def standard(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


@given(ENVELOPES, st.binary(min_size=1, max_size=64))
def test_what_was_sealed_comes_back_unchanged(envelope: Envelope, key: bytes) -> None:
    """R1."""
    sealed = seal(envelope, key)
    assert open_envelope(sealed, key) == envelope
    assert unseal(sealed, key) == envelope.opaque


@given(STATES)
def test_sealed_text_survives_clients_that_read_it_as_bytes(state: Opaque) -> None:
    """R5: SDKs decode base64 and encode it again, in either alphabet, with or without padding."""
    sealed = seal(state, KEY)
    raw = base64.urlsafe_b64decode(sealed)
    for spelled in (base64.urlsafe_b64encode(raw), base64.b64encode(raw)):
        text = spelled.decode()
        assert text.startswith(MARK)
        assert unseal(text, KEY) == unseal(text.rstrip("="), KEY) == unseal(text + "==", KEY) == state


@given(STATES, st.data())
def test_tampering_is_noticed(state: Opaque, data: st.DataObject) -> None:
    """R3."""
    raw = bytearray(base64.urlsafe_b64decode(seal(state, KEY)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert unseal(base64.urlsafe_b64encode(raw).decode(), KEY) is None


@given(STATES, st.integers(0, 200))
def test_a_cut_is_noticed(state: Opaque, length: int) -> None:
    """R2."""
    sealed = seal(state, KEY)
    assert unseal(sealed[: min(length, len(sealed) - 1)], KEY) is None


@given(STATES, st.binary(min_size=1, max_size=64).filter(lambda key: key.rstrip(b"\0") != KEY))
def test_another_key_opens_nothing(state: Opaque, key: bytes) -> None:
    assert unseal(seal(state, KEY), key) is None


@pytest.mark.parametrize("text", ["", "EqQBCgIYAhIM", MARK, f"{MARK}é", f"{MARK}!!!!", f"{MARK}AAAA", STATE.payload])
def test_what_is_not_sealed_is_not_ours(text: str) -> None:
    assert unseal(text, KEY) is None


def test_the_mark_means_the_same_in_both_alphabets() -> None:
    assert MARK.isalnum() and len(MARK) % 4 == 0
    assert seal(STATE, KEY).startswith(MARK) and standard(seal(STATE, KEY)).startswith(MARK)
