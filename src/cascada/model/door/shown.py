"""How a value that was passed is shown in a sentence about it.

None of the value's own code is run. Its `repr` may raise, take for ever, ask a database, or hold a
secret; so only what Python itself defines is written out, shortened, and of all else the type.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

LONGEST: Final = 60
"""Characters of a value that are shown."""

ITEMS: Final = 4
"""Items of a list, a set or a dict that are shown."""

_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def shown(value: object) -> str:
    """`value` as text: what it is, if that can be told at no risk, else what type it is of."""
    return _shown(value, 2)


def described(value: object) -> str:
    """`value` with the name of its type, which tells "1" from 1, and a member from its value."""
    text = shown(value)
    name = type(value).__name__
    return text if text.startswith(("a ", "an ")) else f"{text} ({name})"


def _shown(value: Any, depth: int) -> str:
    kind = type(value)
    if value is None or kind in (bool, float):
        return repr(value)
    if issubclass(kind, str):
        return _cut(repr(str.__str__(value)[: LONGEST + 1]))
    if issubclass(kind, int):
        # Python refuses to print one of more than 4300 digits.
        bits = int.bit_length(value)
        return int.__repr__(value) if bits < 256 else f"an int of {bits} bits"
    if issubclass(kind, float):
        return float.__repr__(value)
    if kind in (bytes, bytearray):
        return _cut(repr(value[: LONGEST + 1]))
    if kind in (UUID, timedelta):
        return repr(str(value))
    if depth and kind in _BRACKETS:
        items = (_shown(each, depth - 1) for each in value)
        return _listed(items, len(value), *_BRACKETS[kind])
    if depth and kind is dict:
        pairs = (
            f"{_shown(key, depth - 1)}: {_shown(each, depth - 1)}" for key, each in value.items()
        )
        return _listed(pairs, len(value), "{", "}")
    where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"a {where}{kind.__qualname__}"


def _listed(texts: Iterator[str], count: int, opening: str, closing: str) -> str:
    """The first of `count` texts, in their brackets."""
    shown = list(islice(texts, ITEMS))
    if count > ITEMS:
        shown.append("...")
    elif opening == "(" and count == 1:
        shown.append("")
    return f"{opening}{', '.join(shown).rstrip(' ')}{closing}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
