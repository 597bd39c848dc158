"""The package's own source, for tests of what must not stand in it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "asgi_llmgw"


@cache
def nodes() -> Mapping[str, list[ast.AST]]:
    """Everything in each file, by its path below the package; parsed once for all tests of a run."""
    return {
        path.relative_to(PACKAGE).as_posix(): list(ast.walk(ast.parse(path.read_text())))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
