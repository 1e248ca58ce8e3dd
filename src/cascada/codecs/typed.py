"""Values of a declared type: msgspec's typed decoding, and models that it does not know.

dataclasses, structs, attrs classes, typed dicts, named tuples, enums, Decimal, UUID, dates, sets
and tuples, nested as you like, are msgspec's own. A pydantic model (told by `model_dump` and
`model_validate`) goes as its dump, rewritten as an untyped value is, so that it validates the very
objects that it dumped. What a model holds beside those (an enum, a URL, a path) goes as pydantic
would write it to JSON. A complex, an array or a tensor goes as its extension.

msgspec does not tell one model from another. A type that it refuses and that names models (`A | B`,
`list[A | B]`, a union with a discriminator) is pydantic's own: its TypeAdapter dumps and validates.

msgspec writes a time with its offset alone, without its zone. A value that would lose by that goes
a second, slower way: its parts, written as the untyped values that they are.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from cascada.codecs import extended
from cascada.codecs.extended import extend, read_extension
from cascada.codecs.hints import name_of
from cascada.codecs.shapes import TooDeep, Unstorable, is_declared, is_model

_KEPT: Final = (bytes, datetime, date, time, timedelta, UUID, Decimal)
_CONTAINERS: Final = (list, tuple, set, frozenset)


class Form(NamedTuple):
    """How values of one type are written and read."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    from_parts: Callable[[Any], Any]


class ModelMismatch(ValueError):
    """What a type had against a value, without the value."""


def form(wanted: Any) -> Form:
    """How values of `wanted` are written and read; TypeError if nothing can read them."""
    try:
        return _cached(wanted)
    except TypeError:  # a type that has no hash (Annotated with a list), or is wrong
        return _build(wanted)


def parts_of(value: Any) -> Any:
    """A value of a declared type as plain data around times, ids and numbers as they are."""
    return msgspec.to_builtins(value, builtin_types=_KEPT, enc_hook=_dumped)


def _build(wanted: Any) -> Form:
    try:
        decoder = msgspec.msgpack.Decoder(wanted, dec_hook=_from_builtins, ext_hook=read_extension)
    except TypeError:
        if not _names(wanted, is_model, set()):
            raise
        return _adapted(wanted)
    return Form(
        _encode, decoder.decode, partial(msgspec.convert, type=wanted, dec_hook=_from_builtins)
    )


_cached = lru_cache(maxsize=512)(_build)


def declares(wanted: Any) -> bool:
    """Whether a type names a class that data alone would not come back as, and can be decoded."""
    if not _names(wanted, is_declared, set()):
        return False
    try:
        form(wanted)
    except TypeError:
        return False
    return True


def _names(wanted: Any, is_one: Callable[[Any], bool], seen: set[int]) -> bool:
    """Whether one such is part of a type: an argument, a field, or what it is an alias of."""
    if is_one(wanted):
        return True
    if id(wanted) in seen:
        return False
    seen.add(id(wanted))
    parts = [getattr(wanted, "__value__", None), *get_args(wanted)]
    if isinstance(wanted, type):
        try:
            parts += get_type_hints(wanted, include_extras=True).values()
        except Exception:  # noqa: BLE001 - annotations may be anything; then they name none
            return False
    return any(_names(part, is_one, seen) for part in parts if part is not None)


def _adapted(wanted: Any) -> Form:
    """By pydantic's TypeAdapter, which every model has beside it."""
    adapter = _adapter.__wrapped__(wanted)  # the caller keeps it, if the type can be kept
    if adapter is None:
        raise TypeError("neither msgspec nor pydantic knows how")
    dumping, validating = _dialect_of(adapter.dump_python, adapter.validate_python)

    def encode(value: Any) -> bytes:
        return extended.encode(_rewritten(adapter.dump_python(value, warnings=False, **dumping)))

    def from_parts(parts: Any) -> Any:
        return _validated(adapter.validate_python, parts, validating)

    return Form(encode, lambda data: from_parts(extended.decode(data)), from_parts)


