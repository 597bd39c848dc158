"""`[metadata."NAME"]`: what models take and give, where the packaged facts are missing or wrong."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from asgi_llmgw.config.fields import SETTINGS
from asgi_llmgw.metadata import FactsTable, Modality, ModelFacts


class MetadataSettings(BaseModel):
    """`[metadata."NAME"]`: facts about a model, or about those that a glob covers."""

    model_config = SETTINGS

    context_window: int | None = Field(default=None, ge=1, le=1_000_000_000)
    max_output_tokens: int | None = Field(default=None, ge=1, le=1_000_000_000)
    input_modalities: tuple[Modality, ...] | None = None
    output_modalities: tuple[Modality, ...] | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None

    @property
    def facts(self) -> ModelFacts:
        """The same as they are looked up."""
        return ModelFacts(
            context_window=self.context_window,
            max_output_tokens=self.max_output_tokens,
            input_modalities=self.input_modalities,
            output_modalities=self.output_modalities,
            tools=self.tools,
            json_schema=self.json_schema,
            reasoning=self.reasoning,
        )


def build_facts(metadata: Mapping[str, MetadataSettings]) -> FactsTable:
    """All facts: the configured ones, then those that come with the package."""
    return FactsTable({name: settings.facts for name, settings in metadata.items()})
