"""The tree of errors: what a client is told, and what the gateway does about it."""

from __future__ import annotations

from typing import get_args

import pytest

from asgi_llmgw.errors import (
    RETRYABLE,
    STATUS,
    AuthError,
    ConfigError,
    ErrorKind,
    FailureClass,
    GatewayError,
    InvalidRequest,
    InvalidUpstreamResponse,
    LimitError,
    RequestError,
    UpstreamError,
)


def test_every_kind_has_a_status_that_is_an_error() -> None:
    assert set(STATUS) == set(get_args(ErrorKind))
    assert all(400 <= status < 600 for status in STATUS.values())


def test_retryable_failures_are_failures() -> None:
    assert set(get_args(FailureClass)) > RETRYABLE


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        pytest.param(GatewayError("x"), 500, True, id="unspecified"),
        pytest.param(ConfigError("x"), 500, True, id="configuration"),
        pytest.param(RequestError("x"), 400, False, id="request"),
        pytest.param(RequestError("x", kind="request_too_large"), 413, False, id="too large"),
        pytest.param(RequestError("x", kind="request_timeout"), 408, True, id="too slow"),
        pytest.param(InvalidRequest("x", kind="unsupported", param="n"), 400, False, id="unsupported"),
        pytest.param(AuthError("x"), 401, False, id="no key"),
        pytest.param(AuthError("x", kind="forbidden"), 403, False, id="not allowed"),
        pytest.param(LimitError("x", retry_after=2.0), 429, True, id="limit"),
        pytest.param(UpstreamError("x", failure="transient"), 502, True, id="vendor failed"),
        pytest.param(UpstreamError("x", failure="credential", kind="server_error"), 500, True, id="our key is refused"),
        pytest.param(UpstreamError("x", failure="caller_fault", kind="bad_request"), 400, False, id="caller's fault"),
        pytest.param(UpstreamError("x", failure="filtered", kind="bad_request"), 400, False, id="filtered"),
        pytest.param(InvalidUpstreamResponse("x"), 502, True, id="unreadable answer"),
    ],
)
def test_status_and_retryability_follow_from_what_happened(error: GatewayError, status: int, retryable: bool) -> None:
    assert (error.status, error.retryable) == (status, retryable)


def test_an_error_keeps_what_the_client_may_be_told() -> None:
    error = UpstreamError(
        "slow down",
        failure="rate_limit",
        kind="rate_limited",
        param="p",
        code="c",
        retry_after=1.5,
        upstream_status=429,
    )
    assert (error.message, str(error), error.param, error.code) == ("slow down", "slow down", "p", "c")
    assert (error.failure, error.retry_after, error.upstream_status) == ("rate_limit", 1.5, 429)


def test_every_error_is_a_gateway_error() -> None:
    for kind in (ConfigError, RequestError, AuthError, LimitError, UpstreamError):
        assert issubclass(kind, GatewayError)
    assert issubclass(InvalidRequest, RequestError)
    assert issubclass(InvalidUpstreamResponse, UpstreamError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    import asgi_llmgw.errors as module

    drawn = {word for word in (module.__doc__ or "").replace("─", " ").split() if word[:1].isupper()}
    defined = {
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert defined <= drawn
