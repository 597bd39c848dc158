"""The reference and the example know every key of the configuration, and no other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from asgi_llmgw.config import Config, load_config
from asgi_llmgw.config.overrides import NAMED, PLAIN
from asgi_llmgw.providers.catalog import CATALOG

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "config.example.toml"


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The settings classes inside a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def keys_of(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, str]]:
    """Every key with the top-level section it stands in."""
    for name, field in model.model_fields.items():
        if section:
            yield section, name
        for inner in models_in(field.annotation):
            yield from keys_of(inner, section or name)


KEYS = sorted(set(keys_of(Config)))


def part_of(text: str, section: str, heading: str) -> str:
    """What a text says below the headings of one section."""
    parts = re.split(heading, text, flags=re.MULTILINE)
    return "".join(body for name, body in zip(parts[1::2], parts[2::2], strict=True) if name == section)


def test_the_walk_finds_the_keys() -> None:
    assert {("server", "port"), ("keys", "expires"), ("providers", "idle"), ("models", "weight")} <= set(KEYS)
    assert {section for section, _ in KEYS} == {*PLAIN, *NAMED}


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_a_key_is_in_the_reference(section: str, key: str) -> None:
    assert f"`{key}`" in part_of(REFERENCE, section, r"^##+ `\[+(\w+)[^`]*`$")


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_a_key_is_in_the_example(section: str, key: str) -> None:
    text = part_of(EXAMPLE.read_text(encoding="utf-8"), section, r"^\[+(\w+)[^\]]*\]+.*$")
    nested = re.search(rf"^\[+{section}\.[^\]]*\.{key}\]", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert nested or re.search(rf"(^|[{{,] ?){key} = ", text, re.MULTILINE)


def test_the_example_loads_with_the_variables_it_names() -> None:
    variables = re.findall(r'"env:(\w+)"', EXAMPLE.read_text(encoding="utf-8"))
    config = load_config(EXAMPLE, environ={name: f"value-of-{name}" for name in variables})
    assert len(config.client_keys()) == 2
    assert config.route_table().match("smart") is not None
    assert config.warnings() == ()


def test_the_example_names_its_variables_at_the_top() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    head = text.partition("[server]")[0]
    assert all(f"{name}=" in head for name in re.findall(r'"env:(\w+)"', text))


def test_the_reference_describes_no_key_that_does_not_exist() -> None:
    known = {key for _, key in KEYS}
    described = re.findall(r"^\| `(\w+)` \|", REFERENCE, re.MULTILINE)
    assert described
    assert set(described) <= known


def test_the_reference_lists_the_catalog() -> None:
    assert all(f"`{name}`" in REFERENCE for name in CATALOG)


def test_the_example_is_toml_as_the_standard_library_reads_it() -> None:
    assert set(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))) == {*PLAIN, *NAMED}
