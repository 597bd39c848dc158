from __future__ import annotations

import pytest

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.protocols.gemini_generate import CODEC


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        pytest.param("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", False, id="v1beta"),
        pytest.param("/v1/models/g:streamGenerateContent?alt=sse", "g", True, id="v1_streamed"),
        pytest.param("/v1alpha/models/g:streamGenerateContent", "g", True, id="v1alpha_without_alt"),
        pytest.param("/v1beta/models/g%3AgenerateContent?key=k", "g", False, id="encoded_colon"),
        pytest.param("/v1beta/models/ft:gpt:org::id:generateContent", "ft:gpt:org::id", False, id="F071_last_colon"),
        pytest.param("/v1beta/models/openai/gpt-4.1:generateContent", "openai/gpt-4.1", False, id="raw_slash"),
        pytest.param("/v1beta/openai/gpt-4.1:generateContent", "openai/gpt-4.1", False, id="without_collection"),
        pytest.param("/v1beta/models/models/x:generateContent", "x", False, id="collection_twice"),
        pytest.param("/v1beta/tunedModels/x:generateContent", "tunedModels/x", False, id="tuned"),
        pytest.param("/v1beta/models/tunedModels%2Fx:generateContent", "tunedModels/x", False, id="tuned_quoted"),
        pytest.param(
            "/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent", "g", False, id="vertex"
        ),
    ],
)
def test_model_and_method_stand_in_the_path(path: str, model: str, stream: bool) -> None:
    head = CODEC.peek(path, b"not looked at")
    assert (head.model, head.stream) == (model, stream)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1beta/models/../../x:generateContent", id="F069_dots"),
        pytest.param("/v1beta/models/..%2f..%2fx:generateContent", id="F069_encoded_slash"),
        pytest.param("/v1beta/models/%252e%252e/x:generateContent", id="F069_encoded_twice"),
        pytest.param("/v1beta/models/%2e%2e:generateContent", id="F069_encoded_dots"),
        pytest.param("/v1beta/models/a\\b:generateContent", id="F069_backslash"),
        pytest.param("/v1beta/models/a;b:generateContent", id="F069_semicolon"),
        pytest.param("/v1beta/models/a%3Fkey=evil:generateContent", id="F070_query"),
        pytest.param("/v1beta/models/x%23y:generateContent", id="F070_fragment"),
        pytest.param("/v1beta/models/x%0d%0aY:generateContent", id="F070_line_break"),
        pytest.param("/v1beta/models/x%20:generateContent", id="F070_space"),
        pytest.param("/v1beta/models/" + "m" * 65536 + ":generateContent", id="F070_64_KB"),
        pytest.param("/v1beta/models/x%ff:generateContent", id="not_utf8"),
        pytest.param("/v1beta/models/:generateContent", id="no_model"),
        pytest.param("/v1beta/models/x", id="F071_no_action"),
        pytest.param("/v1beta/models/x:deleteEverything", id="F071_unknown_action"),
        pytest.param("/v1beta/models/x:generateContent:extra", id="F071_action_not_last"),
        pytest.param("/v2/models/x:generateContent", id="unknown_version"),
        pytest.param("/v1beta//x:generateContent", id="empty_segment"),
    ],
)
def test_a_path_that_leads_elsewhere_is_not_found(path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.peek(path, b"{}")
    assert caught.value.status == 404


def test_the_upstream_path_is_built_from_the_configured_model_alone() -> None:
    """F069, F070: nothing of the client's path but the method goes on."""
    encoded = CODEC.with_model("/v1/models/alias:streamGenerateContent?key=secret", b'{ "a": 1 }', "gemini-3/x?y#z")
    assert encoded.path == "/v1beta/models/gemini-3%2Fx%3Fy%23z:streamGenerateContent?alt=sse"
    assert encoded.body == b'{ "a": 1 }'


def test_a_tuned_model_stays_in_its_collection() -> None:
    encoded = CODEC.with_model("/v1/models/alias:generateContent", b"{}", "tunedModels/mine")
    assert encoded.path == "/v1beta/tunedModels/mine:generateContent"
