"""The door to JSON: what comes in, what is kept, and what stays outside."""

from __future__ import annotations

import json as stdlib
import math
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.json import (
    MAX_DEPTH,
    MAX_NODES,
    Document,
    JSONError,
    JSONValue,
    as_bool,
    as_float,
    as_int,
    as_list,
    as_object,
    as_str,
    dumps,
    dumps_lines,
    dumps_text,
    loads,
    loads_object,
    loads_request,
    loads_strings,
    members,
    repeated_member,
    replace_model,
    type_name,
    with_members,
)

BOM = b"\xef\xbb\xbf"
TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_again(value: JSONValue) -> None:
    assert loads(dumps(value)) == value


@given(VALUES)
def test_the_standard_library_reads_what_we_write(value: JSONValue) -> None:
    assert stdlib.loads(dumps(value)) == value


@given(st.binary(max_size=64))
def test_random_bytes_are_json_or_a_json_error(data: bytes) -> None:
    for read in (loads, loads_object, loads_request, members):
        try:
            read(data)
        except JSONError as exc:
            assert exc.code == "invalid_json"
    assert repeated_member(data, ("model",)) in (None, "model")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 10**6, id="F027 a million open arrays"),
        pytest.param(b"[" * 10**6 + b"]" * 10**6, id="F027 a million nested arrays"),
        pytest.param(b'{"a":' * 10**5, id="F027 a hundred thousand open objects"),
        pytest.param(b'{"a":' * 10**5 + b"1" + b"}" * 10**5, id="F027 a hundred thousand nested objects"),
        pytest.param(b'{"a":' * 300 + b"1" + b"}" * 300, id="F028 deeper than other parsers write"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="F028 one deeper than allowed"),
        pytest.param(b'{"tools":[' + b'{"a":' * 63 + b"1" + b"}" * 63 + b"]}", id="F029 a deep tool schema"),
    ],
)
def test_deep_nesting_is_refused_quickly(body: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(JSONError) as caught:
        loads_request(body)
    assert caught.value.code == "json_too_deep"
    assert time.perf_counter() - started < 1


def test_the_deepest_allowed_body_is_read_and_written() -> None:
    """F028"""
    body = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert dumps(loads_request(body)) == body


def test_deep_nesting_is_refused_wherever_json_is_read() -> None:
    """F027"""
    body = b'{"a":' * 10**5 + b"1" + b"}" * 10**5
    for read in (loads, loads_object, members):
        with pytest.raises(JSONError) as caught:
            read(body)
        assert caught.value.code == "json_too_deep"


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(b"{}", id="objects"),
        pytest.param(b"[[[[]]]]", id="nested arrays"),
        pytest.param(b'{"a":[0]}', id="small objects"),
        pytest.param(b"1", id="numbers"),
    ],
)
def test_too_many_values_are_refused_before_they_cost_memory(item: bytes) -> None:
    """F030"""
    body = b'{"a":[' + (item + b",") * (7 * 1024 * 1024 // (len(item) + 1)) + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(JSONError) as caught:
            loads_request(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == "json_too_large"
    assert peak < 100 * 1024 * 1024


def test_values_that_only_the_parser_can_count_are_limited_too() -> None:
    """F030"""
    body = b'{"a":[' + b"[0]," * (MAX_NODES // 2) + b"0]}"
    with pytest.raises(JSONError) as caught:
        loads_request(body)
    assert caught.value.code == "json_too_large"


def test_commas_and_brackets_inside_strings_are_not_values() -> None:
    """F030"""
    text = ',[{\\"' * (MAX_NODES + 1)
    assert loads_request(b'{"a":"' + text.encode() + b'"}') == {"a": text.replace("\\", "")}


def test_an_unclosed_string_is_not_scanned_again_and_again() -> None:
    """F030: the search for strings is linear even where none ends."""
    started = time.perf_counter()
    with pytest.raises(JSONError):
        loads_request(b'{"a":"' + b'\\",' * (MAX_NODES + 1))
    assert time.perf_counter() - started < 2


def test_an_integer_of_five_thousand_digits_is_refused() -> None:
    """F031"""
    with pytest.raises(JSONError):
        loads_request(b'{"seed":' + b"9" * 5000 + b"}")


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, -(2**63) - 1, 2**64, 2**70, -(2**70), 10**300])
def test_big_integers_keep_every_digit(number: int) -> None:
    """F032"""
    body = b'{"seed":%d}' % number
    assert loads_request(body) == {"seed": number}
    assert dumps(loads_request(body)) == body


@pytest.mark.parametrize("text", [b"1e400", b"-1e400", b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_are_not_finite_are_refused(text: bytes) -> None:
    """F033"""
    with pytest.raises(JSONError):
        loads_request(b'{"temperature":' + text + b"}")


def test_a_boolean_is_not_a_number_and_a_whole_float_is_an_integer() -> None:
    """F033"""
    assert as_int(True) is None
    assert as_float(False) is None
    assert as_int(1.0) == 1
    assert as_int(1.5) is None
    assert as_int(loads(b"-0")) == 0


def test_an_integer_beyond_every_float_is_no_float() -> None:
    """F032"""
    assert as_float(10**400) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'"\\ud800"', id="F035 lone high surrogate"),
        pytest.param(b'"\\udc00"', id="F035 lone low surrogate"),
        pytest.param(b'"\\ud800\\u0041"', id="F035 half a pair"),
        pytest.param(b'"\xff"', id="F036 not UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="F036 CESU-8"),
        pytest.param(b'"\xc0\x80"', id="F036 overlong"),
        pytest.param(b'"\xf4\x90\x80\x80"', id="F036 beyond Unicode"),
        pytest.param('{"a":1}'.encode("utf-16"), id="F036 UTF-16"),
        pytest.param('{"a":1}'.encode("utf-32"), id="F036 UTF-32"),
        pytest.param(b"{} {}", id="F037 two documents"),
        pytest.param(b"{}x", id="F037 trailing bytes"),
        pytest.param(b"", id="F037 empty"),
        pytest.param(b"null", id="F037 null"),
        pytest.param(b"[]", id="F037 an array"),
        pytest.param(b'"x"', id="F037 a string"),
        pytest.param(b'{"a":1,}', id="trailing comma"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b'{"a":01}', id="leading zero"),
        pytest.param(b'{"a":"\n"}', id="F038 raw line feed"),
        pytest.param(b'{"a":"\x00"}', id="F038 raw NUL"),
    ],
)
def test_what_is_not_a_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(JSONError):
        loads_request(text)


def test_the_message_names_what_came_instead_of_an_object() -> None:
    """F037"""
    with pytest.raises(JSONError, match="expected an object, got an array"):
        loads_request(b"[]")


def test_an_escaped_nul_passes() -> None:
    """F038"""
    assert loads_request(b'{"a":"\\u0000"}') == {"a": "\0"}


def test_a_byte_order_mark_is_skipped_in_requests() -> None:
    """F036"""
    body = BOM + b'{"model":"a"}'
    assert loads_request(body) == {"model": "a"}
    assert replace_model(body, "b") == b'{"model":"b"}'
    assert repeated_member(BOM + b'{"model":"a","model":"b"}', ("model",)) == "model"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"cheap","model":"dear"}', id="plain"),
        pytest.param(b'{"model":"cheap","mod\\u0065l":"dear"}', id="escaped"),
        pytest.param(b'{"\\u006d\\u006f\\u0064el":"cheap","\\u006dodel":"dear"}', id="both escaped"),
        pytest.param(b'{"model":"cheap","seed":' + b"9" * 5000 + b',"model":"dear"}', id="beside a long number"),
        pytest.param(b'{"model":"cheap","a":' + b"[" * 5000 + b"]" * 5000 + b',"model":1}', id="beside deep nesting"),
        pytest.param(b'{"model":"cheap","a":{"model":1},"model":"dear"}', id="around a nested one"),
    ],
)
def test_a_repeated_member_is_found(body: bytes) -> None:
    """F034; where nesting is deeper than the parser goes, which Pythons differ in, nobody knows which one it is."""
    assert repeated_member(body, ("stream", "model")) in (("stream", "model") if b"[[[" in body else ("model",))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"a"}', id="once"),
        pytest.param(b'{"model":"a","tools":[{"model":"b"},{"model":"c"}]}', id="nested"),
        pytest.param(b'{"model":"a","text":"\\"model\\" \\"model\\""}', id="in text"),
        pytest.param(b'{"model":"model","text":["model","model"]}', id="as a value"),
        pytest.param(b'{"a":1,"a":2,"\\u0061":3}', id="another name"),
        pytest.param(b'{"model":1,"model":', id="not JSON"),
    ],
)
def test_what_stands_once_is_not_called_repeated(body: bytes) -> None:
    """F034"""
    assert repeated_member(body, ("model", "stream")) is None


