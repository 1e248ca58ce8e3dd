"""What is inside a value: its fields or items, and the path to the part that cannot be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

_MAX_PATH = 200


class Unstorable(Exception):
    """A part of a value that cannot be stored; the text continues the path to it."""


class TooDeep(Unstorable):
    """A part that holds itself, or more levels of parts than can be read again."""


class TooMany(Unstorable):
    """A part that holds more parts than one value may."""


class _Shape(NamedTuple):
    """What a class says about its values. `fields`: None if it declares none. `slots`: those that
    are no fields. `has_dict`: whether they take attributes of any name."""

    fields: tuple[str, ...] | None
    slots: tuple[str, ...]
    has_dict: bool
    is_model: bool


def fields_of(value: object) -> tuple[str, ...] | None:
    """The field names of a dataclass, msgspec struct, attrs class or model; None for the rest."""
    kind: Any = type(value)
    shape = _shape(kind)
    if shape.is_model and shape.fields is not None:
        return (*shape.fields, *(getattr(value, "model_extra", None) or ()))
    return shape.fields


def is_declared(kind: Any) -> bool:
    """Whether it is a class that plain data would not come back as: one of fields, or an enum."""
    return isinstance(kind, type) and (
        _shape(kind).fields is not None
        or issubclass(kind, Enum)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def beside(value: object, fields: tuple[str, ...]) -> dict[str, Any]:
    """What an object holds beside its fields.

    A subclass without a declaration of its own may have attributes, a base slots, and a model
    private ones. What a cached_property has filled in says nothing new, and is not there before
    somebody looks.
    """
    kind: Any = type(value)
    shape = _shape(kind)
    if not shape.has_dict and not shape.slots:
        return {}
    found = {name: getattr(value, name) for name in shape.slots if hasattr(value, name)}
    if shape.has_dict:
        for name, each in getattr(value, "__dict__", {}).items():
            if name not in fields and not isinstance(getattr(kind, name, None), cached_property):
                found[name] = each
    return found | (getattr(value, "__pydantic_private__", None) or {}) if shape.is_model else found


def is_model(kind: Any) -> bool:
    """Whether a class is a pydantic model, told by what it can do: pydantic is not imported."""
    return hasattr(kind, "model_dump") and hasattr(kind, "model_validate")


@lru_cache(maxsize=512)
def _shape(kind: Any) -> _Shape:
    fields = _declared_fields(kind)
    slots = tuple(name for name in _slots(kind) if name not in (fields or ()))
    has_dict = any("__dict__" in vars(base) for base in kind.__mro__)
    return _Shape(fields, slots, has_dict, is_model(kind))


def _declared_fields(kind: Any) -> tuple[str, ...] | None:
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import fields  # there by now: it has made the class

        return tuple(field.name for field in fields(kind))
    if is_model(kind):
        return tuple(getattr(kind, "model_fields", ()))
    of_struct: tuple[str, ...] | None = getattr(kind, "__struct_fields__", None)
    if of_struct is not None:
        return of_struct
    of_attrs = getattr(kind, "__attrs_attrs__", None)
    return None if of_attrs is None else tuple(attribute.name for attribute in of_attrs)


def _slots(kind: type) -> list[str]:
    """The slots of a class and its bases, by the names that they have from outside."""
    found = []
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            if not (name.startswith("__") and name.endswith("__")):  # __weakref__, and pydantic's
                found.append(name)
    return found


def locate(
    value: Any, problem: Exception, attempt: Callable[[Any], object]
) -> tuple[str, Any, Exception]:
    """The path to the innermost part that `attempt` refuses, that part, and what is wrong with it.

    It only asks which child fails where its parent failed, so it serves every way of storing.
    Parts are tried again and again, which is fine where there is an error to report.
    """
    path = "value"
    if isinstance(problem, TooMany):  # it is all of them together
        return path, value, problem
    while not isinstance(problem, RecursionError | TooDeep):
        for step, child in _children(value):
            try:
                attempt(child)
            except Exception as wrong:  # noqa: BLE001 - a model may raise anything
                path, value, problem = path + step, child, wrong
                break
        else:
            return _shortened(path), value, problem
    cycle = _cycle(value)
    if cycle is None:
        return _shortened(path), value, TooDeep("is nested too deeply; pass it in parts")
    return _shortened(path + cycle), value, TooDeep("is one of the values that it lies in")


def _cycle(value: Any) -> str | None:
    """The steps down to a part that is one of those it lies in, or None."""
    above, done = {id(value): ("", _children(value))}, set[int]()
    while above:
        last = next(reversed(above))
        for step, child in above[last][1]:
            if id(child) in above:
                return "".join([*(each for each, _ in above.values()), step])
            if id(child) not in done:
                above[id(child)] = step, _children(child)
                break
        else:
            above.popitem()
            done.add(last)
    return None


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for position, key in enumerate(value):
            yield f".keys()[{position}]", key
        for key, item in value.items():
            yield _step(key), item
    elif isinstance(value, list | tuple):
        yield from ((f"[{position}]", item) for position, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((".<element>", item) for item in value)
    else:
        for name in fields_of(value) or ():
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _step(key: object) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    text = repr(key) if isinstance(key, str | int | float | bytes | None) else type(key).__name__
    return f"[{text if len(text) <= 40 else text[:37] + '...'}]"


def _shortened(path: str) -> str:
    if len(path) <= _MAX_PATH:
        return path
    return f"{path[: _MAX_PATH // 2]}...{path[-_MAX_PATH // 4 :]}"
