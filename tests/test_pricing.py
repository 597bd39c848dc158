"""What tokens cost: sums, nonsense, and which price a model has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asgi_llmgw
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Usage
from asgi_llmgw.pricing import MAX_TOKENS, LongContext, Price, PriceTable, cost, highest_cost

PLAIN = Price(input=2.5, output=10.0, cached_input=1.25)
FULL = Price(input=3.0, output=15.0, cached_input=0.3, cache_write=3.75, cache_write_1h=6.0, reasoning=20.0)
MEDIA = Price(
    input=1.0, output=2.0, reasoning=3.0, cached_input=0.5, audio_input=10.0, audio_output=20.0, image_output=30.0
)
COUNTED = Price(input=0.0, output=0.0, picture=0.04, minute=0.006, characters=15.0)
LONG = Price(input=1.0, output=2.0, long_context=LongContext(over=1000, input=10.0, output=20.0))


@pytest.mark.parametrize(
    ("usage", "price", "millionths"),
    [
        (Usage(input_tokens=1_000_000, output_tokens=1_000_000), PLAIN, 12_500_000),
        (Usage(input_tokens=1000, output_tokens=0, cache_read_tokens=400), PLAIN, 2000),
        (Usage(input_tokens=1000, output_tokens=0, cache_read_tokens=400, cache_write_tokens=100), FULL, 1995),
        (Usage(input_tokens=100, cache_write_tokens=100, cache_write_1h_tokens=40), FULL, 465),
        (Usage(input_tokens=0, output_tokens=100, reasoning_tokens=60), FULL, 1800),
        (Usage(input_tokens=1000, output_tokens=10), LONG, 1020),
        (Usage(input_tokens=1001, output_tokens=10), LONG, 10_210),
        (Usage(input_tokens=1, output_tokens=0), Price(input=0.025, output=0.0), 1),
        (Usage(input_tokens=3, output_tokens=0), Price(input=0.1, output=0.0), 1),
        (Usage(input_tokens=30, output_tokens=0), Price(input=0.1, output=0.0), 3),
        (Usage(), FULL, 0),
        (Usage(input_tokens=100, audio_input_tokens=40), MEDIA, 460),
        (Usage(input_tokens=100, audio_input_tokens=40, cache_read_tokens=80), MEDIA, 240),
        (Usage(output_tokens=100, audio_output_tokens=40, image_output_tokens=30, reasoning_tokens=10), MEDIA, 1770),
        (Usage(output_tokens=100, audio_output_tokens=400, image_output_tokens=30), MEDIA, 2000),
        (Usage(output_tokens=100, audio_output_tokens=40), PLAIN, 1000),
        (Usage(pictures=2), COUNTED, 80_000),
        (Usage(seconds=30.0), COUNTED, 3000),
        (Usage(seconds=0.1), COUNTED, 11),
        (Usage(characters=4096), COUNTED, 61_440),
    ],
    ids=[
        "plain",
        "cached",
        "written",
        "for-an-hour",
        "reasoning",
        "short",
        "long",
        "part",
        "tenths",
        "exact",
        "none",
        "sound",
        "cached sound",
        "sound and pictures",
        "more sound than there is",
        "sound at the price of text",
        "pictures",
        "half a minute",
        "less than a second",
        "characters",
    ],
)
def test_tokens_cost_what_the_price_says_rounded_up(usage: Usage, price: Price, millionths: int) -> None:
    assert cost(usage, price) == millionths


def test_a_share_without_a_price_of_its_own_is_a_share_all_the_same() -> None:
    usage = Usage(input_tokens=100, output_tokens=0, cache_read_tokens=90, audio_input_tokens=50)
    assert cost(usage, Price(input=1.0, output=1.0, audio_input=11.0)) == 90 + 10 * 11


@pytest.mark.parametrize(
    ("usage", "millionths"),
    [
        (Usage(input_tokens=-5, output_tokens=10), 100),
        (Usage(input_tokens=None, output_tokens=10), 100),
        (Usage(input_tokens=10**18, output_tokens=0), MAX_TOKENS * 5 // 2),
        (Usage(input_tokens=100, output_tokens=0, cache_read_tokens=10**18), 125),
        (Usage(input_tokens=100, output_tokens=0, cache_read_tokens=-7), 250),
    ],
    ids=["negative", "missing", "absurd", "share-too-large", "negative-share"],
)
def test_nonsense_is_cut_down(usage: Usage, millionths: int) -> None:
    """F140"""
    assert cost(usage, PLAIN) == millionths


COUNTS = st.one_of(st.none(), st.integers(-(10**19), 10**19), st.integers(0, 100_000))


USAGES = st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS).map(
    lambda counts: Usage(
        input_tokens=counts[0],
        output_tokens=counts[1],
        cache_read_tokens=counts[2],
        cache_write_tokens=counts[3],
        cache_write_1h_tokens=counts[4],
        reasoning_tokens=counts[5],
        audio_input_tokens=counts[6],
        audio_output_tokens=counts[7],
        image_output_tokens=counts[8],
    )
)


@given(USAGES)
def test_a_sum_is_never_negative_nor_more_than_the_highest(usage: Usage) -> None:
    """F140 F189: what is reserved covers what is settled, whatever the tokens turn out to be."""
    for price in (PLAIN, FULL, LONG, MEDIA):
        assert 0 <= cost(usage, price) <= highest_cost(usage.input_tokens or 0, usage.output_tokens or 0, price)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(pictures=-3, seconds=-1.0, characters=-5),
        Usage(seconds=float("nan")),
        Usage(seconds=float("inf")),
        Usage(seconds=1e300),
    ],
)
def test_what_cannot_have_been_counted_costs_nothing(usage: Usage) -> None:
    """F140"""
    assert cost(usage, COUNTED) == 0


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf"), 1e9])
def test_a_price_is_a_sane_number(amount: float) -> None:
    with pytest.raises(ConfigError):
        Price(input=amount, output=1.0)
    with pytest.raises(ConfigError):
        Price(input=1.0, output=1.0, reasoning=amount)
    with pytest.raises(ConfigError):
        Price(input=1.0, output=1.0, image_output=amount)
    with pytest.raises(ConfigError):
        Price(input=1.0, output=1.0, minute=amount)


def test_own_prices_win_over_those_of_the_package() -> None:
    table = PriceTable({"gpt-4o": PLAIN})
    assert table.find("openai", "gpt-4o") == PLAIN
    found = table.find("openai", "gpt-4o-mini")
    assert found is not None and (found.input, found.output) == (0.15, 0.6)


def test_an_own_glob_wins_over_a_name_of_the_package() -> None:
    assert PriceTable({"*": PLAIN}).find("openai", "gpt-4o-mini") == PLAIN


@pytest.mark.parametrize(
    ("provider", "model", "number"),
    [("a", "one", 1.0), ("b", "one", 2.0), ("b", "one-more", 3.0), ("b", "other", 4.0), ("c", "x/one", 5.0)],
)
def test_a_name_wins_over_a_glob_and_the_longer_glob_over_the_shorter(provider: str, model: str, number: float) -> None:
    patterns = {"a/one": 1.0, "one": 2.0, "one*": 3.0, "o*": 4.0, "x/one": 5.0}
    table = PriceTable({name: Price(input=each, output=0.0) for name, each in patterns.items()})
    found = table.find(provider, model)
    assert found is not None and found.input == number


def test_what_nobody_has_a_price_for_has_none() -> None:
    table = PriceTable()
    assert table.find("vllm", "my-own-model") is None
    assert table.find("openai", "gpt-4o-of-tomorrow") is None
    assert PriceTable(packaged=False).find("openai", "gpt-4o") is None


def test_names_of_clients_do_not_fill_the_memory() -> None:
    table = PriceTable({"*": PLAIN})
    assert all(table.find("a", f"model-{number}") is PLAIN for number in range(10_000))
    assert len(table._found) <= 4096


@pytest.mark.parametrize(
    ("model", "amounts"),
    [
        ("gpt-4o", (2.5, 10.0)),
        ("gpt-4o-mini-2024-07-18", (0.15, 0.6)),
        ("gpt-5.4-mini", (0.75, 4.5)),
        ("claude-sonnet-4-5-20250929", (3.0, 15.0)),
        ("claude-opus-4-20250514", (15.0, 75.0)),
        ("claude-opus-4-5", (5.0, 25.0)),
        ("claude-haiku-5-5", (0.1, 0.5)),
        ("gemini-2.5-pro", (1.25, 10.0)),
        ("gemini-2.5-flash-lite", (0.1, 0.4)),
        ("gemini-3.8-flash-tts", (0.5, 9.0)),
        ("gemini-2.5-flash-image", (0.3, 30.0)),
    ],
)
def test_list_prices_come_with_the_package(model: str, amounts: tuple[float, float]) -> None:
    found = PriceTable().find("any", model)
    assert found is not None and (found.input, found.output) == amounts


def test_the_list_names_each_model_once_and_charges_more_for_more() -> None:
    text = (Path(asgi_llmgw.__file__).parent / "data" / "prices.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["prices"]
    names = [name for row in rows for name in row["models"]]
    assert len(names) == len(set(names)) > 100
    for row in rows:
        assert row.get("cached_input", 0) <= row["input"] < row["output"] or row["minute"] > row["output"] == 0, row
        assert row["input"] < row.get("audio_input", 1e9), row
        assert row["input"] <= row.get("cache_write", row["input"]) <= row.get("cache_write_1h", 1e9), row
        for kind, amount in row.get("long_context", {}).items():
            assert kind == "over" or amount > row[kind], row


def test_prices_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        PLAIN.input = 0.0  # type: ignore[misc]
    assert msgspec.structs.replace(PLAIN, input=0.0).input == 0.0