def test_renaming_the_model_keeps_every_other_byte_of_every_value() -> None:
    body = b'{ "model" : "a" , "x":1.50, "big": 1180591620717411303424 ,"s":"\\u00e9", "o":{ "b" : [ 1 ,2 ] } }'
    for asked in (body, Document(body), Document.of(body)):
        assert replace_model(asked, "b") == body.replace(b'"a"', b'"b"')


def test_other_members_are_set_with_the_model_in_one_step() -> None:
    for body in (b'{"model":"a","x":[1]}', b' { "x" : [1] , "model" : "a" } ', b'{"x":[1]}'):
        changed = replace_model(Document(body), "b", {"y": {"z": 1}})
        assert loads_object(changed) == {"model": "b", "x": [1], "y": {"z": 1}}
        assert replace_model(changed, "b", {"y": {"z": 1}}) == changed


def test_the_same_model_keeps_the_body_as_it_is() -> None:
    body = b' { "model" : "\\u0061" } '
    assert replace_model(body, "a") == body


def test_a_missing_model_is_added() -> None:
    assert replace_model(b'{"a":1}', "b") == b'{"a":1,"model":"b"}'


def test_members_are_set_in_place_and_new_ones_come_last() -> None:
    assert with_members(b'{"a":1.0,"b":2}', {"b": None, "c": {"d": True}}) == b'{"a":1.0,"b":null,"c":{"d":true}}'


