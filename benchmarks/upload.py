"""By how much does the gateway grow while a large form passes through it?

    python -m benchmarks.upload [--megabytes 200] [--clients 1]

A vendor that takes everything and a gateway in a process of its own; the form goes to `/v1/audio/transcriptions`. What
is printed is the highest resident size during the upload less that before it, read from /proc. It ends with 1 where
that is more than 32 MB.
"""

from __future__ import annotations

import argparse
import re
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.processes import GATEWAY_CORE, Process, free_port

BOUND: Final = 32_000_000
_PIECE: Final = bytes(range(256)) * 256
_BOUNDARY: Final = b"boundary-of-the-upload"
_HEAD: Final = (
    b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--%b\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\nContent-Type: audio/wav\r\n\r\n'
) % (_BOUNDARY, _BOUNDARY)
_TAIL: Final = b"\r\n--%b--\r\n" % _BOUNDARY
_ANSWER: Final = b'{"text":"So be it.","usage":{"type":"duration","seconds":7}}'
_CONFIG: Final = """
[server]
port = {port}
access_log = false
[[keys]]
name = "upload"
key = "key-of-the-upload"
[providers.vendor]
protocol = "openai_chat"
base_url = "http://127.0.0.1:{vendor}/v1"
[models."whisper-1"]
targets = ["vendor/whisper-large"]
"""


class _Vendor(socketserver.StreamRequestHandler):
    """Takes a form, and says how long it was."""

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        rest = int(length[1]) if length else 0
        beginning = self.rfile.read(min(rest, 1024))
        rest -= len(beginning)
        while rest > 0 and (piece := self.rfile.read(min(rest, 1 << 16))):
            rest -= len(piece)
        good = rest == 0 and b"\r\n\r\nwhisper-large\r\n" in beginning
        status = b"200 OK" if good else b"400 Bad"
        self.wfile.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, len(_ANSWER), _ANSWER)
        )


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def send(port: int, size: int) -> bytes:
    """Upload a file of this many bytes; the answer as it comes over the wire."""
    pieces = size // len(_PIECE)
    length = len(_HEAD) + pieces * len(_PIECE) + len(_TAIL)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer key-of-the-upload\r\n"
            b"content-type: multipart/form-data; boundary=%b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (_BOUNDARY, length, _HEAD)
        )
        for _ in range(pieces):
            connection.sendall(_PIECE)
        connection.sendall(_TAIL)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return answer


def measure(megabytes: int, clients: int) -> tuple[int, int, float]:
    """Resident bytes before the uploads, the most during them, and how many seconds they took.

    Raises:
        RuntimeError: an upload did not pass.
    """
    with _Server(("127.0.0.1", 0), _Vendor) as vendor, tempfile.TemporaryDirectory() as directory:
        threading.Thread(target=vendor.serve_forever, daemon=True).start()
        port, config = free_port(), Path(directory) / "gateway.toml"
        config.write_text(_CONFIG.format(port=port, vendor=vendor.server_address[1]))
        command = [sys.executable, "-m", "asgi_llmgw", "serve", "--config", str(config)]
        gateway = Process(command, core=GATEWAY_CORE, log=Path(directory) / "log", port=port)
        try:
            _checked(send(port, 1_000_000))
            before = gateway.memory()
            started = time.perf_counter()
            answers: list[bytes] = []
            threads = [
                threading.Thread(target=lambda: answers.append(send(port, megabytes * 1_000_000)))
                for _ in range(clients)
            ]
            for thread in threads:
                thread.start()
            most = before
            while any(thread.is_alive() for thread in threads):
                most = max(most, gateway.memory())
                time.sleep(0.005)
            seconds = time.perf_counter() - started
            for answer in answers:
                _checked(answer)
            if len(answers) != clients:
                raise RuntimeError("an upload did not come through")
            return before, most, seconds
        finally:
            gateway.stop()
            vendor.shutdown()


def _checked(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(_ANSWER):
        raise RuntimeError(f"the upload did not pass: {answer[:300]!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--clients", type=int, default=1)
    asked = parser.parse_args(arguments)
    before, most, seconds = measure(asked.megabytes, asked.clients)
    growth = most - before
    print(
        f"{asked.clients} x {asked.megabytes} MB to /v1/audio/transcriptions in {seconds:.1f} s: resident "
        f"{before / 1e6:.1f} MB before, {most / 1e6:.1f} MB at most, {growth / 1e6:.1f} MB of growth"
    )
    return 0 if growth <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
