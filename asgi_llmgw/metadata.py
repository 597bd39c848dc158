"""What is known about models: how much they take, and of what kind. Nothing is looked up in the network."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw.patterns import Patterns

Modality: TypeAlias = Literal["text", "image", "audio", "video", "pdf"]

_MAX_REMEMBERED: Final = 4096


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One model. What is None is not known, and nothing is concluded from it.

    Args:
        context_window: tokens it takes.
        max_output_tokens: tokens it gives, reasoning included.
        input_modalities: what may be in a request.
        output_modalities: what may be in an answer.
        tools: it calls tools.
        json_schema: it keeps to a JSON Schema, or the vendor makes it.
        reasoning: it can think before it answers.
    """

    context_window: int | None = None
    max_output_tokens: int | None = None
    input_modalities: tuple[Modality, ...] | None = None
    output_modalities: tuple[Modality, ...] | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None

    def over(self, other: ModelFacts) -> ModelFacts:
        """These facts, and the other's where these say nothing."""
        said = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(other, **said)


UNKNOWN: Final = ModelFacts()


class FactsTable:
    """What is known about which model.

    A pattern is a name or a glob; it is compared with `provider/model` and with the model alone. One's own facts win
    over those that come with the package, fact by fact.

    Args:
        own: facts by pattern.
        packaged: know the models of OpenAI, Anthropic, Google and some others too.
    """

    def __init__(self, own: Mapping[str, ModelFacts] | None = None, *, packaged: bool = True) -> None:
        self._tables = [Patterns(own or {}), *([_packaged()] if packaged else [])]
        self._found: dict[tuple[str, str], ModelFacts] = {}

    def find(self, provider: str, model: str) -> ModelFacts:
        """What is known about a provider's model; `UNKNOWN` if nothing is."""
        key = (provider, model)
        if key not in self._found:
            if len(self._found) >= _MAX_REMEMBERED:
                # models' names may be the clients'
                self._found.clear()
            facts = UNKNOWN
            for table in reversed(self._tables):
                for name in (model, f"{provider}/{model}"):
                    said = table.match(name)
                    facts = facts if said is None else said.over(facts)
            self._found[key] = facts
        return self._found[key]


class _Row(ModelFacts, frozen=True, kw_only=True):
    models: tuple[str, ...]


@cache
def _packaged() -> Patterns[ModelFacts]:
    text = files("asgi_llmgw").joinpath("data", "models.toml").read_text(encoding="utf-8")
    rows = msgspec.convert(tomllib.loads(text)["models"], list[_Row])
    plain = ModelFacts.__struct_fields__
    facts = {row.models: ModelFacts(**{name: getattr(row, name) for name in plain}) for row in rows}
    return Patterns({model: said for models, said in facts.items() for model in models})
