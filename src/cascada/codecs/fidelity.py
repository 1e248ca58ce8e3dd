"""Whether what comes back from a typed encoding says all that went in.

A declared type decides what a value comes back as; that may say more than the value did (a list for
a set, a dict for a model, an int for a float). Where it says less (Any around a tuple, a base class
around a derived one, a field that a model does not dump) the value would change silently, from one
caller to the next; such a value is refused.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cascada.codecs.arrays import is_array
from cascada.codecs.extended import PLAIN, SCALARS
from cascada.codecs.hints import name_of
from cascada.codecs.shapes import fields_of


def lost(before: Any, after: Any, path: str = "value") -> str | None:
    """A sentence on the first place where `after` says less than `before`, or None."""
    kind = type(before)
    if type(after) is not kind:
        return _coerced(before, after, path)
    if kind in SCALARS:
        same = before == after or before != before
        return None if same else f"{path} would come back with another value"
    if kind is dict:
        return _lost_items(before, after, path)
    if kind is list or kind is tuple:
        return _lost_in_sequence(before, after, path)
    fields = fields_of(before)
    if fields is not None:
        return _lost_fields(before, after, path, fields)
    if is_array(before):  # raw bytes on both sides
        return None
    return None if _same(before, after) else f"{path} would come back with another value"


def _coerced(before: Any, after: Any, path: str) -> str | None:
    kind = type(before)
    if kind not in PLAIN:
        if is_array(before) or (isinstance(before, type(after)) and before == after):
            return None
        return (
            f"{path} is a {name_of(kind)} and would come back as a {name_of(type(after))}; "
            "declare its type more closely, or leave type= out"
        )
    # Plain data that became something richer: right, unless a number or the items changed.
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    if numbers and before != after and before == before:
        return f"{path} would come back with another value"
    if kind is list and isinstance(after, tuple):
        return _lost_in_sequence(before, after, path)
    return None


def _lost_fields(before: Any, after: Any, path: str, fields: tuple[str, ...]) -> str | None:
    for name in fields:
        if hasattr(before, name):
            found = lost(getattr(before, name), getattr(after, name, None), f"{path}.{name}")
            if found:
                return found
    return None


def _lost_items(before: dict[Any, Any], after: dict[Any, Any], path: str) -> str | None:
    if len(before) != len(after):
        return f"{path} would come back with {len(after)} of its {len(before)} keys"
    # In order: a key may have become something richer, too.
    for (key, item), (other_key, other) in zip(before.items(), after.items(), strict=True):
        step = f"{path}.{key}" if type(key) is str else f"{path}[{type(key).__name__}]"
        found = lost(key, other_key, f"a key of {path}") or lost(item, other, step)
        if found:
            return found
    return None


def _lost_in_sequence(before: Any, after: Any, path: str) -> str | None:
    if len(before) != len(after):
        return f"{path} would come back with {len(after)} of its {len(before)} items"
    for position, (item, other) in enumerate(zip(before, after, strict=True)):
        found = lost(item, other, f"{path}[{position}]")
        if found:
            return found
    return None


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Decimal):  # a signalling nan may not even be compared
        return str(before) == str(after)
    if before == after or before != before:
        return True
    # Sets with a nan in them are not equal, though they were one.
    return isinstance(before, set | frozenset) and _text(before) == _text(after)


def _text(value: Any) -> str:
    """Like `repr`, but equal for equal sets in whatever order."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return repr(value)
