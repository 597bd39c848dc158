"""Whole forms."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import InvalidRequest, RequestError
from asgi_llmgw.operations.form import Form, Part, read_form

KIND = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: Audio/WAV; x=y\r\n\r\n'


def part(name: str, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)


def form(*parts: bytes) -> Form:
    return read_form(b"".join(parts) + b"--b--\r\n", KIND)


def test_fields_and_files_are_read_with_what_their_heads_say() -> None:
    """F047"""
    found = form(part("n", b"2"), FILE + b"\x00\r\n\r\n-- \xff\r\n-\r\n", part("prompt", "für".encode()))
    assert found.one("file") == Part("file", b"\x00\r\n\r\n-- \xff\r\n-", "a.wav", "audio/wav")
    assert (found.text("n"), found.text("prompt"), found.text("none")) == ("2", "für", None)
    assert found.names == ["n", "file", "prompt"]


def test_an_empty_field_and_an_empty_form_are_read() -> None:
    assert form(part("n", b"")).one("n") == Part("n", b"")
    assert form(part("n", b"")).text("n") is None
    assert form() == Form(())


def test_what_stands_around_the_form_is_left_out() -> None:
    body = b"preamble\r\n" + part("n", b"2") + b"--b--\r\nepilogue"
    assert read_form(body, KIND).parts == (Part("n", b"2"),)


def test_a_list_is_written_with_brackets_or_without() -> None:
    found = form(part("image[]", b"1"), part("image[]", b"2"), part("image", b"3"))
    assert [one.content for one in found.all("image")] == [b"1", b"2", b"3"]
    assert found.names == ["image"]


def test_a_field_is_not_given_twice() -> None:
    with pytest.raises(InvalidRequest) as caught:
        form(part("n", b"1"), part("n", b"2")).text("n")
    assert caught.value.param == "n"


def test_a_text_is_utf_8() -> None:
    with pytest.raises(InvalidRequest):
        form(part("prompt", b"\xff")).text("prompt")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"--c\r\n--c--", id="another boundary"),
        pytest.param(b"--b", id="cut in the boundary"),
        pytest.param(part("n", b"2"), id="no end"),
        pytest.param(b"--b\r\nContent-Disposition: form-data", id="cut in a head"),
        pytest.param(FILE + b"sound", id="cut in a file"),
        pytest.param(b"--b x\r\n" + part("n", b"2"), id="more behind the boundary"),
        pytest.param(b"--b\r\nX: y\r\n\r\nv\r\n--b--", id="no name"),
        pytest.param(part("n", b"2") * 300 + b"--b--", id="too many"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_form(body, KIND)


def test_what_is_no_form_is_of_an_unsupported_kind() -> None:
    with pytest.raises(RequestError) as caught:
        read_form(b"{}", "application/json")
    assert caught.value.status == 415


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_what_a_client_sends_is_what_is_read(contents: list[bytes]) -> None:
    files = [("image[]", (f"{number}.png", content, "image/png")) for number, content in enumerate(contents)]
    request = httpx.Request("POST", "http://gateway.example", data={"prompt": "a hat"}, files=files or {"x": b""})
    found = read_form(request.read(), request.headers["content-type"])
    assert found.text("prompt") == "a hat"
    assert found.all("image") == [
        Part("image[]", content, f"{number}.png", "image/png") for number, content in enumerate(contents)
    ]


@given(
    st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b'Content-Disposition: form-data; name="n"', b"x"]), max_size=20)
)
def test_junk_is_refused_and_nothing_else_happens(pieces: list[bytes]) -> None:
    try:
        read_form(b"".join(pieces), KIND)
    except InvalidRequest as error:
        assert error.status == 400
