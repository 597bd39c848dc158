"""Start Redis and two gateways with two workers each, and stop them all with Ctrl-C.

python start.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 30.0


@contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to end when we do, and that has the time to."""
    # in a group of its own: Ctrl-C in the terminal reaches us alone, and the order of the ends is ours
    process = subprocess.Popen(command, env=environ, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the gateway says that it is ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the gateway at {url} did not start")
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the gateway at {url} is not ready after {PATIENCE:g} seconds")


def redis_command(port: int) -> list[str]:
    """A Redis that keeps nothing on disk: what is counted is worth a minute, a day or a month, and no more."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise SystemExit("redis-server is not installed: on Debian, apt-get install redis-server")
    return [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Redis and two gateways that share it.")
    parser.add_argument("--config", type=Path, default=HERE / "gateway.toml")
    parser.add_argument("--ports", type=int, nargs="+", default=[8081, 8082])
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each gateway")
    parser.add_argument("--redis-port", type=int, default=6390)
    arguments = parser.parse_args()
    environ = {**os.environ, "LLMGW_REDIS_URL": f"redis://127.0.0.1:{arguments.redis_port}/0"}
    serve = [sys.executable, "-m", "asgi_llmgw", "serve", "--config", str(arguments.config)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        stack.enter_context(running(redis_command(arguments.redis_port), environ))
        gateways = [
            stack.enter_context(running([*serve, "--port", str(port), "--workers", str(arguments.workers)], environ))
            for port in arguments.ports
        ]
        for port, gateway in zip(arguments.ports, gateways, strict=True):
            wait_until_ready(f"http://127.0.0.1:{port}", gateway)
        print("ready:", *(f"http://127.0.0.1:{port}" for port in arguments.ports), flush=True)
        try:
            os.wait()
        except KeyboardInterrupt:
            return
        raise SystemExit("a process has ended: stopping the others")


if __name__ == "__main__":
    main()
