"""Values that callers pass by mistake, and what is expected of each at a door that is shut.

`counts_as` is the plain value that an odd one stands for, if it stands for one. What it may be
taken for is said by the plain value of the argument in question (`must_be_refused`): this is the
rule of docs/keys.md, written down once more, without the code under test.
"""

from __future__ import annotations

import math
from collections import UserString
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy

HUGE: Final = 100_000


class Nothing:
    """There is no plain value."""


class Odd(NamedTuple):
    label: str
    value: Any
    counts_as: Any = Nothing

    @property
    def is_itself(self) -> bool:
        """Whether it stands for no other value."""
        return self.counts_as is Nothing or self.counts_as is self.value


class Number(IntEnum):
    SEVEN = 7


class Word(StrEnum):
    S = "s"


class Mixed(str, Enum):  # noqa: UP042 - as it was written before there was StrEnum
    S = "s"


class Plain(Enum):
    S = "s"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


def _raises(*args: Any, **named: Any) -> Any:
    raise RuntimeError("this object's own code was run")


class Angry:
    """Whatever is asked of it, it raises."""

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = _raises  # type: ignore[assignment]
    __iter__ = __contains__ = __int__ = __float__ = __index__ = __lt__ = _raises


class AngryText(str):
    """A text whose own code raises; what it holds is a text all the same."""

    __slots__ = ()
    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __format__ = _raises
    encode = strip = isascii = _raises  # type: ignore[assignment]


class AngryWhole(int):
    __repr__ = __str__ = __eq__ = __hash__ = __index__ = __int__ = __lt__ = _raises  # type: ignore[assignment]


class AngryList(list[Any]):
    __iter__ = __len__ = __getitem__ = __repr__ = __bool__ = _raises  # type: ignore[assignment]


def _generator() -> Any:
    yield "a"


def odd_values() -> list[Odd]:
    """All of them, made anew: some can be used only once."""
    return [
        Odd("None", None),
        Odd("True", True),
        Odd("False", False),
        Odd("0", 0, 0),
        Odd("-1", -1, -1),
        Odd("1.5", 1.5, 1.5),
        Odd("-0.0", -0.0),
        Odd("nan", math.nan),
        Odd("inf", math.inf),
        Odd("-inf", -math.inf),
        Odd("2**53+1", 2**53 + 1, 2**53 + 1),
        Odd("2**63", 2**63),
        Odd("2**64", 2**64),
        Odd("-2**63-1", -(2**63) - 1),
        Odd("10**5000", 10**5000),
        Odd("int64", numpy.int64(7), 7),
        Odd("uint8", numpy.uint8(7), 7),
        Odd("float32", numpy.float32(1.5), 1.5),
        Odd("float64", numpy.float64(1.5), 1.5),
        Odd("numpy bool", numpy.bool_(True), True),
        Odd("numpy str", numpy.str_("s"), "s"),
        Odd("numpy bytes", numpy.bytes_(b"s")),
        Odd("timedelta64", numpy.timedelta64(5, "s")),
        Odd("array of 0 dimensions", numpy.array(7)),
        Odd("IntEnum", Number.SEVEN, 7),
        Odd("StrEnum", Word.S, "s"),
        Odd("str and Enum", Mixed.S, "s"),
        Odd("Enum", Plain.S),
        Odd("subclass of str", Text("s"), "s"),
        Odd("subclass of int", Whole(7), 7),
        Odd("subclass of float", Real(1.5), 1.5),
        Odd("UserString", UserString("s")),
        Odd("angry", Angry()),
        Odd("angry text", AngryText("s"), "s"),
        Odd("angry whole", AngryWhole(7), 7),
        Odd("angry list", AngryList(["a"])),
        Odd("Decimal", Decimal("1.5")),
        Odd("Fraction", Fraction(3, 2), 1.5),
        Odd("complex", 1j),
        Odd("bytes", b"s"),
        Odd("bytearray", bytearray(b"s")),
        Odd("empty", ""),
        Odd("blank", " \t"),
        Odd("star", "*", "*"),
        Odd("colons", "a:b:c", "a:b:c"),
        Odd("lone surrogate", "\ud800"),
        Odd("huge text", "x" * HUGE),
        Odd("list", ["a"]),
        Odd("list of letters and numbers", ["a", 1.5, None, b""]),
        Odd("list of angry ones", [Angry()]),
        Odd("nested list", [["a"]]),
        Odd("dict", {"a": 1}),
        Odd("set", {"a"}),
        Odd("generator", _generator()),
        Odd("range", range(3)),
        Odd("array", numpy.array([1, 2])),
        Odd("object", object()),
        Odd("class", dict),
        Odd("UUID", UUID(int=7), UUID(int=7)),
        Odd("datetime", datetime(2026, 1, 1, tzinfo=UTC)),
        Odd("longest timedelta", timedelta.max),
        Odd("timedelta below 0", timedelta(seconds=-1)),
    ]


def must_be_refused(odd: Any, plain: Any, *, optional: bool) -> bool:
    """Whether an argument whose plain value is of that type cannot be meant by this one."""
    kind = type(odd)
    if odd is None:
        return not optional
    is_bool = kind in (bool, numpy.bool_)
    is_whole = issubclass(kind, int | numpy.integer) and not issubclass(kind, numpy.timedelta64)
    is_text = issubclass(kind, str)
    match plain:
        case bool():
            return not is_bool
        case int():
            return is_bool or not is_whole
        case float():
            real = is_whole or issubclass(kind, float | numpy.floating | timedelta | Fraction)
            return is_bool or not real or odd != odd
        case Decimal():  # money
            real = is_whole or issubclass(kind, float | numpy.floating | Fraction | Decimal)
            return is_bool or not real or odd != odd
        case str():
            return is_bool or not (is_text or is_whole or issubclass(kind, UUID))
        case list() | tuple():
            single = issubclass(kind, str | bytes | bytearray | dict) or is_bool or is_whole
            return single or not hasattr(kind, "__len__") or not hasattr(kind, "__iter__")
        case dict():
            return not issubclass(kind, dict)
    is_function: Callable[[object], bool] = callable
    return is_function(plain) and not is_function(odd)
