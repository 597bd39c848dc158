"""The one field of a form."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.operations.multipart import ModelField, boundary_of

FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'


def part(name: str, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


TWO_HEADS = b'Content-Disposition: form-data; name="x"\r\ncontent-disposition: form-data; name="model"\r\n\r\n'
LINE_FEEDS = (
    b'X: y\nContent-Disposition: form-data; name="model"\n\nv\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
)
FILE_PART = b"--b\r\n" + FILE + b"\x00\r\n\r\n-- \xff\r\n-\r\n"
MODEL_FIRST = form(part("model", b"mine"), FILE_PART, part("language", b"de"))
MODEL_LAST = form(FILE_PART, part("model", b"mine"))
NO_MODEL = form(part("n", b"2"), FILE_PART)


def passed(body: bytes, cuts: list[int], *, expected: str | None = None, model: str | None = None) -> tuple[str, bytes]:
    field = ModelField(b"b", expected=expected, model=model)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    out = b"".join(field.feed(body[start:end]) for start, end in pairwise(places))
    return field.value or "", out + field.close()


@given(st.lists(st.integers(min_value=0), max_size=12), st.sampled_from([MODEL_FIRST, MODEL_LAST]))
def test_the_value_is_changed_and_nothing_else_however_the_bytes_are_cut(cuts: list[int], body: bytes) -> None:
    """S3"""
    assert passed(body, cuts, model="theirs") == ("mine", body.replace(b"mine", b"theirs"))
    assert passed(body, cuts) == ("mine", body)


@given(st.lists(st.integers(min_value=0), max_size=12))
def test_a_model_is_added_where_there_is_none(cuts: list[int]) -> None:
    added = part("model", b"theirs")
    assert passed(NO_MODEL, cuts, model="theirs") == ("", NO_MODEL[: -len(b"--b--\r\n")] + added + b"--b--\r\n")
    assert passed(NO_MODEL, cuts) == ("", NO_MODEL)


def test_one_byte_at_a_time() -> None:
    assert passed(MODEL_LAST, list(range(len(MODEL_LAST))), model="x")[1] == MODEL_LAST.replace(b"mine", b"x")


def test_what_stands_around_the_form_is_kept() -> None:
    body = b"preamble\r\n" + MODEL_FIRST + b"epilogue --b\r\n"
    assert passed(body, [3, 50], model="theirs")[1] == body.replace(b"mine", b"theirs")


def test_little_is_held() -> None:
    field = ModelField(b"b", model="m")
    chunk = b"\r\n--" * 20_000
    held = len(b"--b\r\n" + FILE)
    field.feed(b"--b\r\n" + FILE)
    for _ in range(50):
        held += len(chunk) - len(field.feed(chunk))
    assert held < len(b"--b\r\n" + FILE) + 100


def test_a_late_model_must_be_the_one_that_was_routed_by() -> None:
    assert passed(MODEL_LAST, [], expected="mine", model="x")[0] == "mine"
    with pytest.raises(InvalidRequest) as caught:
        passed(MODEL_LAST, [], expected="cheap", model="x")
    assert caught.value.code == "model_after_file"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(form(part("model", b"a"), part("model", b"b")), id="named twice"),
        pytest.param(form(part("model", b"a" * 2000)), id="too long"),
        pytest.param(form(part("model", b"\xff")), id="not UTF-8"),
        pytest.param(form(b"--b\r\nX: y\r\n\r\nv\r\n"), id="no name"),
        pytest.param(form(b"--b\r\n\r\nv\r\n"), id="no head"),
        pytest.param(
            form(b'--b\r\nContent-Disposition: form-data; name="x"; name="model"\r\n\r\nv\r\n'), id="two names"
        ),
        pytest.param(
            form(b"--b\r\n" + TWO_HEADS),
            id="two dispositions",
        ),
        pytest.param(form(b'--b\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nv\r\n'), id="folded"),
        pytest.param(
            form(b"--b\r\n" + LINE_FEEDS),
            id="bare line feeds",
        ),
        pytest.param(
            form(b"--b\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\nv\r\n"), id="encoded name"
        ),
        pytest.param(
            form(part("x", b"\n--b\nContent-Disposition: form-data; name=model\n\ny")), id="boundary in a line"
        ),
        pytest.param(b"--b \r\n" + part("model", b"a"), id="blank after the boundary"),
        pytest.param(b"--bb\r\n" + form(), id="a longer boundary"),
        pytest.param(b"--b\r\n" + b"x" * 20_000, id="a head without end"),
        pytest.param(form(*[part("x", b"")] * 1001), id="more fields than anybody needs"),
        pytest.param(MODEL_FIRST[:-8], id="cut off"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_form_that_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        passed(body, [], model="m")


@pytest.mark.parametrize("name", [b"model", b'"model"', b'"mo\\del"'])
def test_a_name_may_be_written_in_several_ways(name: bytes) -> None:
    body = b"--b\r\ncontent-disposition:form-data;name=%b\r\n\r\nmine\r\n--b--" % name
    assert passed(body, [])[0] == "mine"


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b=c"', b"a b=c"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/mixed; boundary=abc", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("application/json", None),
        ("multipart/form-data; boundary=" + "x" * 71, None),
    ],
)
def test_the_boundary_stands_in_the_content_type(kind: str, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary
