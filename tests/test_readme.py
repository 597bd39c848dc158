"""What the README says works: its two commands, its snippets, its configurations, its links."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from asgi_llmgw.components.context import ContextMiddleware
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import loads_object
from asgi_llmgw.providers.table import with_vendor_table
from asgi_llmgw.routing.endpoints import ENDPOINTS
from asgi_llmgw.testing import call, http_scope

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted(page for pattern in ("*.md", "docs/*.md", "examples/*/README.md") for page in ROOT.glob(pattern))

FENCE = re.compile(
    r"(?:<!-- (?P<marker>\w+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\]\((?!https?:|#)(?P<path>[^)#]+)(?:#[^)]*)?\)")
VARIABLE = re.compile(r"env:(\w+)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the word of the comment before it."""

    page: Path
    language: str
    marker: str | None
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for found in FENCE.finditer(page.read_text()):
        yield Block(page, found["language"], found["marker"], found["text"])


ALL = [block for page in PAGES for block in blocks(page)]
IN_README = [block for block in ALL if block.page == README]
NAMED = {page: str(page.relative_to(ROOT)) for page in PAGES}


def of(language: str) -> list[object]:
    return [
        pytest.param(block, id=f"{NAMED[block.page]}-{number}")
        for number, block in enumerate(ALL)
        if block.language == language
    ]


def command(marker: str) -> str:
    (found,) = [block for block in IN_README if block.marker == marker]
    return found.text


@pytest.mark.parametrize("marker", ["run", "test"])
def test_each_of_the_two_commands_is_one_line_alone_in_its_block(marker: str) -> None:
    text = command(marker)
    assert text.strip() and text.count("\n") == 1
    assert "\\" not in text


def test_the_two_commands_come_before_all_others() -> None:
    assert [block.marker for block in IN_README[:2]] == ["run", "test"]


def test_the_run_command_needs_python_alone_and_ends_with_the_gateway() -> None:
    programs = [shlex.split(part)[0] for part in command("run").split("&&")]
    assert programs == ["python3", ".venv/bin/pip", ".venv/bin/asgi-llmgw"]


@pytest.mark.parametrize("marker", ["run", "test"])
def test_the_commands_install_extras_that_exist(marker: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"'\.\[([\w,]+)\]'", command(marker))
    assert set(asked.split(",")) <= set(extras)


def test_ci_runs_the_same_test_command() -> None:
    assert command("test").strip() in (ROOT / ".ci" / "run").read_text().splitlines()


def test_ci_installs_with_the_same_run_command() -> None:
    install, _, serve = command("run").strip().rpartition(" && ")
    script = (ROOT / ".ci" / "run").read_text()
    assert install in script.splitlines()
    assert f".ci/serves.py {serve}" in script


@pytest.mark.parametrize("block", of("python"))
def test_python_snippets_compile(block: Block) -> None:
    compile(block.text, NAMED[block.page], "exec")


@pytest.mark.parametrize("block", [block for block in IN_README if block.marker == "runs"], ids=lambda block: "")
def test_marked_snippets_run(block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "LLMGW_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    names: dict[str, object] = {"__name__": "snippet"}
    exec(compile(block.text, "README.md", "exec"), names)
    told = capsys.readouterr().out
    if "StreamTranslator" in block.text:
        assert "/v1/messages" in told
        assert "warning seed dropped" in told
        assert '"content":"Hi!"' in told
        assert "data: [DONE]" in told and "tool_calls" in told
    else:
        assert callable(names["app"])


def test_every_python_snippet_of_the_readme_is_run() -> None:
    assert [block.text for block in IN_README if block.language == "python" and block.marker != "runs"] == []


@pytest.mark.parametrize("block", of("toml"))
def test_configurations_load(block: Block) -> None:
    environ = {
        name: f"secret-{name}" for name in (*VARIABLE.findall(block.text), "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    }
    config = parse_config(tomllib.loads(block.text), environ=environ)
    assert config.route_table().routes


@pytest.mark.parametrize("block", of("json"))
def test_json_snippets_are_json(block: Block) -> None:
    assert loads_object(block.text.encode())


@pytest.mark.anyio
async def test_the_log_line_has_the_fields_that_are_logged() -> None:
    (shown,) = [loads_object(block.text.encode()) for block in IN_README if block.text.startswith('{"time"')]
    lines: list[bytes] = []
    await call(ContextMiddleware(_answer, access_log=lines.append), http_scope("GET", "/v1/models"))
    assert list(shown) == list(loads_object(lines[0]))


async def _answer(scope: object, receive: object, send: object) -> None:
    assert callable(send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_the_api_table_lists_everything_that_is_served() -> None:
    text = README.read_text()
    assert [row.template for row in ENDPOINTS if f"{row.template}`" not in text] == []


def test_the_metrics_table_lists_every_metric() -> None:
    source = (ROOT / "asgi_llmgw" / "components" / "metrics.py").read_text()
    metrics = set(re.findall(r'"(llm_\w+)"', source))
    assert len(metrics) >= 7
    assert {name for name in metrics if f"| `{name}`" not in README.read_text()} == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMED.get)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [found["path"] for found in LINK.finditer(page.read_text())]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_table_of_vendors_is_that_of_the_catalog() -> None:
    text = README.read_text()
    assert with_vendor_table(text) == text, "python -m asgi_llmgw vendors --write README.md"
