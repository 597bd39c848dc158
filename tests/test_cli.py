"""The command line, run in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asgi_llmgw import __version__
from asgi_llmgw.cli import main
from asgi_llmgw.components.auth import hash_key
from asgi_llmgw.json import as_list, as_object, dumps, loads_object

REQUEST = dumps({"model": "gpt-4o", "logit_bias": {"1": 1}, "messages": [{"role": "user", "content": "Hello"}]})
ANSWER = dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Good morning"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
)
FIRST_CHUNK = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":0}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Good"}}\n\n'
)
LAST_CHUNKS = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
STREAM = ["translate", "--stream", "--from", "anthropic_messages", "--to", "openai_chat"]

Feed = Callable[[bytes], None]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """Puts bytes on standard input."""
    opened = []

    def give(data: bytes) -> None:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        opened.append(os.fdopen(reading, encoding="utf-8"))
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield give
    for file in opened:
        file.close()


@pytest.fixture(autouse=True)
def _no_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.startswith("LLMGW_"):
            monkeypatch.delenv(name)


def test_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"asgi-llmgw {__version__}\n"


def test_help_has_examples_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"asgi-llmgw {command} " in shown for command in ("serve", "check", "translate", "hash-key"))


@pytest.mark.parametrize("argv", [[], ["dance"], ["translate"], ["serve", "--server", "gunicorn"]])
def test_a_command_line_that_makes_no_sense_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage: asgi-llmgw" in capsys.readouterr().err


def test_check_says_what_a_configuration_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "canary")
    file = tmp_path / "gateway.toml"
    file.write_text(
        '[[keys]]\nname = "team-a"\nkey = "env:MINE"\nmodels = ["smart"]\nexpires = 2099-01-01\nrpm = 600\n'
        '[providers.openai]\napi_key = "canary"\n[models.smart]\ntargets = ["openai/gpt-4o"]\n'
        '[routing]\ndefault = "smart"\n'
    )
    assert main(["check", "--config", str(file)]) == 0
    shown = capsys.readouterr()
    assert "  openai: openai_chat, openai_responses at https://api.openai.com/v1, 1 key\n" in shown.out
    assert "  smart -> openai/gpt-4o\n  every other name is taken for smart\n" in shown.out
    assert "  team-a: smart, until 2099-01-01\nlimits:\n  key team-a: 600 requests per minute\n" in shown.out
    assert "canary" not in shown.out
    assert shown.err == ""


def test_check_warns_about_what_should_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "warning: No vendor is configured" in capsys.readouterr().err


def test_check_lists_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[server]\nprt = 1\n[models.a]\nalias = "a"\n')
    assert main(["check", "--config", str(file)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"2 problems in {file}:" in shown.err
    assert "Traceback" not in shown.err


def test_serve_refuses_a_bad_configuration_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F198"""
    file = tmp_path / "gateway.toml"
    file.write_text('[[keys]]\nname = "a"\nkey = ["canary"]\n')
    assert main(["serve", "--config", str(file)]) == 2
    shown = capsys.readouterr().err
    assert "keys[0].key" in shown
    assert "Traceback" not in shown
    assert "canary" not in shown


def test_serve_refuses_to_be_open_to_the_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "server.host: without [[keys]]" in capsys.readouterr().err


def test_translates_a_request(feed: Feed, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    feed(REQUEST)
    assert main(["translate", "--from", "openai_chat", "--to", "anthropic_messages", "--model", "claude-x"]) == 0
    shown = capsysbinary.readouterr()
    assert loads_object(shown.out)["model"] == "claude-x"
    told = shown.err.decode().splitlines()
    assert "path: /v1/messages" in told
    assert any(line.startswith("warning: dropped logit_bias") for line in told)


def test_translates_an_answer(feed: Feed, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    feed(ANSWER)
    assert main(["translate", "--from", "anthropic_messages", "--to", "openai_chat", "--response"]) == 0
    answer = loads_object(capsysbinary.readouterr().out)
    assert as_object(as_object(as_list(answer["choices"])[0])["message"])["content"] == "Good morning"


def test_translates_what_vendors_alone_speak(feed: Feed, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    feed(b'{"model":"amazon.nova-pro-v1:0","messages":[{"role":"user","content":"Hi"}]}')
    assert main(["translate", "--from", "openai_chat", "--to", "bedrock_converse"]) == 0
    out, err = capsysbinary.readouterr()
    assert loads_object(out) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert b"path: /model/amazon.nova-pro-v1%3A0/converse" in err
    feed(b'{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn"}')
    assert main(["translate", "--from", "bedrock_converse", "--to", "anthropic_messages", "--response"]) == 0
    assert loads_object(capsysbinary.readouterr().out)["stop_reason"] == "end_turn"
    feed(b"{}")
    assert main(["translate", "--from", "bedrock_converse", "--to", "openai_chat"]) == 1
    assert b"no client speaks" in capsysbinary.readouterr().err


def test_translates_a_stream(feed: Feed, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    feed(FIRST_CHUNK + LAST_CHUNKS)
    assert main([*STREAM, "--model", "m2"]) == 0
    shown = capsysbinary.readouterr().out
    assert b'"model":"m2"' in shown
    assert shown.endswith(b"data: [DONE]\n\n")


def test_a_stream_that_breaks_off_is_a_failure(feed: Feed, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    feed(FIRST_CHUNK)
    assert main(STREAM) == 1
    shown = capsysbinary.readouterr()
    assert b'"error"' in shown.out
    assert shown.err.startswith(b"asgi-llmgw: ")


def test_a_stream_is_written_while_it_comes() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "asgi_llmgw", *STREAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(FIRST_CHUNK)
        process.stdin.flush()
        assert any(b'"content":"Good"' in line for line in iter(process.stdout.readline, b""))
        process.stdin.write(LAST_CHUNKS)
        process.stdin.close()
        assert b"[DONE]" in process.stdout.read()
    assert process.returncode == 0


def test_a_request_that_cannot_be_read_is_one_line(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    feed(b"{")
    assert main(["translate", "--from", "openai_chat", "--to", "anthropic_messages"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_request_is_no_stream(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "--from", "openai_chat", "--to", "openai_chat", "--stream", "--request"]) == 2
    assert "--stream" in capsys.readouterr().err


def test_hashes_the_key_on_standard_input(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    feed(b"secret\n")
    assert main(["hash-key"]) == 0
    assert capsys.readouterr().out == hash_key("secret") + "\n"


def test_hashes_no_empty_key(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    feed(b"\n")
    assert main(["hash-key"]) == 1
    assert "no key" in capsys.readouterr().err


def test_makes_a_key_that_fits_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hash-key", "--generate"]) == 0
    key, digest = (line.split()[1] for line in capsys.readouterr().out.splitlines())
    assert hash_key(key) == digest
    assert len(key) > 40


def test_vendors_are_listed_and_written_into_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vendors"]) == 0
    table = capsys.readouterr().out
    assert "| `openai` | `OPENAI_API_KEY` |" in table
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- vendors -->\nold\n<!-- /vendors -->\nB\n")
    assert main(["vendors", "--write", str(page)]) == 0
    assert page.read_text() == f"# A\n<!-- vendors -->\n{table}<!-- /vendors -->\nB\n"
    assert main(["vendors", "--write", str(tmp_path / "missing.md")]) == 1
    assert "cannot be written" in capsys.readouterr().err
