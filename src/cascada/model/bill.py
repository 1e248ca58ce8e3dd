"""What loads took and cost, as one number that can be added: an entry carries it, a hit adds it.

A hit must cost nothing. So all that it saves (itself, microseconds, tokens, money) is packed into
one whole number, in fields so wide that no sum runs over into the next one: to count a hit is one
addition, whatever it saves, and no sum ever loses a token or a cent. `one` makes such a number,
once for each load; `Bill.of` reads one, or a sum of them, when somebody asks.

    bits  field                    bits  field
    48    how many                 48    how many of them have a price
    72    microseconds             104   money, in millionths of a millionth
    48    how many say tokens      72    of the tokens that went in, those that were in the
    72    tokens that went in            provider's own cache
    72    tokens that came out

What is stored with an entry (`codecs/envelope.py`) is this number less its first field, so fields
are never moved; new ones go behind the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

UNKNOWN: Final = 1
"""One answer, of which nothing else is known: no load of this cache's has brought it."""

COUNT_BITS: Final = 48
_SECONDS: Final = COUNT_BITS
_METERED: Final = _SECONDS + 72
_IN: Final = _METERED + 48
_OUT: Final = _IN + 72
_PRICED: Final = _OUT + 72
_MONEY: Final = _PRICED + 48
_CACHED: Final = _MONEY + 104

_48: Final = 2**48 - 1
_72: Final = 2**72 - 1
_104: Final = 2**104 - 1

LONGEST: Final = 2**44 - 1
"""Microseconds of one load, half a year: more is counted as this."""
MOST_TOKENS: Final = 2**40 - 1
"""Tokens of one load."""
MOST_MONEY: Final = 10_000_000
"""Of one load, in whatever currency."""
UNIT: Final = 12
"""Decimals that money is counted in: a price for a million tokens with six of its own is exact."""

_EXACT: Final = Context(prec=60)
"""Not that of the caller's thread, which may round to two digits."""

_MOST_UNITS: Final = MOST_MONEY * 10**UNIT
_END: Final = _CACHED + 72
OF_ONE: Final = (
    1
    | LONGEST << _SECONDS
    | 1 << _METERED
    | MOST_TOKENS << _IN
    | MOST_TOKENS << _OUT
    | 1 << _PRICED
    | (2**64 - 1) << _MONEY
    | MOST_TOKENS << _CACHED
)
"""The bits that one load's number may have, of the fields above."""
TOO_MUCH: Final = (2**_END - 1) & ~OF_ONE
"""The others: a number that has one of these was made by nobody."""


def units_of(money: Decimal | float) -> int:
    """An amount of money in the units that are added up."""
    return round(Decimal(money).scaleb(UNIT, _EXACT))


def one(
    seconds: float, tokens: tuple[int, int, int] | None = None, units: int | None = None
) -> int:
    """One load as a number: what it took, its tokens (in, out, cached) and its price, if known."""
    micros = round(seconds * 1e6)
    bill = UNKNOWN | max(0, min(micros, LONGEST)) << _SECONDS
    if tokens is not None:
        into, out, cached = tokens
        bill |= 1 << _METERED | into << _IN | out << _OUT | cached << _CACHED
    if units is not None:
        bill |= 1 << _PRICED | min(units, _MOST_UNITS) << _MONEY
    return bill


_FIELDS: Final = {
    "count": (0, _48),
    "micros": (_SECONDS, _72),
    "metered": (_METERED, _48),
    "tokens_in": (_IN, _72),
    "tokens_out": (_OUT, _72),
    "priced": (_PRICED, _48),
    "money": (_MONEY, _104),
    "tokens_cached": (_CACHED, _72),
}
FIELDS: Final = tuple(_FIELDS)


def apart(bill: int) -> list[int]:
    """The fields of a sum, in the order of FIELDS."""
    return [bill >> place & mask for place, mask in _FIELDS.values()]


def together(fields: Mapping[str, float]) -> int:
    """The sum that has these fields."""
    return sum(int(fields.get(name, 0)) << place for name, (place, _) in _FIELDS.items())


def count_of(bill: int) -> int:
    """How many are in this sum."""
    return bill & _48


@dataclass(frozen=True, slots=True)
class Bill:
    """What loads took and cost, or what answers without a load have saved.

    count: how many loads, or answers. seconds: all they took. tokens_in, tokens_out: of models;
    tokens_cached: of those that went in, what the provider had in its own cache; None if none of
    them has said. money: in the currency of the prices, exact; None if the price of none is known.
    unpriced: of `count`, those that are not in `money`, as nobody has said what they cost.
    """

    count: int = 0
    seconds: float = 0.0
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    money: Decimal | None = None
    unpriced: int = 0

    @classmethod
    def of(cls, bill: int) -> Bill:
        """What a number, or a sum of them, says."""
        count, metered, priced = bill & _48, bill >> _METERED & _48, bill >> _PRICED & _48
        return cls(
            count,
            (bill >> _SECONDS & _72) / 1e6,
            bill >> _IN & _72 if metered else None,
            bill >> _OUT & _72 if metered else None,
            bill >> _CACHED & _72 if metered else None,
            _money_of(bill >> _MONEY & _104) if priced else None,
            count - priced,
        )

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.count + other.count,
            self.seconds + other.seconds,
            _sum(self.tokens_in, other.tokens_in),
            _sum(self.tokens_out, other.tokens_out),
            _sum(self.tokens_cached, other.tokens_cached),
            _money(self.money, other.money),
            self.unpriced + other.unpriced,
        )


def _money_of(units: int) -> Decimal:
    """With as many decimals as it needs, at least two."""
    money = Decimal(units).scaleb(-UNIT, _EXACT)
    short = money.normalize(_EXACT)
    return short if short * 100 % 1 else money.quantize(Decimal("0.01"), context=_EXACT)


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _money(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return _EXACT.add(one, other)
