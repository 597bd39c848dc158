"""The gateway under a server of its own, as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.json import loads_object
from asgi_llmgw.serve import CARRIERS_KEY, UNSENT, Address, banner, listen, serve, shared_key
from tests.processes import ask, chat, end, serving


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal_comes(server: str, ending: signal.Signals) -> None:
    with serving("--server", server) as (process, address):
        status, body = chat(address)
        assert status == 200
        assert loads_object(body)["object"] == "chat.completion"
        out, err = end(process, ending)
    assert process.returncode == 0
    assert "OPENAI_BASE_URL=" in err
    assert "Traceback" not in err
    assert [loads_object(line)["event"] for line in out.splitlines()] == ["request"]


def test_workers_share_their_metrics_and_leave_nothing_behind(tmp_path: Path) -> None:
    with serving("--workers", "2", environ={"TMPDIR": str(tmp_path)}) as (process, address):
        assert [chat(address)[0] for _ in range(3)] == [200] * 3
        _, metrics = ask(address, "GET", "/metrics")
        end(process, signal.SIGTERM)
    assert process.returncode == 0
    assert re.search(r"^llm_requests_total\{.*\} 3\.0$", metrics.decode(), re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_workers_open_what_one_of_them_sealed() -> None:
    many = parse_config({"server": {"workers": 2}}, environ={})
    with shared_key(many):
        workers = [parse_config({}, environ=dict(os.environ)).reasoning.sealing_key for _ in range(2)]
        assert CARRIERS_KEY in os.environ
    assert workers[0] == workers[1] != many.reasoning.sealing_key
    assert CARRIERS_KEY not in os.environ


@pytest.mark.parametrize(
    "document", [{}, {"server": {"workers": 2}, "reasoning": {"carriers_key": "0123456789abcdef"}}]
)
def test_a_key_is_made_only_where_it_is_needed(document: dict[str, object]) -> None:
    with shared_key(parse_config(document, environ={})):
        assert CARRIERS_KEY not in os.environ


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "asgi_llmgw", "serve", "--port", port], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == f"asgi-llmgw: cannot listen on 127.0.0.1, port {port}: Address already in use\n"


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such option")
def test_the_kernel_takes_no_more_of_an_answer_than_it_must() -> None:
    """F117, F120: who does not read is seen soon, and who reads slowly is seen to read."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT


def test_a_server_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"uvicorn is not installed: pip install 'asgi-llmgw\[server\]'"):
        serve(Config())


def test_hypercorn_does_not_ignore_max_connections() -> None:
    config = parse_config({"server": {"max_connections": 5}}, environ={})
    with pytest.raises(Exception, match="max_connections cannot be had with hypercorn"):
        serve(config, server="hypercorn")


def test_the_banner_tells_how_to_try_it() -> None:
    document: dict[str, object] = {
        "server": {"host": "0.0.0.0"},
        "keys": [{"name": "team-a", "key": "canary"}],
        "models": {f"m{number}": {"targets": ["openai/gpt-4o"]} for number in range(10)},
    }
    shown = banner(parse_config(document, environ={"OPENAI_API_KEY": "canary"}), Address("0.0.0.0", 9000))
    assert "m0, m1, m2, m3, m4, m5, m6, m7 and 2 more" in shown
    assert "team-a" in shown
    assert "OPENAI_BASE_URL=http://127.0.0.1:9000/v1" in shown
    assert "-H 'authorization: Bearer YOUR_KEY'" in shown
    assert '"model": "m0"' in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_an_address_is_written_as_a_client_takes_it(host: str, url: str) -> None:
    assert Address(host, 80).url == url
