"""Start the gateway with the given command and see that it answers and stops: `serves.py COMMAND...`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection

PATIENCE = 30.0
QUESTION = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, *, stream: bool) -> bytes:
    """The body of one good answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    body = json.dumps(QUESTION | {"stream": stream})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    assert response.status == 200, answer
    return answer


def wait_for(port: int) -> None:
    """Return when somebody listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing answers after {PATIENCE:g} seconds"
            time.sleep(0.05)


def main(command: list[str]) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LLMGW_SERVER__PORT": str(port)}
        started = time.monotonic()
        gateway = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            print(f"answers after {time.monotonic() - started:.1f} s, without any key", end=", ")
            assert json.loads(ask(port, stream=False))["choices"][0]["message"]["content"]
            assert ask(port, stream=True).endswith(b"data: [DONE]\n\n")
            stopped = time.monotonic()
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(PATIENCE) == 0, "the gateway did not end well"
            print(f"whole and as a stream; stops {time.monotonic() - stopped:.1f} s after SIGTERM")
        finally:
            gateway.kill()
            gateway.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
