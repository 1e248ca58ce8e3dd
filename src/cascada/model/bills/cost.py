"""What one load cost, as its loader says it, and what a model's tokens cost, as the user says it.

Loaders pass it as `Loaded(cost=)`, generators of streams yield it. `bill` turns it into the number
that is kept and added up. What is not known stays unknown: a missing price is never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from cascada.model.bills import bill, usage
from cascada.model.bills.bill import MOST_MONEY, MOST_TOKENS, units_of
from cascada.model.door import arguments
from cascada.model.door.checked import Checked, field, or_none
from cascada.model.door.plain import number_of, whole_of
from cascada.model.errors import BadInput

_MILLION: Final = 1_000_000

_DATED: Final = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}$")
"""How a provider's name of a model goes on: gpt-5-2025-08-07, claude-sonnet-4-5-20250929."""


def money(value: object, what: str) -> Decimal:
    """An amount of money. A float is what its shortest decimal form says, so 0.1 is a tenth."""
    accepted = f"a number from 0 to {MOST_MONEY:,}, as an int, a float or a Decimal"
    if issubclass(type(value), Decimal):
        plain = Decimal(value)  # type: ignore[arg-type]  # its class has said so
    elif (whole := whole_of(value)) is not None:
        plain = Decimal(whole)
    else:
        number = number_of(value)
        if number is None:
            raise arguments.refused(what, value, accepted, typed=True)
        plain = Decimal(repr(number)) if math.isfinite(number) else Decimal("NaN")
    if not plain.is_finite() or not 0 <= plain <= MOST_MONEY:
        raise arguments.refused(what, value, accepted)
    return plain


class Price(Checked):
    """What calls of a model cost: tokens by the million, and each call.

    input: tokens that go in; cached, written: those of them that the provider reads from its own
    cache, or writes there (None: as `input`). output: tokens that come out. call: for the call
    itself. What is not said and is needed makes a call's price unknown.
    """

    prefix = "Price."

    input: Decimal | float | None = field(None, or_none(money))
    output: Decimal | float | None = field(None, or_none(money))
    cached: Decimal | float | None = field(None, or_none(money))
    written: Decimal | float | None = field(None, or_none(money))
    call: Decimal | float | None = field(None, or_none(money))


def prices_given(given: Any, what: str = "prices") -> dict[str, Price]:
    """By model, each as a Price or as a dict of what a Price has."""
    accepted = "a dict of models and their Price(...)"
    by_model = arguments.mapping(given, what, accepted)
    found = {}
    for model, each in by_model.items():
        name = arguments.name(model, f"a model of {what}")
        if issubclass(type(each), Mapping):
            said = arguments.mapping(each, f"the price of {name}", "a Price(...)")
            each = Price(**{arguments.name(part, f"a part of {name}'s price"): value
                            for part, value in said.items()})  # fmt: skip
        found[name] = arguments.instance(each, f"the price of {name}", Price, "a Price(...)")
    return found


_tokens = partial(arguments.integer, least=0, most=MOST_TOKENS, of="a whole number of tokens")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one load cost. None is unknown, which is not 0.

    money: what it cost; else it is worked out of the tokens, by the cache's `prices` of this
    `model`. tokens_in, tokens_out: what the model was given, and what it said (one of them alone:
    the other is 0). Of tokens_in, tokens_cached were in the provider's own cache, and
    tokens_written were put there.
    """

    money: Decimal | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int = 0
    tokens_written: int = 0

    def __post_init__(self) -> None:
        if self.money is not None:
            force_setattr(self, "money", money(self.money, "Cost.money"))
        if self.model is not None:
            force_setattr(self, "model", arguments.name(self.model, "Cost.model"))
        for name in ("tokens_in", "tokens_out", "tokens_cached", "tokens_written"):
            tokens = getattr(self, name)
            if tokens is not None or name in ("tokens_cached", "tokens_written"):
                force_setattr(self, name, _tokens(tokens, f"Cost.{name}"))
        if (self.tokens_in is None) != (self.tokens_out is None):
            force_setattr(self, "tokens_in", self.tokens_in or 0)
            force_setattr(self, "tokens_out", self.tokens_out or 0)
        if self.tokens_cached + self.tokens_written > (self.tokens_in or 0):
            raise BadInput(
                f"Cost.tokens_in is {self.tokens_in}, of which {self.tokens_cached} cached and "
                f"{self.tokens_written} written; pass at least their sum"
            )


def packed(seconds: float, cost: Cost | None, prices: Mapping[str, Price]) -> int:
    """One load as the number that is kept and added up (`bill`)."""
    if cost is None:
        return bill.one(seconds)
    tokens = None
    if cost.tokens_in is not None and cost.tokens_out is not None:
        tokens = cost.tokens_in, cost.tokens_out, cost.tokens_cached
    return bill.one(seconds, tokens, _units(cost, prices))


def _units(cost: Cost, prices: Mapping[str, Price]) -> int | None:
    """What it cost in units of money, if that can be told."""
    if cost.money is not None:
        return units_of(cost.money)
    price = price_of(cost.model, prices)
    return None if price is None else _priced(cost, price)


def price_of(model: str | None, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model, whose name may have a date behind it."""
    if model is None or not prices:
        return None
    return prices.get(model) or prices.get(_DATED.sub("", model))


def _priced(cost: Cost, price: Price) -> int | None:
    call = 0 if price.call is None else units_of(price.call)
    if price.input is None and price.output is None:
        return None if price.call is None else call
    if cost.tokens_in is None or cost.tokens_out is None:
        return None
    sums = 0
    for tokens, each in (
        (cost.tokens_in - cost.tokens_cached - cost.tokens_written, price.input),
        (cost.tokens_cached, price.input if price.cached is None else price.cached),
        (cost.tokens_written, price.input if price.written is None else price.written),
        (cost.tokens_out, price.output),
    ):
        if tokens:
            if each is None:
                return None
            sums += tokens * units_of(each)
    return call + (sums + _MILLION // 2) // _MILLION


def cost_given(given: Any, what: str) -> Cost | None:
    """What a caller has passed as the cost: money, a `Cost`, or what an SDK has returned.

    Of an SDK either the whole response, which names its model, or its `usage`.
    """
    if given is None or isinstance(given, Cost):
        return given
    if number_of(given) is not None or issubclass(type(given), Decimal):
        return Cost(money=money(given, what))
    said = None if issubclass(type(given), str | bytes | bool) else usage.said_by(given)
    if said is None:
        accepted = "money as a number, a Cost(...), or an SDK's response or its usage"
        raise arguments.refused(what, given, accepted, typed=True)
    return cost_said(said)


def cost_said(said: usage.Said) -> Cost:
    """What a response says of its cost."""
    model, tokens = said
    if tokens is None:
        return Cost(model=model)
    into, out, cached, written = tokens
    return Cost(
        model=model, tokens_in=into, tokens_out=out, tokens_cached=cached, tokens_written=written
    )


def cost_of_failure(error: BaseException) -> Cost | None:
    """What a load has cost that brought nothing to keep: an error may say so, as its `cost`."""
    try:
        cost = getattr(error, "cost", None)
    except Exception:  # noqa: BLE001 - an error is its author's own, and is raised to his callers
        return None
    return cost if isinstance(cost, Cost) else None
