"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = {path: path.read_text() for path in sorted((ROOT / "asgi_llmgw").rglob("*.py"))}
OTHERS = {path: path.read_text() for name in ("tests", "examples") for path in sorted((ROOT / name).rglob("*.py"))}
EVERYTHING = PACKAGE | OTHERS
TREES = {path: ast.parse(text) for path, text in EVERYTHING.items()}

MAX_LINES, MAX_FUNCTION = 500, 50
ELSEWHERE = re.compile(r"/(?:work|tmp|root|home)/|\.pyenv|/opt/")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|NotImplementedError")
DANGEROUS = {"eval", "exec", "compile", "__import__", "breakpoint"}
BEHIND_THE_DOOR = {"json.py", "_types.py"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function below its docstring: words are not code."""
    first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def test_no_file_is_long() -> None:
    lines = {name(path): len(text.splitlines()) for path, text in EVERYTHING.items()}
    assert {file: count for file, count in lines.items() if count > MAX_LINES} == {}


def test_no_function_is_long() -> None:
    functions = [(path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    lines = {f"{name(path)}:{node.lineno} {node.name}": code_lines(node) for path, node in functions}
    assert {function: count for function, count in lines.items() if count > MAX_FUNCTION} == {}


def test_every_module_says_what_it_is() -> None:
    assert [name(path) for path, text in PACKAGE.items() if text and not ast.get_docstring(TREES[path])] == []


def test_annotations_are_imported_first() -> None:
    late = []
    for path, tree in TREES.items():
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        if imports and not (isinstance(imports[0], ast.ImportFrom) and imports[0].module == "__future__"):
            late.append(name(path))
    assert late == []


def test_every_public_name_says_what_it_is() -> None:
    kinds = (ast.ClassDef, *FUNCTIONS)
    public = [(path, node) for path in PACKAGE for node in TREES[path].body if isinstance(node, kinds)]
    mute = [f"{name(path)}:{node.name}" for path, node in public if node.name[0] != "_" and not ast.get_docstring(node)]
    assert mute == []


def test_nothing_is_left_unfinished() -> None:
    texts = {path: text for path, text in EVERYTHING.items() if path != Path(__file__)}
    assert {name(path): found for path, text in texts.items() if (found := UNFINISHED.findall(text))} == {}


def test_no_machine_is_named() -> None:
    texts = {path: text for path, text in EVERYTHING.items() if path != Path(__file__)}
    assert {name(path): found for path, text in texts.items() if (found := ELSEWHERE.findall(text))} == {}


def test_nothing_prints_and_nothing_is_run_from_text() -> None:
    """F228"""
    for path in PACKAGE:
        calls = [node.func for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
        forbidden = DANGEROUS if path.name == "cli.py" else DANGEROUS | {"print"}
        assert forbidden.isdisjoint(call.id for call in calls if isinstance(call, ast.Name)), name(path)


def test_json_has_one_door_and_any_stays_behind_it() -> None:
    for path, text in PACKAGE.items():
        if path.name not in BEHIND_THE_DOOR:
            assert not re.search(r"^\s*(?:import json\b|from json import)", text, re.MULTILINE), name(path)
            assert not re.search(r"^\s*from typing import [^\n]*\bAny\b", text, re.MULTILINE), name(path)
