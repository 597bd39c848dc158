"""Every example runs as its README says, over a real socket."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from openai import AuthenticationError, NotFoundError, OpenAI
from openai.types.chat import ChatCompletionChunk

from asgi_llmgw.json import JSONObject, loads_object
from asgi_llmgw.sse import SSEDecoder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECRET = "a-long-secret-of-team-a"
PATIENCE = 30.0
QUESTION = [{"role": "user", "content": "Say hello."}]


def commands(example: str) -> list[str]:
    """The commands of an example's README, in order."""
    text = (EXAMPLES / example / "README.md").read_text()
    return [line for block in CONSOLE.findall(text) for line in block.splitlines()]


def one_command(example: str, begins: str) -> str:
    (found,) = [command for command in commands(example) if command.startswith(begins)]
    return found


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """No vendor's key, whatever this machine has; the package of this checkout."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("LLMGW_") and "API_KEY" not in name
    }
    return {**kept, "PYTHONPATH": str(EXAMPLES.parent), "PYTHONUNBUFFERED": "1", **more}


def arguments(command: str, port: int | None = None) -> list[str]:
    """A command with this interpreter's own programs, and with a free port instead of 8080."""
    program, *rest = shlex.split(command if port is None else command.replace("8080", str(port)))
    if program == "asgi-llmgw" and port is not None:
        rest += ["--port", str(port)]
    return [sys.executable, *([] if program == "python" else ["-m", program.replace("-", "_")]), *rest]


def run(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(command),
        cwd=folder,
        env=environment(more),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@dataclass
class Running:
    """A server that was started; its log once it has ended."""

    url: str
    log: list[JSONObject] = field(default_factory=list)
    clients: ExitStack = field(default_factory=ExitStack)

    def client(self, key: str) -> OpenAI:
        client = OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE)
        return self.clients.enter_context(client)

    @property
    def outcomes(self) -> list[object]:
        return [line["outcome"] for line in self.log if line["endpoint"] == "/v1/chat/completions"]


