"""What to do about a value that cannot be stored, by what it is: the ends of error sentences."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from cascada.codecs.shapes import fields_of
from cascada.model.entry import Hit, Miss

_BASES: Final = (str, int, float, bytes, list, dict, tuple, set, frozenset)


def name_of(kind: Any) -> str:
    """A class, or a type of any other kind, as people write it."""
    if not isinstance(kind, type):
        return str(kind)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


def hint(value: object) -> str:
    """`is a ...; pass ...`"""
    name = name_of(type(value))
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"is {article} {name}, which would not come back as it is; {_advice(value)}"


def _advice(value: object) -> str:
    kind = type(value)
    if isinstance(value, Hit | Miss):
        return "pass what it holds: hit.value if hit else None"
    if isinstance(value, Enum):
        return "pass its .value, or declare it with type="
    if isinstance(value, bytearray | memoryview):
        return "pass bytes of it"
    if inspect.isawaitable(value):
        return "await it first"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return "collect it into a list first"
    if fields_of(value) is not None:
        return f"pass type={kind.__name__} (or what holds it), or a serializer"
    for base in _BASES:
        if isinstance(value, base):
            return f"pass {base.__name__} of it, or declare it with type="
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return "pass dict of it, or a serializer"
    return "pass type= (a dataclass, a msgspec.Struct or a pydantic model), or a serializer"
