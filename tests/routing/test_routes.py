"""Which model name goes where."""

from __future__ import annotations

from asgi_llmgw.exchange import Target
from asgi_llmgw.routing.routes import Route, RouteTable


def route(name: str) -> Route:
    return Route(name, (Target("openai", "*"),))


def matched(table: RouteTable, model: str) -> str | None:
    found = table.match(model)
    return found.name if found else None


def test_an_exact_name_wins_over_every_glob() -> None:
    table = RouteTable([route("*"), route("gpt-4o*"), route("gpt-4o")])
    assert matched(table, "gpt-4o") == "gpt-4o"


def test_a_longer_glob_wins_over_a_shorter_one() -> None:
    table = RouteTable([route("*"), route("gpt-*"), route("gpt-4o-*")])
    assert matched(table, "gpt-4o-mini") == "gpt-4o-*"
    assert matched(table, "gpt-5") == "gpt-*"
    assert matched(table, "o3") == "*"


def test_of_two_globs_of_one_length_the_first_wins() -> None:
    assert matched(RouteTable([route("a*"), route("*b")]), "ab") == "a*"


def test_names_are_case_sensitive() -> None:
    assert matched(RouteTable([route("gpt-*")]), "GPT-4o") is None


def test_the_default_takes_the_rest() -> None:
    table = RouteTable([route("a")], default=route("*"))
    assert matched(table, "a") == "a"
    assert matched(table, "b") == "*"
    assert [found.name for found in table.routes] == ["a", "*"]


def test_without_a_default_an_unknown_model_has_no_route() -> None:
    assert matched(RouteTable([]), "b") is None


def test_only_whole_names_are_told_to_clients() -> None:
    assert RouteTable([route("b"), route("*"), route("a"), route("gpt-?")]).names() == ("b", "a")


def test_a_target_may_pass_the_clients_name_on() -> None:
    found = Route("claude-*", (Target("claude", "*", 2), Target("openai", "gpt-4o")))
    assert found.targets_for("claude-x") == (Target("claude", "claude-x", 2), Target("openai", "gpt-4o"))
