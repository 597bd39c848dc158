"""What is handed from one configuration to the next."""

from __future__ import annotations

from asgi_llmgw.shared import Shared


def test_a_part_is_kept_as_long_as_its_settings_are_the_same() -> None:
    first = Shared()
    kept = first.keep("table", 1, lambda: object())
    assert first.keep("table", 1, lambda: object()) is kept
    second = Shared(first)
    assert second.keep("table", 1, lambda: object()) is kept
    assert Shared(second).keep("table", 2, lambda: object()) is not kept


def test_a_part_that_skips_a_configuration_is_made_again() -> None:
    first = Shared()
    kept = first.keep("table", 1, lambda: object())
    second = Shared(first)
    second.built()
    assert Shared(second).keep("table", 1, lambda: object()) is not kept


def test_only_what_nobody_else_has_is_left_over() -> None:
    first = Shared()
    first.keep("kept", None, lambda: "kept")
    first.keep("gone", None, lambda: "gone")
    second = Shared(first)
    second.keep("kept", None, lambda: "new")
    second.built()
    assert [part.value for part in first.parts_without([second])] == ["gone"]
    assert first.parts_without([first]) == []
