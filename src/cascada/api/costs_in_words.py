"""What bills say of tokens and of money, for a table and in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from cascada.model.bills.bill import Bill


def _tokens(bill: Bill) -> int | None:
    return None if bill.tokens_in is None else bill.tokens_in + (bill.tokens_out or 0)


COSTS: Mapping[str, Callable[[Bill], int | Decimal | None]] = {
    "tokens": _tokens,
    "money": lambda bill: bill.money,
}
"""What a table shows beside seconds, if anybody has said it."""


def of_costs(costs: Sequence[str]) -> list[str]:
    """The headings."""
    return [f"{how} {what}" for what in costs for how in ("saved", "spent")]


def in_words(bill: Bill) -> list[str]:
    """Tokens and money, as far as they are known."""
    tokens = _tokens(bill)
    said = [] if tokens is None else [f"{tokens:,} tokens"]
    if bill.money is not None:
        unknown = f" (the price of {bill.unpriced:,} is unknown)" if bill.unpriced else ""
        digits = 4 if bill.money < Decimal("0.1") else 2
        said.append(f"{bill.money:.{digits}f} in money{unknown}")
    return said


def shown(value: int | Decimal | None) -> str:
    """In a cell."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, Decimal) else f"{value}"
