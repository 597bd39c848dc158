from __future__ import annotations

import pytest

from asgi_llmgw.config import load_config
from asgi_llmgw.config.load import parse_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.reasoning.envelope import PROCESS_KEY

SECRET = "0123456789abcdef-canary"


def test_processes_with_the_same_key_open_each_others_envelopes() -> None:
    first, second = (
        parse_config({"reasoning": {"carriers_key": "env:SEAL"}}, environ={"SEAL": SECRET}) for _ in range(2)
    )
    assert first.reasoning.sealing_key == second.reasoning.sealing_key != PROCESS_KEY
    assert len(first.reasoning.sealing_key) == 32


def test_without_a_key_each_process_has_its_own() -> None:
    assert load_config(environ={}).reasoning.sealing_key == PROCESS_KEY


def test_a_key_that_can_be_guessed_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"reasoning\.carriers_key.*at least 16") as caught:
        parse_config({"reasoning": {"carriers_key": "sesame"}}, environ={})
    assert "sesame" not in str(caught.value)


def test_the_key_is_in_no_repr() -> None:
    config = parse_config({"reasoning": {"carriers_key": SECRET}}, environ={})
    assert SECRET not in repr(config) and SECRET not in config.model_dump_json()


def test_the_key_can_come_from_the_environment() -> None:
    config = parse_config({}, environ={"LLMGW_REASONING__CARRIERS_KEY": SECRET})
    assert config.reasoning.carriers_key is not None
