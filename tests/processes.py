"""The gateway as a process of its own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from asgi_llmgw.json import dumps


@contextmanager
def serving(*options: str, environ: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway on a free port, and where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "asgi_llmgw", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(sys.path), **(environ or {})},
    )
    try:
        assert process.stderr is not None
        found = re.search(r"http://(\S+)", process.stderr.readline())
        assert found is not None
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def ask(address: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request."""
    host, _, port = address.partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def chat(address: str) -> tuple[int, bytes]:
    """A chat completion of the demo's."""
    body = dumps({"model": "demo", "messages": [{"role": "user", "content": "Hello"}]})
    return ask(address, "POST", "/v1/chat/completions", body)


def end(process: subprocess.Popen[str], ending: signal.Signals) -> tuple[str, str]:
    """What the process has written by its end, less the line that was read already."""
    process.send_signal(ending)
    process.wait(timeout=30)
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.read(), process.stderr.read()
