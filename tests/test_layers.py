"""Imports run strictly downwards: the floors of the house against every import in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "asgi_llmgw"

# From the ground up. On one floor, each name is a stranger to the others; below a name, everything is its own.
FLOORS = (
    ("_types", "errors", "json", "patterns", "timeouts"),
    ("eventstream", "sse"),
    ("envelopes", "framing", "refrain"),
    ("ir",),
    ("protocols.base", "protocols.scrub"),
    ("protocols.calls", "protocols.fields", "protocols.plain", "protocols.schema"),
    ("protocols.data_urls", "protocols.openai"),
    (
        "protocols.openai_chat",
        "protocols.openai_responses",
        "protocols.anthropic_messages",
        "protocols.gemini_generate",
        "protocols.bedrock_converse",
    ),
    ("protocols",),
    ("operations", "reasoning", "streams", "tool_names"),
    ("translate",),
    ("uploads",),
    ("answer", "interrupt", "signing"),
    ("asgi", "exchange", "logs", "metadata", "passthrough", "providers", "pricing", "store", "tokens", "upstream"),
    ("access_log", "hooks", "limiting", "render", "routing", "stall"),
    ("health_checks", "vendor_call"),
    tuple(f"components.{path.stem}" for path in sorted((PACKAGE / "components").glob("[!_]*"))),
    ("components",),
    ("config",),
    ("shared",),
    ("gateway",),
    ("operation_stack",),
    ("assembly",),
    ("app", "collector", "reloading", "testing"),
    ("worker",),
    ("supervisor",),
    ("serve",),
    ("conformance",),
    ("cli",),
    ("__main__", ""),
)
PLACE = {name: floor for floor, names in enumerate(FLOORS) for name in names}
PURE = PLACE["translate"]
KEPT_OUT = {"aiohttp", "anyio", "asyncio", "httpx", "httpx2", "prometheus_client", "pydantic", "uvicorn"}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def home(module: str) -> str:
    """The longest name in the table that this module is, or lies below."""
    while module not in PLACE:
        assert module, "the table has a place for everything"
        module = module.rpartition(".")[0]
    return module


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module this file imports, anywhere in it; relative names made absolute. The version is no module."""
    package = path.parent.relative_to(PACKAGE.parent).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join((*above, *filter(None, [node.module])))
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner != "asgi_llmgw.__version__":
                    yield node.lineno, inner if inner.removeprefix("asgi_llmgw.") in MODULES else source


ALL = [
    (home(module_name(path)), name, f"{path.name}:{line} imports {name}")
    for path in FILES
    for line, name in imports(path)
]
OURS = [(here, home(name[11:]), place) for here, name, place in ALL if f"{name}.".startswith("asgi_llmgw.")]
FOREIGN = [(here, name, place) for here, name, place in ALL if not f"{name}.".startswith("asgi_llmgw.")]


def test_every_module_has_a_place() -> None:
    assert [module for module in MODULES if module and not home(module)] == []


def test_imports_run_strictly_downwards() -> None:
    for here, there, place in OURS:
        assert there == here or PLACE[there] < PLACE[here], place


def test_the_ground_floors_know_no_event_loop_and_no_server() -> None:
    for here, imported, place in FOREIGN:
        assert PLACE[here] > PURE or imported.partition(".")[0] not in KEPT_OUT, place


def test_codecs_are_reached_through_their_door_alone() -> None:
    for here, there, place in OURS:
        assert PLACE[here] <= PLACE["protocols"] or PLACE[there] != PLACE["protocols.openai_chat"], place


def test_the_check_sees_every_kind_of_import(tmp_path: Path) -> None:
    path = PACKAGE / "ir" / "imaginary.py"
    text = (
        "import asyncio\nfrom . import fold\nfrom .parts import Part\ndef f():\n    from asgi_llmgw import translate\n"
    )
    probe = tmp_path / "asgi_llmgw" / "ir" / path.name
    probe.parent.mkdir(parents=True)
    probe.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "PACKAGE", tmp_path / "asgi_llmgw")
        found = [name for _, name in imports(probe)]
    assert found == ["asyncio", "asgi_llmgw.ir.fold", "asgi_llmgw.ir.parts", "asgi_llmgw.translate"]
