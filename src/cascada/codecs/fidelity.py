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


Path = str | tuple[Any, str, object]
"""Where a part lies: the path to what it lies in, a template, and its name there. It is put into
words only when something is wrong, as a text for each part would take longer than comparing it."""


def lost(before: Any, after: Any, path: Path = "value") -> str | None:
    """A sentence on the first place where `after` says less than `before`, or None."""
    kind = type(before)
    if type(after) is not kind:
        return _coerced(before, after, path)
    if kind in SCALARS:
        return None if before == after or before != before else _other_value(path)
    if kind is dict:
        return _lost_items(before, after, path)
    if kind is list or kind is tuple:
        return _lost_in_sequence(before, after, path)
    fields = fields_of(before)
    if fields is not None:
        return _lost_fields(before, after, path, fields)
    if kind is set or kind is frozenset:
        return _lost_elements(before, after, path)
    if is_array(before):  # raw bytes on both sides
        return None
    return None if _same(before, after) else _other_value(path)


def _coerced(before: Any, after: Any, path: Path) -> str | None:
    kind = type(before)
    if kind not in _PLAIN:
        # A driver's own UUIDs come back as the equal ones. What else is derived from a class says
        # more than that class, as a member of an enum does.
        if is_array(before) or (isinstance(before, UUID) and before == after):
            return None
        return (
            f"{_text_of(path)} is a {name_of(kind)} and would come back as a "
            f"{name_of(type(after))}; declare its type more closely, or leave type= out"
        )
    # Plain data that became something richer: right, unless a number or the items changed.
    numbers = isinstance(before, int | float) and isinstance(after, int | float)
    if numbers and before != after and before == before:
        return _other_value(path)
    if kind is list and isinstance(after, tuple):
        return _lost_in_sequence(before, after, path)
    return None


def _lost_fields(before: Any, after: Any, path: Path, fields: tuple[str, ...]) -> str | None:
    for name in fields:
        if hasattr(before, name):
            found = lost(getattr(before, name), getattr(after, name, None), (path, "{}.{}", name))
            if found:
                return found
    further = beside(before, fields)
    others = beside(after, fields) if further else {}
    for name, item in further.items():
        # Data that no declaration tells of; a lock or a client is made anew.
        if type(item).__module__ not in _DATA:
            continue
        if name not in others or lost(item, others[name], ""):
            return f"{_text_of(path)}.{name} is no field, and would be lost"
    return None


def _lost_items(before: dict[Any, Any], after: dict[Any, Any], path: Path) -> str | None:
    if len(before) != len(after):
        return f"{_text_of(path)} would come back with {len(after)} of its {len(before)} keys"
    # In order: a key may have become something richer, too.
    for (key, item), (other_key, other) in zip(before.items(), after.items(), strict=True):
        step = (path, "{}.{}", key) if type(key) is str else (path, "{}[{}]", type(key).__name__)
        found = lost(key, other_key, (path, "a key of {}", None)) or lost(item, other, step)
        if found:
            return found
    return None


def _lost_in_sequence(before: Any, after: Any, path: Path) -> str | None:
    if len(before) != len(after):
        return f"{_text_of(path)} would come back with {len(after)} of its {len(before)} items"
    for position, (item, other) in enumerate(zip(before, after, strict=True)):
        found = lost(item, other, (path, "{}[{}]", position))
        if found:
            return found
    return None


def _lost_elements(before: Any, after: Any, path: Path) -> str | None:
    """Of two sets: equal elements are not always the same (times in two zones, a nan)."""
    there = {element: element for element in after}
    for element in before & there.keys():
        found = lost(element, there[element], (path, "an element of {}", None))
        if found:
            return found
    # A nan is equal to none, though it was one.
    same = sorted(map(_text, before - after)) == sorted(map(_text, after - before))
    return None if same else f"{_text_of(path)} would come back with other elements"


def _other_value(path: Path) -> str:
    return f"{_text_of(path)} would come back with another value"


def _text_of(path: Path) -> str:
    if isinstance(path, str):
        return path
    above, template, name = path
    return template.format(_text_of(above), name)


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