def _to_builtins(value: Any) -> Any:
    kind: Any = type(value)
    if is_model(kind):
        return _rewritten(value.model_dump(**_dialect(kind)[0]))
    return extend(value)


def _rewritten(dump: Any) -> Any:
    try:
        return extend(dump)
    except TooDeep:
        raise
    except Unstorable:
        return extend(_jsonable(dump))


def _jsonable(part: Any) -> Any:
    """A dump whose leaves can be stored: what no extension holds, as pydantic writes it to JSON."""
    kind: Any = type(part)
    if kind is dict:
        return {_jsonable(key): _jsonable(item) for key, item in part.items()}
    if kind in _CONTAINERS:
        return kind(map(_jsonable, part))
    try:
        extend(part)
    except Unstorable:
        adapter = _adapter(kind)
        if adapter is None:
            raise
        return adapter.dump_python(part, mode="json")
    return part


@lru_cache(maxsize=512)
def _adapter(wanted: Any) -> Any:
    """pydantic's TypeAdapter of a type; None where there is none.

    Who has a pydantic model has imported pydantic; here it is never imported.
    """
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:  # a model that is told by its methods alone
        return None
    try:
        return pydantic.TypeAdapter(wanted)
    except (pydantic.PydanticSchemaGenerationError, pydantic.PydanticUserError):
        return None


def _dumped(value: Any) -> Any:
    kind: Any = type(value)
    if is_model(kind):
        return value.model_dump(**_dialect(kind)[0])
    raise NotImplementedError


def _from_builtins(wanted: Any, value: Any) -> Any:
    if is_model(wanted):
        return _validated(wanted.model_validate, value, _dialect(wanted)[1])
    if isinstance(value, get_origin(wanted) or wanted):
        return value
    raise ModelMismatch(f"{name_of(wanted)} is none of the types that can be decoded")


def _validated(validate: Callable[..., Any], value: Any, how: dict[str, bool]) -> Any:
    try:
        return validate(value, **how)
    except ValueError as error:
        raise ModelMismatch(_without_values(error)) from None


@lru_cache(maxsize=512)
def _dialect(kind: Any) -> tuple[dict[str, bool], dict[str, bool]]:
    return _dialect_of(kind.model_dump, kind.model_validate)


def _dialect_of(
    dump: Callable[..., Any], validate: Callable[..., Any]
) -> tuple[dict[str, bool], dict[str, bool]]:
    """The arguments of a dump and a validation that make them each other's inverse.

    By field names where validation can be told so (pydantic 2.11); by aliases before.
    """
    of_dump = inspect.signature(dump).parameters
    by_name = "by_name" in inspect.signature(validate).parameters
    dumping = {"round_trip": True, "by_alias": not by_name}
    validating = {"by_name": True, "by_alias": False} if by_name else {}
    return {name: yes for name, yes in dumping.items() if name in of_dump}, validating


def reason(error: Exception) -> str:
    """Why something did not decode, fit for a log: what a user's code raised may hold values."""
    own = isinstance(error, ModelMismatch) or (
        isinstance(error, msgspec.DecodeError)
        and (error.__cause__ is None or isinstance(error.__cause__, ModelMismatch))
    )
    if not own:
        return type(error).__name__
    # Of an enum's value or a union's tag, msgspec repeats what it found.
    what, at, place = str(error).rpartition(" - at `")
    said = _INVALID.match(what if at else place)
    return f"{said[0]}{at}{place if at else ''}" if said else str(error)


_INVALID: Final = re.compile(r"Invalid (enum )?value(?= )")


def _without_values(error: ValueError) -> str:
    """Which rule a model's value broke, and where. The rule's sentence may repeat the value: a
    validator's own does, and that of a union whose tag is unknown."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return type(error).__name__
    first = errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{first['type']} (at {place})" if place else str(first["type"])


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_to_builtins).encode