@pytest.mark.parametrize("body", [b"[]", b"null", b"", b'{"a":', b"\xff"])
def test_members_of_something_else_are_an_error(body: bytes) -> None:
    with pytest.raises(JSONError):
        members(body)


def test_what_json_cannot_express_is_an_error() -> None:
    loop: list[object] = []
    loop.append(loop)
    for value in (object(), "\ud800", loop, {(1, 2): 3}):
        with pytest.raises(JSONError):
            dumps(value)


def test_not_a_number_is_written_as_null() -> None:
    assert dumps_text([math.nan, math.inf]) == "[null,null]"


def test_text_is_written_as_utf_8_and_keys_keep_their_order() -> None:
    assert dumps({"b": "é\u2028", "a": "\x1f"}) == b'{"b":"\xc3\xa9\xe2\x80\xa8","a":"\\u001f"}'


def test_accessors_never_raise_on_a_surprise() -> None:
    surprises: list[JSONValue] = [None, True, 0, 1.5, "x", [1], {"a": 1}]
    assert [as_object(value) for value in surprises] == [{}, {}, {}, {}, {}, {}, {"a": 1}]
    assert [as_list(value) for value in surprises] == [[], [], [], [], [], [1], []]
    assert [as_str(value) for value in surprises] == [None, None, None, None, "x", None, None]
    assert [as_int(value) for value in surprises] == [None, None, 0, None, None, None, None]
    assert [as_float(value) for value in surprises] == [None, None, 0.0, 1.5, None, None, None]
    assert [as_bool(value) for value in surprises] == [None, True, None, None, None, None, None]


def test_types_are_named_as_json_names_them() -> None:
    values: list[JSONValue] = [None, False, 1, 1.5, "", [], {}]
    names = ["null", "a boolean", "a number", "a number", "a string", "an array", "an object"]
    assert [type_name(value) for value in values] == names


