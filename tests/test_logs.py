"""Logging without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from asgi_llmgw.json import as_str, loads_object
from asgi_llmgw.logs import (
    LOGGER,
    JSONFormatter,
    RedactQueryKeys,
    configure_logging,
    describe,
    json_line,
    redact_query_keys,
)

CANARY = "AIzaCanary0123456789"


@pytest.fixture
def _restored() -> Iterator[None]:
    names = (LOGGER, "aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "uvicorn.access", "hypercorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(log.level, log.propagate, list(log.handlers), list(log.filters)) for log in loggers]
    yield
    for log, (level, propagate, handlers, filters) in zip(loggers, before, strict=True):
        log.setLevel(level)
        log.propagate = propagate
        log.handlers[:] = handlers
        log.filters[:] = filters


def record(message: object, *args: object) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.access", logging.INFO, "", 0, message, args, None)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/v1/models?key={CANARY}", "/v1/models?key=***"),
        (f"/v1/models?alt=sse&key={CANARY}&x=1", "/v1/models?alt=sse&key=***&x=1"),
        (f"/v1/models?%6Bey={CANARY}", "/v1/models?%6Bey=***"),
        (f"/v1/models?key={CANARY}&key={CANARY}", "/v1/models?key=***&key=***"),
        ("/v1/models?key=", "/v1/models?key="),
        ("/v1/models?monkey=1", "/v1/models?monkey=1"),
    ],
)
def test_keys_are_blanked_in_a_servers_access_log(path: str, shown: str) -> None:
    """F213"""
    line = record('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5000", "GET", path, "1.1", 200)
    assert RedactQueryKeys().filter(line)
    assert line.getMessage() == f'127.0.0.1:5000 - "GET {shown} HTTP/1.1" 200'
    whole = record(f'"GET {path} HTTP/1.1" 200')
    assert RedactQueryKeys().filter(whole)
    assert whole.getMessage() == f'"GET {shown} HTTP/1.1" 200'


def test_keys_are_blanked_in_named_arguments_too() -> None:
    """F213: hypercorn's way of filling in its lines."""
    line = record("%(path)s", {"path": f"/x?key={CANARY}"})
    RedactQueryKeys().filter(line)
    assert line.getMessage() == "/x?key=***"


@pytest.mark.parametrize("text", ["\r\n", "\x1b[31m", "\u2028\u2029\x85", "\x0b\x0c\x1c"])
def test_a_line_stays_one_line(text: str) -> None:
    """F212"""
    line = json_line({"text": text})
    assert len(line.decode().splitlines()) == 1
    assert loads_object(line) == {"text": text}


def test_a_log_record_is_one_line_of_json_without_the_values_in_its_exception() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError as exc:
        line = record("GET %s\nfailed \ud800", f"/x?key={CANARY}")
        line.exc_info = (type(exc), exc, exc.__traceback__)
    text = JSONFormatter().format(line)
    assert len(text.splitlines()) == 1
    assert CANARY not in text
    entry = loads_object(text)
    assert entry["level"] == "info"
    assert entry["message"] == "GET /x?key=***\nfailed ?"
    assert (as_str(entry["error"]) or "").startswith("ValueError\n")


def test_an_exception_is_described_by_its_stack_and_what_is_behind_it() -> None:
    """F209"""

    def inner() -> None:
        raise KeyError(CANARY)

    def outer() -> None:
        try:
            inner()
        except KeyError as exc:
            raise ExceptionGroup("two", [ValueError(CANARY), OSError(CANARY)]) from exc

    with pytest.raises(ExceptionGroup) as caught:
        outer()
    text = describe(caught.value)
    for word in ("ExceptionGroup", "ValueError", "OSError", "KeyError", "in inner"):
        assert word in text
    assert CANARY not in text


def test_exceptions_that_cause_each_other_are_described_once() -> None:
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    assert describe(one).count("ValueError") == 1


def test_text_without_a_query_is_left_alone() -> None:
    assert redact_query_keys("key=value in prose") == "key=value in prose"


@pytest.mark.usefixtures("_restored")
def test_transports_are_kept_quiet_and_servers_keys_blanked() -> None:
    """F213, F214"""
    configure_logging("debug", json=True)
    configure_logging("debug", json=True)
    ours = logging.getLogger(LOGGER)
    assert ours.level == logging.DEBUG
    assert [type(handler.formatter) for handler in ours.handlers] == [JSONFormatter]
    for name in ("aiohttp.client", "httpx", "httpcore.connection", "httpx2"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert len(logging.getLogger("uvicorn.access").filters) == 1


@pytest.mark.usefixtures("_restored")
def test_a_human_may_have_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", json=False)
    logging.getLogger(f"{LOGGER}.x").warning("careful")
    logging.getLogger(f"{LOGGER}.x").info("chatter")
    shown = capsys.readouterr().err
    assert shown.endswith(f"WARNING {LOGGER}.x careful\n")
    assert "chatter" not in shown
