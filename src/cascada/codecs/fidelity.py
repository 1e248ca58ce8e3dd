"""Whether what comes back from a typed encoding says all that went in.

A declared type decides what a value comes back as; that may say more than the value did (a list for
a set, a dict for a model, an int for a float). Where it says less (Any around a tuple, a base class
around a derived one, a field that a model does not dump) the value would change silently, from one
caller to the next; such a value is refused.
"""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from cascada.codecs.arrays import is_array
from cascada.codecs.bounds import SCALARS
from cascada.codecs.hints import name_of
from cascada.codecs.shapes import beside, fields_of
from cascada.codecs.zones import told

_PLAIN: Final = SCALARS | {list, dict}
_DATA: Final = ("builtins", "datetime", "decimal", "uuid")
_OTHER: Final = "value would come back with another value"


def lost(before: Any, after: Any) -> str | None:
    """A sentence on the first place where `after` says less than `before`, or None."""
    try:
        return _lost(before, after)
    except RecursionError:
        return "value is nested too deeply; pass it in parts"


def _lost(before: Any, after: Any) -> str | None:
    """The sentence calls the part that it is about `value`, and its place is put in on the way up:
    a path for each part would take longer than comparing it."""
    kind = type(before)
    if type(after) is not kind:
        return _coerced(before, after)
    if kind in SCALARS:
        return None if before == after or before != before else _OTHER
    if kind is dict:
        return _lost_items(before, after)
    if kind is list or kind is tuple:
        return _lost_in_sequence(before, after)
    fields = fields_of(before)
    if fields is not None:
        return _lost_fields(before, after, fields)
    if kind is set or kind is frozenset:
        return _lost_elements(before, after)
    if is_array(before):  # raw bytes on both sides
        return None
    return None if _same(before, after) else _OTHER


def _at(place: str, found: str) -> str:
    return found.replace("value", place, 1)


def _coerced(before: Any, after: Any) -> str | None:
    kind = type(before)
    if kind not in _PLAIN:
        # A driver's own UUIDs come back as the equal ones. What else is derived from a class says
        # more than that class, as a member of an enum does.
        if is_array(before) or (isinstance(before, UUID) and before == after):
            return None
        return (
            f"value is a {name_of(kind)} and would come back as a {name_of(type(after))}; "
            "declare its type more closely, or leave type= out"
        )
    # Plain data that became something richer: right, unless a number or the items changed.
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    if numbers and before != after and before == before:
        return _OTHER
    if kind is list and isinstance(after, tuple):
        return _lost_in_sequence(before, after)
    return None


def _lost_fields(before: Any, after: Any, fields: tuple[str, ...]) -> str | None:
    for name in fields:
        if hasattr(before, name):
            found = _lost(getattr(before, name), getattr(after, name, None))
            if found:
                return _at(f"value.{name}", found)
    further = beside(before, fields)
    others = beside(after, fields) if further else {}
    for name, item in further.items():
        # Data that no declaration tells of; a lock or a client is made anew.
        if type(item).__module__ not in _DATA:
            continue
        if name not in others or _lost(item, others[name]):
            return f"value.{name} is no field, and would be lost"
    return None


def _lost_items(before: dict[Any, Any], after: dict[Any, Any]) -> str | None:
    if len(before) != len(after):
        return f"value would come back with {len(after)} of its {len(before)} keys"
    # In order: a key may have become something richer, too.
    for (key, item), (other_key, other) in zip(before.items(), after.items(), strict=True):
        if found := _lost(key, other_key):
            return _at("a key of value", found)
        if found := _lost(item, other):
            named = f".{key}" if type(key) is str else f"[{type(key).__name__}]"
            return _at(f"value{named}", found)
    return None


def _lost_in_sequence(before: Any, after: Any) -> str | None:
    if len(before) != len(after):
        return f"value would come back with {len(after)} of its {len(before)} items"
    for position, (item, other) in enumerate(zip(before, after, strict=True)):
        if found := _lost(item, other):
            return _at(f"value[{position}]", found)
    return None


def _lost_elements(before: Any, after: Any) -> str | None:
    """Of two sets: equal elements are not always the same (times in two zones, a nan)."""
    there = {element: element for element in after}
    for element in before & there.keys():
        if found := _lost(element, there[element]):
            return _at("an element of value", found)
    # A nan is equal to none, though it was one.
    same = sorted(map(_text, before - after)) == sorted(map(_text, after - before))
    return None if same else "value would come back with other elements"


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Decimal):  # a signalling nan may not even be compared
        return str(before) == str(after)
    if isinstance(before, datetime | time):  # equality looks past zones
        return (
            before.replace(tzinfo=None) == after.replace(tzinfo=None)
            and before.fold == after.fold
            and told(before.tzinfo) == told(after.tzinfo) is not None
        )
    return bool(before == after or before != before)


def _text(value: Any) -> str:
    """Like `repr`, but equal for equal sets in whatever order."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))})"
    return repr(value)