OBJECTS = st.dictionaries(TEXT, VALUES, max_size=6)


@given(OBJECTS, TEXT, VALUES)
def test_a_document_changes_as_any_object_does(value: dict[str, JSONValue], name: str, changed: JSONValue) -> None:
    """The quick way comes to the same as the general one, to the byte."""
    body = dumps(value)
    document = Document(body)
    assert document.members() == members(body)
    assert document.is_compact() or b"\\" in body
    found = with_members(document, {name: changed})
    assert found == with_members(body, {name: changed})


@given(OBJECTS, TEXT)
def test_a_document_takes_another_model_as_any_object_does(value: dict[str, JSONValue], model: str) -> None:
    for body in (dumps(value), dumps({"model": "one", **value}), stdlib.dumps({**value, "model": "one"}).encode()):
        changed = replace_model(Document(body), model)
        assert loads_object(changed) == {**loads_object(body), "model": model}
        assert changed == replace_model(body, model)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"a": 1}',
        b'{"a":1} ',
        b'\n{"a":1}',
        BOM + b'{"a":1}',
        b'{"a":1 ,"b":2}',
        b"{ }",
    ],
)
def test_a_document_is_compact_only_without_spaces_and_repetitions(body: bytes) -> None:
    assert not Document(body).is_compact()
    assert Document(b'{"a":1,"b":{"a":1}}').is_compact()


@pytest.mark.parametrize(
    "body",
    [b'{"model":"a","x":1,"model":"b"}', b'{"model":"a","x":1,"mo\\u0064el":"b"}', b'{"model":"a", "model":"b"}'],
)
def test_a_document_hides_no_repeated_member(body: bytes) -> None:
    assert repeated_member(Document(body), ("model",)) == "model"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b' { "a" : 1 ,\n"b":{"a":2} } ', {"a": 9, "b": 17}),
        (b'{"a":1, "b":12}', {"a": 5, "b": 12}),
        (b'{"a":1, "a":1}', {}),
        (b'{"a":1, "b":2, "a":1}', {}),
        (b'{"a":1, "\\u0062":1}', {}),
        (b'{"\xc3\xa9": 1}', {"é": 7}),
        (BOM + b'{"a":1}', {}),
        (b"{ }", {}),
    ],
)
def test_a_document_knows_the_places_of_its_members(body: bytes, found: dict[str, int]) -> None:
    assert Document(body).places() == found


def test_a_document_that_is_no_object_raises_as_others_do() -> None:
    for body in (b"[1]", b"{", b""):
        with pytest.raises(JSONError):
            Document(body).members()
        assert repeated_member(Document(body), ("model",)) is None


def test_a_document_of_far_too_many_members_costs_no_memory() -> None:
    """F030: it is refused before they are told apart, and every time it is asked."""
    document = Document(b"{" + b",".join(b'"%d":1' % number for number in range(MAX_NODES + 2)) + b"}")
    tracemalloc.start()
    try:
        for _ in range(2):
            with pytest.raises(JSONError) as caught:
                document.members()
            assert caught.value.code == "json_too_large"
        assert repeated_member(document, ("model",)) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_a_document_remembers_does_not_keep_it_alive() -> None:
    """No circle: a large body is gone with its request, and not when the collector comes by."""
    gone = []

    class Watched(Document):
        def __del__(self) -> None:
            gone.append(True)

    for make in (Watched, Watched.of):
        document = make(b'{"a":1}')
        document.members()
        del document
        assert gone.pop()


def test_many_strings_are_read_and_written_at_once() -> None:
    assert loads_strings(b'["a","\\u00e9",""]') == ["a", "é", ""]
    assert dumps_lines(["a\nb", 'c"', "é"]) == '"a\\nb"\n"c\\""\n"é"\n'.encode()
    for wrong in (b'["a",1]', b'"a"', b'["a"', b'["\xff"]', b'["\\ud800"]'):
        with pytest.raises(JSONError):
            loads_strings(wrong)
    with pytest.raises(JSONError):
        dumps_lines(["\ud800"])
