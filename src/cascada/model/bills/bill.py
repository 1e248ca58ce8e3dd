"""What loads took and cost, as one number that can be added: an entry carries it, a hit adds it.

A hit must cost nothing. So all that it saves (itself, microseconds, tokens, money) is packed into
one whole number, in fields so wide that no sum runs over into the next one: to count a hit is one
addition, whatever it saves, and no sum ever loses a token or a cent. `one` makes such a number,
once for each load; `Bill.of` reads one, or a sum of them, when somebody asks.

    bits  field                    bits  field
    80    microseconds             72    of the tokens that went in, those that
    48    how many say tokens            were in the provider's own cache
    72    tokens that went in      ...   how many
    72    tokens that came out
    48    how many have a price
    104   money, in millionths of a millionth

How many stands on top: as a float, which has 53 bits, such a sum still says it exactly, and so a
worker's hits are on file with one store (`engine/filing.py`). What is stored with an entry
(`codecs/envelope.py`) is the rest, so fields are never moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

_48: Final = 2**48 - 1
_72: Final = 2**72 - 1
_80: Final = 2**80 - 1
_104: Final = 2**104 - 1

_FIELDS: Final = {
    "micros": (0, _80),
    "metered": (80, _48),
    "tokens_in": (128, _72),
    "tokens_out": (200, _72),
    "priced": (272, _48),
    "money": (320, _104),
    "tokens_cached": (424, _72),
    "count": (496, _48),
}
FIELDS: Final = tuple(_FIELDS)
_MICROS, _METERED, _IN, _OUT, _PRICED, _MONEY, _CACHED, _COUNT = (
    place for place, _ in _FIELDS.values()
)

UNKNOWN: Final = 1 << _COUNT
"""One answer, of which nothing else is known: no load of this cache's has brought it."""

SAID: Final = UNKNOWN - 1
"""All bits but how many."""

LONGEST: Final = 2**40 - 1
"""Microseconds of one load, twelve days: more is counted as this."""
_SHORTEST: Final = 0.001
"""Seconds: of what is loaded faster, the differences say more of the machine than of the value."""

MOST_TOKENS: Final = 2**40 - 1
"""Tokens of one load."""
MOST_MONEY: Final = 10_000_000
"""Of one load, in whatever currency."""
UNIT: Final = 12
"""Decimals that money is counted in: a price for a million tokens with six of its own is exact."""

_EXACT: Final = Context(prec=60)
"""Not that of the caller's thread, which may round to two digits."""

_MOST_UNITS: Final = MOST_MONEY * 10**UNIT
TOO_MUCH: Final = ~(
    LONGEST << _MICROS
    | 1 << _METERED
    | MOST_TOKENS << _IN
    | MOST_TOKENS << _OUT
    | 1 << _PRICED
    | (2**64 - 1) << _MONEY
    | MOST_TOKENS << _CACHED
)
"""The bits that no load's number has, less how many."""


def units_of(money: Decimal | float) -> int:
    """An amount of money in the units that are added up."""
    return round(Decimal(money).scaleb(UNIT, _EXACT))


def one(
    seconds: float, tokens: tuple[int, int, int] | None = None, units: int | None = None
) -> int:
    """One load as a number: what it took, its tokens (in, out, cached) and its price, if known."""
    micros = round(seconds * 1e6)
    bill = UNKNOWN | max(0, min(micros, LONGEST)) << _MICROS
    if tokens is not None:
        into, out, cached = tokens
        bill |= 1 << _METERED | into << _IN | out << _OUT | cached << _CACHED
    if units is not None:
        bill |= 1 << _PRICED | min(units, _MOST_UNITS) << _MONEY
    return bill


def worth_of(bill: int) -> float:
    """Seconds that it is worth to have this load's value, to compare loads: money counts, a unit of
    it as a thousand seconds (a call of a model for 0.002 and 2 s: 4). 0 if nothing is known."""
    if bill == UNKNOWN:
        return 0.0
    return max(_SHORTEST, (bill & _80) / 1e6 + (bill >> _MONEY & _104) / 1e9)


def apart(bill: int) -> list[int]:
    """The fields of a sum, in the order of FIELDS."""
    return [bill >> place & mask for place, mask in _FIELDS.values()]


def together(fields: Mapping[str, float]) -> int:
    """The sum that has these fields."""
    return sum(int(fields.get(name, 0)) << place for name, (place, _) in _FIELDS.items())


def count_of(bill: int) -> int:
    """How many are in this sum."""
    return bill >> _COUNT


def count_in(bill: float) -> int:
    """The same of a sum that has become a float."""
    return int(bill / UNKNOWN)


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
        count, metered, priced = bill >> _COUNT, bill >> _METERED & _48, bill >> _PRICED & _48
        return cls(
            count,
            (bill >> _MICROS & _80) / 1e6,
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
    short = Decimal(units).scaleb(-UNIT, _EXACT).normalize(_EXACT)
    if units % 10 ** (UNIT - 2):
        return short
    return short.quantize(Decimal("0.01"), context=_EXACT)


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _money(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return _money_of(units_of(one) + units_of(other))
