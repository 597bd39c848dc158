"""The endpoint table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.routing.endpoints import (
    ENDPOINTS,
    Endpoint,
    EndpointRow,
    MethodNotAllowed,
    match_endpoint,
    models_dialect,
)


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.template)
def test_every_row_is_found_at_its_own_template(row: EndpointRow) -> None:
    found = match_endpoint(row.methods[0], row.template, ())
    assert isinstance(found, Endpoint)
    assert (found.operation, found.template) == (row.operation, row.template)


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions", "/v1/v1/chat/completions"])
def test_the_version_may_be_missing_or_doubled(path: str) -> None:
    found = match_endpoint("POST", path, ())
    assert found == Endpoint("chat", "/v1/chat/completions", "openai_chat", "/v1/chat/completions")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/v1",
        "/v1/",
        "/v1/v1",
        "/v1/v1/v1/chat/completions",
        "//v1/chat/completions",
        "//v1//chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "/v1/Chat/Completions",
        "/v1beta/chat/completions",
        "/gwx/v1/chat/completions",
        "http://evil/v1/models",
        "/v1/chat/completions;x=1",
        "/v1/chat\\completions",
        "/v1/chat/completions\0",
        "/v1/./chat/completions",
        "/v1/x/../chat/completions",
        "/v1/%63hat/completions",
        "/v1/health",
        "/v1/metrics",
        "/health/",
        "/metrics/x",
        "/admin",
        "/api/create",
        "/\udcff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_nothing_is_served_beside_the_table(method: str, path: str) -> None:
    """F014, F069, F073, F076, F077, F079, F082"""
    assert match_endpoint(method, path, ()) is None


@pytest.mark.parametrize("model", ["gpt-4o", "meta/llama-3:free", "ft:gpt-4o:org::id", "@cf/meta/llama", "Модель 7"])
@pytest.mark.parametrize("prefix", ["/v1/models/", "/models/", "/v1/v1/models/"])
def test_a_models_name_may_have_slashes_and_colons(prefix: str, model: str) -> None:
    """F071"""
    found = match_endpoint("GET", prefix + model, ())
    assert isinstance(found, Endpoint)
    assert found.operation == "model"
    assert found.model == model


@pytest.mark.parametrize(
    "model",
    [
        "",
        "/",
        "a/",
        "a//b",
        "../../x:generateContent",
        "a/../b",
        ".",
        "..%2f..%2f",
        "%2e%2e",
        "%252e",
        "a\\b",
        "gemini?alt=json&key=evil",
        "x#y",
        "x\r\nY",
        "x%0d%0aY",
        "a\0",
        "a\u2028b",
        "a\x1b[31m",
        "a" * 65_536,
        "\udcff",
    ],
)
def test_what_would_change_the_meaning_of_a_url_is_no_models_name(model: str) -> None:
    """F069, F070, F082"""
    assert match_endpoint("GET", "/v1/models/" + model, ()) is None


@pytest.mark.parametrize(
    ("method", "rest", "template"),
    [
        ("GET", "", "/v1/responses/{id}"),
        ("DELETE", "", "/v1/responses/{id}"),
        ("POST", "/cancel", "/v1/responses/{id}/cancel"),
        ("GET", "/input_items", "/v1/responses/{id}/input_items"),
    ],
)
@pytest.mark.parametrize("prefix", ["/v1/responses/", "/responses/", "/v1/v1/responses/"])
def test_a_stored_response_is_named_by_its_path(prefix: str, method: str, rest: str, template: str) -> None:
    found = match_endpoint(method, f"{prefix}resp_1{rest}", ())
    path = template.replace("{id}", "resp_1")
    assert found == Endpoint("stored_response", template, "openai_responses", path, response_id="resp_1")


@pytest.mark.parametrize(
    "path", ["resp_1/", "resp_1/x", "resp_1/cancel/", "a/b/cancel", "..", "../models", ".", "", "a?b"]
)
def test_nothing_else_is_a_stored_response(path: str) -> None:
    """F069, F082"""
    assert match_endpoint("GET", f"/v1/responses/{path}", ()) is None


@pytest.mark.parametrize(
    ("method", "path", "template", "identifier"),
    [
        ("GET", "/v1/files/file-1", "/v1/files/{id}", "file-1"),
        ("DELETE", "/files/file-1", "/v1/files/{id}", "file-1"),
        ("GET", "/v1/v1/files/file-1/content", "/v1/files/{id}/content", "file-1"),
        ("POST", "/v1/batches/batch_1/cancel", "/v1/batches/{id}/cancel", "batch_1"),
        ("GET", "/v1/organization/usage/embeddings", "/v1/organization/usage/{id}", "embeddings"),
        ("PATCH", "/v1beta/cachedContents/c1", "/v1beta/cachedContents/{id}", "c1"),
        ("DELETE", "/v1alpha/cachedContents/c1", "/v1beta/cachedContents/{id}", "c1"),
        ("POST", "/v1beta/cachedContents", "/v1beta/cachedContents", None),
        ("GET", "/v1/cachedContents/c1", "/v1beta/cachedContents/{id}", "c1"),
        ("POST", "/v1/files", "/v1/files", None),
    ],
)
def test_what_lies_at_a_vendor_is_named_by_its_path(
    method: str, path: str, template: str, identifier: str | None
) -> None:
    found = match_endpoint(method, path, ())
    assert isinstance(found, Endpoint)
    assert (found.template, found.response_id, found.model) == (template, identifier, None)


@pytest.mark.parametrize(
    "path",
    ["/v1/files/a/b", "/v1/files/", "/v1/files/../models", "/v1/batches/a/content", "/v1beta/cachedContents/a/b"],
)
def test_nothing_else_lies_at_a_vendor(path: str) -> None:
    """F069, F082"""
    assert match_endpoint("GET", path, ()) is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta1/projects/p/locations/us-central1/publishers/google/models/m:predict",
        "/v1/projects/p/locations/us-central1/publishers/google/models/m:predict",
        "/v1beta1/publishers/google/models/m:predict",
    ],
)
def test_clients_of_vertex_are_understood(path: str) -> None:
    found = match_endpoint("POST", path, ())
    assert isinstance(found, Endpoint)
    assert (found.operation, found.path, found.model) == ("predict", "/v1beta/models/m:predict", "m")


def test_compact_and_input_tokens_are_no_responses() -> None:
    assert isinstance(match_endpoint("GET", "/v1/responses/compact", ()), MethodNotAllowed)
    assert isinstance(match_endpoint("DELETE", "/v1/responses/input_tokens", ()), MethodNotAllowed)


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/v1/models", "/v1/models/gpt-4o"])
def test_what_can_be_read_can_be_asked_for_its_head(path: str) -> None:
    assert isinstance(match_endpoint("HEAD", path, ()), Endpoint)
    assert isinstance(match_endpoint("POST", path, ()), MethodNotAllowed)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "post", "PoST", "CONNECT", "X" * 10_000, ""])
def test_a_wrong_method_is_told_what_is_allowed(method: str) -> None:
    """F012, F078"""
    found = match_endpoint(method, "/v1/chat/completions", ())
    assert found == MethodNotAllowed(("POST",), "/v1/chat/completions", "openai_chat")


@pytest.mark.parametrize(
    ("headers", "dialect"),
    [
        ((), "openai_chat"),
        (((b"anthropic-version", b"2023-06-01"),), "anthropic_messages"),
        (((b"x-goog-api-key", b"k"),), "gemini_generate"),
        (((b"anthropic-version", b"x"), (b"x-goog-api-key", b"k")), "gemini_generate"),
    ],
)
def test_the_models_list_has_three_dialects(headers: tuple[tuple[bytes, bytes], ...], dialect: str) -> None:
    assert models_dialect(headers) == dialect
    found = match_endpoint("GET", "/v1/models", headers)
    assert isinstance(found, Endpoint)
    assert found.protocol == dialect


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/messages", ("chat", "anthropic_messages", "/v1/messages", None)),
        ("POST", "/v1/v1/messages", ("chat", "anthropic_messages", "/v1/messages", None)),
        (
            "POST",
            "/v1/messages/count_tokens",
            ("count_tokens", "anthropic_messages", "/v1/messages/count_tokens", None),
        ),
        *(
            (
                "POST",
                path,
                ("chat", "gemini_generate", "/v1beta/models/openai/gpt-4.1:generateContent", "openai/gpt-4.1"),
            )
            for path in (
                "/v1beta/models/openai/gpt-4.1:generateContent",
                "/v1/models/openai/gpt-4.1:generateContent",
                "/v1alpha/models/openai/gpt-4.1:generateContent",
                "/v1beta/openai/gpt-4.1:generateContent",
                "/v1/v1beta/models/openai/gpt-4.1:generateContent",
                "/models/openai/gpt-4.1:generateContent",
            )
        ),
        (
            "POST",
            "/v1beta/models/ft:gpt:org::id:countTokens",
            ("count_tokens", "gemini_generate", "/v1beta/models/ft:gpt:org::id:countTokens", "ft:gpt:org::id"),
        ),
        ("GET", "/v1beta/models", ("models", "gemini_generate", "/v1beta/models", None)),
        ("GET", "/v1beta/models/x:y", ("model", "gemini_generate", "/v1beta/models/x:y", "x:y")),
        ("GET", "/v1/models/ft:gpt:org::id", ("model", "openai_chat", "/v1/models/ft:gpt:org::id", "ft:gpt:org::id")),
    ],
)
def test_every_protocol_has_its_paths(method: str, path: str, expected: tuple[str, str, str, str | None]) -> None:
    """F071: the action stands after the last colon."""
    found = match_endpoint(method, path, ())
    assert isinstance(found, Endpoint)
    assert (found.operation, found.protocol, found.path, found.model) == expected


@pytest.mark.parametrize("action", ["embedcontent", "fooBar", "", "generatecontent"])
def test_unknown_actions_are_not_served(action: str) -> None:
    """F071."""
    assert not isinstance(match_endpoint("POST", f"/v1beta/models/x:{action}", ()), Endpoint)


@given(st.text(), st.text())
def test_any_text_is_answered_and_never_an_exception(method: str, path: str) -> None:
    """F082"""
    found = match_endpoint(method, "/" + path, ())
    assert found is None or found.template in {row.template for row in ENDPOINTS}
