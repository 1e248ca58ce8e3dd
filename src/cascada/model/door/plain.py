"""The plain value that an object holds, of exactly the built-in type, or None for what holds none.

A subclass of str, int or float (an enum member, say) and a scalar of NumPy count as what they hold.
None of their own code decides about it: a `__str__` of an enum gives its name, another one raises.
A bool is no number, and neither is a `Decimal`.
"""

from __future__ import annotations

import math
import operator
from numbers import Integral, Real
from typing import Any


def text_of(value: Any) -> str | None:
    """The text itself if it is any kind of str; of a member of an enum its value, not its name."""
    if type(value) is str:
        return value
    return str.__str__(value) if issubclass(type(value), str) else None


def whole_of(value: Any) -> int | None:
    kind = type(value)
    if kind is int:
        return value  # type: ignore[no-any-return]  # narrowed by its class, not by isinstance
    if kind is bool:
        return None
    if issubclass(kind, int):
        return int.__index__(value)
    if issubclass(kind, Integral):
        try:
            return operator.index(value)
        except Exception:  # noqa: BLE001 - NumPy calls a timedelta64 one, which has no index
            return None
    return None


def number_of(value: Any) -> float | None:
    """A number as a float, which may be nan or infinite; None for what is no number."""
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]  # narrowed by its class, not by isinstance
    if issubclass(kind, float):
        return float.__float__(value)
    try:
        if (whole := whole_of(value)) is not None:
            return float(whole)
        if issubclass(kind, Real) and not issubclass(kind, int | Integral):
            return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - what calls itself a number and is none
        return None
    return None