@contextmanager
def serving(command: str, folder: Path, **more: str) -> Iterator[Running]:
    """Start a server as the README says, wait until it listens, and see that SIGTERM ends it in order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        arguments(command, port),
        cwd=folder,
        env=environment(more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    running = Running(f"http://127.0.0.1:{port}")
    try:
        wait_until_listening(process, port)
        with running.clients:
            yield running
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    running.log = [loads_object(line) for line in out.splitlines() if line.startswith(b'{"time"')]
    # a server of its own that drained after a signal ends by that signal, which is in order too
    assert process.returncode in (0, -signal.SIGTERM), err.decode()
    assert b"Traceback" not in err, err.decode()


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError(f"nobody listens: {process.communicate()[1].decode() if process.poll() is not None else ''}")


def streamed(client: OpenAI, model: str) -> str:
    chunks = client.chat.completions.create(model=model, messages=QUESTION, stream=True)  # type: ignore[arg-type]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)  # type: ignore[union-attr]


def asked(client: OpenAI, model: str) -> str:
    answer = client.chat.completions.create(model=model, messages=QUESTION)  # type: ignore[arg-type]
    return answer.choices[0].message.content or ""


STANDALONE = EXAMPLES / "standalone"


@pytest.mark.parametrize("program", ["asgi-llmgw", "uvicorn", "hypercorn"])
def test_standalone_runs_under_every_server(program: str) -> None:
    with serving(one_command("standalone", program), STANDALONE, LLMGW_KEY_TEAM_A=SECRET) as gateway:
        client = gateway.client(SECRET)
        assert [model.id for model in client.models.list()] == ["smart", "fast"]
        assert asked(client, "smart")
        assert streamed(client, "claude-sonnet-4-5")
        with pytest.raises(AuthenticationError):
            asked(gateway.client("a-guess"), "smart")
        with pytest.raises(NotFoundError):
            asked(client, "gpt-4o")
    assert gateway.outcomes == ["completed", "completed", "rejected", "rejected"]


def test_the_standalone_client_prints_both_kinds_of_answer() -> None:
    command = one_command("standalone", "asgi-llmgw")
    with serving(command, STANDALONE, LLMGW_KEY_TEAM_A=SECRET) as gateway:
        told = run("python client.py", STANDALONE, LLMGW_KEY_TEAM_A=SECRET, LLMGW_URL=f"{gateway.url}/v1").stdout
    assert re.search(r"^models: smart, fast\nwhole: .+\nstreamed: .+\ntokens: \d+ in, \d+ out$", told, re.DOTALL)


FASTAPI = EXAMPLES / "fastapi_mount"


def test_fastapi_hands_its_tokens_over_and_keeps_its_own_routes() -> None:
    with serving(one_command("fastapi_mount", "uvicorn app:app"), FASTAPI, SITE_TOKEN=SECRET) as site:
        assert asked(site.client(SECRET), "any-name")
        assert streamed(site.client(SECRET), "any-name")
        with pytest.raises(AuthenticationError):
            asked(site.client("a-guess"), "any-name")
        mine = httpx.get(f"{site.url}/whoami", headers={"authorization": f"Bearer {SECRET}"})
        assert mine.json() == {"name": "alice"}
        assert httpx.get(f"{site.url}/whoami").status_code == 401
        assert httpx.get(f"{site.url}/v1/nothing").json()["error"]["code"] == "unknown_url"
    assert [line["api_key"] for line in site.log][:2] == ["alice", "alice"]
    assert site.outcomes == ["completed", "completed", "rejected"]


def test_fastapi_hands_its_signed_in_user_over_without_a_lifespan() -> None:
    with serving(one_command("fastapi_mount", "uvicorn with_users:app"), FASTAPI, SITE_SESSION=SECRET) as site:
        signed_in = {"cookie": f"session={SECRET}"}
        body = {"model": "any-name", "messages": QUESTION}
        answer = httpx.post(f"{site.url}/v1/chat/completions", json=body, headers=signed_in)
        assert answer.json()["choices"][0]["message"]["content"]
        with httpx.stream(
            "POST", f"{site.url}/v1/chat/completions", json={**body, "stream": True}, headers=signed_in
        ) as stream:
            assert list(stream.iter_lines())[-2] == "data: [DONE]"
        assert httpx.get(f"{site.url}/v1/models", headers={"cookie": "session=a-guess"}).status_code == 401
    assert [line["api_key"] for line in site.log] == ["alice", "alice", None]


DJANGO = EXAMPLES / "django_mount"


def test_django_and_the_gateway_share_a_server_and_a_database(tmp_path: Path) -> None:
    database = str(tmp_path / "site.sqlite3")
    *set_up, serve = commands("django_mount")
    told = [run(command, DJANGO, SITE_DATABASE=database).stdout for command in set_up]
    secret = told[-1].strip()
    with serving(serve, DJANGO, SITE_DATABASE=database) as site:
        assert httpx.get(f"{site.url}/").json() == {"site": "django", "clients": 1}
        assert httpx.get(f"{site.url}/nothing").status_code == 404
        assert asked(site.client(secret), "any-name")
        assert streamed(site.client(secret), "any-name")
        with pytest.raises(AuthenticationError):
            asked(site.client("a-guess"), "any-name")
    assert [line["api_key"] for line in site.log] == ["team-a", "team-a", None]
    assert site.outcomes == ["completed", "completed", "rejected"]


def test_the_django_migrations_match_its_models(tmp_path: Path) -> None:
    run("python manage.py makemigrations --check --dry-run", DJANGO, SITE_DATABASE=str(tmp_path / "site.sqlite3"))


def test_the_translator_turns_the_saved_stream_into_chunks() -> None:
    (command,) = commands("stream_translator")
    done = run(command, EXAMPLES.parent)
    *chunks, last = [frame.data.decode() for frame in SSEDecoder().feed(done.stdout.encode())]
    assert last == "[DONE]"
    choices = [choice for chunk in chunks for choice in ChatCompletionChunk.model_validate_json(chunk).choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    assert text == "I will look up the weather in Zürich for you."
    calls = [call.function for choice in choices for call in choice.delta.tool_calls or () if call.function]
    assert calls[0].name == "get_weather"
    filled_in = loads_object("".join(call.arguments or "" for call in calls))
    assert filled_in == {"city": "Zürich", "unit": "celsius"}
    assert choices[-1].finish_reason == "tool_calls"
    assert "412 in, 58 out" in done.stderr


def test_every_example_says_how_to_run_it() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {"standalone", "fastapi_mount", "django_mount", "stream_translator", "cluster"}
    assert {name: bool(commands(name)) for name in folders} == dict.fromkeys(folders, True)
