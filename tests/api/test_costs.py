"""What may be said of a cost, and what prices make of it."""

from __future__ import annotations

from decimal import Decimal, localcontext
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascada import BadInput, Bill, Cache, Cost, Loaded, Price
from cascada.model.bills.bill import (
    FIELDS,
    LONGEST,
    MOST_MONEY,
    MOST_TOKENS,
    apart,
    count_in,
    together,
)
from cascada.model.bills.cost import packed, prices_given

OPENAI = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
SEVEN = Cost(tokens_in=7, tokens_out=3, tokens_cached=2)


@pytest.mark.parametrize(
    ("given", "cost"),
    [
        (0.1, Cost(money=Decimal("0.1"))),
        (0, Cost(money=Decimal(0))),
        (numpy.float64(0.1), Cost(money=Decimal("0.1"))),
        (numpy.int8(2), Cost(money=Decimal(2))),
        (Decimal("0.10"), Cost(money=Decimal("0.10"))),
        (SEVEN, SEVEN),
        (OPENAI, SEVEN),
        (SimpleNamespace(**OPENAI), SEVEN),
        ({"usage": OPENAI}, SEVEN),
        (SimpleNamespace(usage=SimpleNamespace(**OPENAI), model=None), SEVEN),
        (
            {"usage": OPENAI, "model": "m"},
            Cost(model="m", tokens_in=7, tokens_out=3, tokens_cached=2),
        ),
        ({"usage": None, "model": "m"}, Cost(model="m")),
        (
            {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}},
            SEVEN,
        ),
        (
            SimpleNamespace(
                usage_metadata={
                    "input_tokens": 7,
                    "output_tokens": 3,
                    "input_token_details": {"cache_read": 2},
                },
                response_metadata={"model_name": "m"},
            ),
            Cost(model="m", tokens_in=7, tokens_out=3, tokens_cached=2),
        ),
        ({"prompt_tokens": 7, "total_tokens": 7}, Cost(tokens_in=7)),
        ({"model": "  ", "usage": {"input_tokens": 7, "output_tokens": 0}}, Cost(tokens_in=7)),
    ],
)  # fmt: skip
def test_a_cost_is_said_in_many_ways(given: Any, cost: Cost) -> None:
    assert Loaded(1, cost=given).cost == cost


@pytest.mark.parametrize(
    "wrong",
    [True, "0.1", b"1", -1, -0.01, float("nan"), float("inf"), Decimal("NaN"), 10_000_001, [], {},
     object(), {"tokens": 7}, numpy.bool_(True)],
)  # fmt: skip
def test_what_is_no_cost_is_refused_where_it_is_said(wrong: Any) -> None:
    with pytest.raises(BadInput, match=r"Loaded\.cost is"):
        Loaded(1, cost=wrong)


def money(cost: Cost, **prices: Any) -> Decimal | None:
    return Bill.of(packed(1, cost, prices_given({"m": prices}))).money


def test_a_price_counts_each_sort_of_token_and_what_is_not_said_is_unknown() -> None:
    cost = Cost(model="m", tokens_in=1000, tokens_out=100, tokens_cached=300, tokens_written=200)
    assert money(cost, input=2, output=8) == Decimal("0.0028")
    assert money(cost, input=2, output=8, cached=0.5, written=2.5) == Decimal("0.00245")
    assert money(cost, input=2, output=8, call=0.01) == Decimal("0.0128")
    assert money(cost, call=0.01) == Decimal("0.01")
    assert money(cost, input=2) is None, "nobody has said what the rest costs"
    assert money(cost, output=8) is None
    assert money(Cost(model="m", tokens_in=1000), input=2) == Decimal("0.002")
    assert money(Cost(model="m"), input=2, output=8, call=1) is None
    assert money(Cost(model="another", tokens_in=1), input=2) is None
    assert money(Cost(tokens_in=1), input=2) is None
    assert money(Cost(model="m-2025-08-07", tokens_in=10**6), input=2) == 2
    assert money(Cost(model="m-mini", tokens_in=10**6), input=2) is None, "another model"
    assert money(Cost(model="m", money=5, tokens_in=10**6), input=2) == 5


def test_no_sum_loses_anything_whatever_the_thread_rounds_to() -> None:
    with localcontext() as context:
        context.prec = 3
        cost = Cost(model="m", tokens_in=123_456_789)
        one = packed(0.1, cost, prices_given({"m": Price(input=Decimal("0.123456"))}))
        total = Bill.of(one * 1_000_000)
    assert total.money == 123_456_789 * Decimal("0.123456")
    assert (total.tokens_in, total.seconds) == (123_456_789 * 10**6, 100_000.0)
    most = Cost(money=MOST_MONEY, tokens_in=MOST_TOKENS, tokens_out=MOST_TOKENS)
    total = Bill.of(packed(1e30, most, {}) * 10**9)
    assert (total.money, total.tokens_in, total.count) == (10**16, MOST_TOKENS * 10**9, 10**9)
    assert total.seconds == LONGEST * 10**9 / 1e6


@pytest.mark.parametrize(
    "prices",
    [{"m": 1.5}, {"m": {"inputs": 1}}, {"m": {"input": "1"}}, {"m": {"input": -1}}, {7: Price()},
     [("m", Price())], {"": Price()}, "m"],
)  # fmt: skip
def test_wrong_prices_are_refused_when_the_cache_is_made(prices: Any) -> None:
    with pytest.raises(BadInput):
        Cache(prices=prices)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e7),
            st.none() | st.integers(0, MOST_TOKENS),
            st.none() | st.integers(0, 99),
        ),
        max_size=20,
    ),
    st.integers(0, 10**12),
)
def test_a_sum_that_has_become_a_float_still_says_how_many(
    loads: list[tuple[float, int | None, int | None]], times: int
) -> None:
    """As workers have it on file, where the parts are kept by themselves."""
    made = [
        packed(seconds, Cost(tokens_in=tokens, money=paid), {}) for seconds, tokens, paid in loads
    ]
    total = sum(made) * times
    assert count_in(float(total)) == len(made) * times
    assert together(dict(zip(FIELDS, apart(total), strict=True))) == total
