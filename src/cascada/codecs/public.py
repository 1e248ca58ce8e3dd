"""The public form of values, which `json.dumps` takes; what is stored is better.

What JSON has not is written as {"$cascada": [kind, ...]}, and so is a dict that looks like it, so
that all comes back. Of the documents' vector types arrays are nested lists, and stay lists.

An object of a class is read again only as a class that is there already: one that was written in
this process, or that an imported module holds; nothing is imported or run by its name, and its
fields are validated.
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from weakref import WeakValueDictionary

from cascada.codecs.bounds import SCALARS, survey
from cascada.codecs.hints import hint
from cascada.codecs.shapes import Unstorable, is_declared
from cascada.codecs.values import ValueCodec
from cascada.model.door import arguments
from cascada.model.errors import CorruptEntry, SerializationError

_VECTOR_TYPES: Final = frozenset({"embedding", "vector_store"})
_TAG: Final = "$cascada"
_COLLECTIONS: Final = (tuple, set, frozenset)
_MADE_OF: Final[dict[str, Callable[[Any], Any]]] = {
    kind.__name__: kind for kind in (*_COLLECTIONS, dict)
}
_LONGEST_INT: Final = 10_000  # bits; Python writes no int of 4,300 digits as text
_codec: Final = ValueCodec(compress_over=sys.maxsize)
_written_classes: WeakValueDictionary[str, type] = WeakValueDictionary()


def serialize_for_cache(value: Any, data_type: str) -> Any:
    """`value` as what `json.dumps` takes and `deserialize_from_cache` turns back.

    Arrays and tensors in an `embedding` or a `vector_store` become nested lists for good.
    SerializationError names the path inside the value to what cannot be written.
    """
    data_type = arguments.data_type(data_type)
    try:
        survey(value)
        return _written(as_lists(value, data_type), "value")
    except Unstorable as error:
        raise SerializationError(f"value {error}") from error
    except RecursionError as error:
        raise SerializationError("value is nested too deeply; pass it in parts") from error


def deserialize_from_cache(cached: Any, data_type: str) -> Any:
    """What `serialize_for_cache` was given; CorruptEntry if that did not write it."""
    data_type = arguments.data_type(data_type)
    try:
        return as_lists(_read(cached), data_type)
    except CorruptEntry:
        raise
    except Exception as error:  # noqa: BLE001 - it may hold anything, anywhere
        raise CorruptEntry(
            f"the public form of a value is damaged: {type(error).__name__}"
        ) from None


def as_lists(value: Any, data_type: str) -> Any:
    """Arrays at any depth of an `embedding` or a `vector_store` as nested lists."""
    return _listed(value) if data_type in _VECTOR_TYPES else value


def _listed(value: Any) -> Any:
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list or kind in _COLLECTIONS:
        if SCALARS.issuperset(map(type, value)):
            return value
        return kind(map(_listed, value))
    if kind is dict:
        return {_listed(key): _listed(item) for key, item in value.items()}
    return lists_of(value)


def lists_of(value: Any) -> Any:
    """An array or a tensor as nested lists; anything else as it is."""
    if isinstance(value, memoryview):
        return value
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy().tolist()
    return value.numpy().tolist() if hasattr(value, "numpy") else value


def _written(value: Any, path: str) -> Any:
    kind = type(value)
    if kind is int and value.bit_length() > _LONGEST_INT:
        return {_TAG: ["int", hex(value)]}
    if kind in SCALARS and kind is not bytes:
        return value
    if kind is dict:
        return _written_dict(value, path)
    if kind is list or kind in _COLLECTIONS:
        items = [_written(item, f"{path}[{at}]") for at, item in enumerate(value)]
        return items if kind is list else {_TAG: [kind.__name__, items]}
    if kind is Decimal:
        return {_TAG: ["decimal", str(value)]}
    if is_declared(kind):
        return _written_object(value, path)
    try:
        made = _codec.encode(value)
    except SerializationError as error:
        raise SerializationError(_at(path, error)) from error
    return {_TAG: ["value", int(made.codec), b64encode(made.data).decode()]}


def _at(path: str, error: SerializationError) -> str:
    """What is wrong with a part of the value, said of its place."""
    said = str(error)
    return path + said.removeprefix("value") if said.startswith("value") else f"{path}: {said}"


def _written_dict(value: dict[Any, Any], path: str) -> Any:
    if {str}.issuperset(map(type, value)) and _TAG not in value:
        return {key: _written(item, f"{path}.{key}") for key, item in value.items()}
    pairs = [
        [_written(key, f"a key of {path}"), _written(item, f"{path}[{key!r:.40}]")]
        for key, item in value.items()
    ]
    return {_TAG: ["dict", pairs]}


def _written_object(value: Any, path: str) -> Any:
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        made = _codec.encode(value, type=kind)
    except SerializationError as error:
        raise SerializationError(_at(path, error)) from error
    if _written_classes.setdefault(name, kind) is not kind:
        raise SerializationError(f"{path} {hint(value)}; another class is called {name}, too")
    return {_TAG: ["object", name, int(made.codec), b64encode(made.data).decode()]}


def _read(cached: Any) -> Any:
    kind = type(cached)
    if kind is list:
        return [_read(item) for item in cached]
    if kind is not dict:
        return cached
    if len(cached) != 1 or _TAG not in cached:
        return {key: _read(item) for key, item in cached.items()}
    what, *parts = cached[_TAG]
    match what, parts:
        case "int", [text]:
            return int(text, 16)
        case "decimal", [text]:
            return Decimal(text)
        case "value", [codec, text]:
            return _codec.decode(b64decode(text), codec, 0)
        case "object", [name, codec, text]:
            return _codec.decode(b64decode(text), codec, 0, type=_class_called(name))
        case _, [items]:
            return _MADE_OF[what](_read(items))
    raise CorruptEntry("the public form of a value has an unknown part")


def _class_called(name: str) -> type:
    known = _written_classes.get(name)
    if known is not None:
        return known
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for step in path.split("."):
        found = getattr(found, step, None)
    if not isinstance(found, type) or f"{found.__module__}:{found.__qualname__}" != name:
        raise CorruptEntry(f"the public form of a value is of the class {name!r}, not known here")
    return found
