"""Values of a declared type: msgspec's typed decoding, and models that it does not know.

dataclasses, structs, attrs classes, typed dicts, named tuples, enums, Decimal, UUID, dates, sets
and tuples, nested as you like, are msgspec's own. A pydantic model (told by `model_dump` and
`model_validate`) goes as its dump, rewritten as an untyped value is, so that it validates the very
objects that it dumped. A complex, an array or a tensor goes as its extension.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_origin

import msgspec

from cascada.codecs.extended import extend, read_extension
from cascada.codecs.hints import name_of
from cascada.codecs.shapes import is_model

Decode = Callable[[bytes], Any]


class ModelMismatch(ValueError):
    """What a model had against a value, without the value."""


def decoder(wanted: Any) -> Decode:
    """The function that decodes to `wanted`; TypeError if nothing can."""
    try:
        return _cached(wanted)
    except TypeError:  # a type that has no hash (Annotated with a list), or is wrong
        return _build(wanted)


def type_name(wanted: Any) -> str:
    """A type as its user wrote it."""
    return name_of(wanted) if type(wanted) is type and not get_origin(wanted) else str(wanted)


def _build(wanted: Any) -> Decode:
    decode: Decode = msgspec.msgpack.Decoder(
        wanted, dec_hook=_from_builtins, ext_hook=read_extension
    ).decode
    return decode


_cached = lru_cache(maxsize=512)(_build)


def _to_builtins(value: Any) -> Any:
    kind: Any = type(value)
    if is_model(kind):
        return extend(value.model_dump(**_dialect(kind)[0]))
    return extend(value)


def _from_builtins(wanted: Any, value: Any) -> Any:
    if is_model(wanted):
        try:
            return wanted.model_validate(value, **_dialect(wanted)[1])
        except ValueError as error:
            raise ModelMismatch(_without_values(error)) from None
    if isinstance(value, get_origin(wanted) or wanted):
        return value
    raise TypeError(f"{type_name(wanted)} is none of the types that can be decoded")


@lru_cache(maxsize=512)
def _dialect(kind: Any) -> tuple[dict[str, bool], dict[str, bool]]:
    """The arguments of model_dump and model_validate that make them each other's inverse.

    By field names where validation can be told so (pydantic 2.11); by aliases before.
    """
    dump = inspect.signature(kind.model_dump).parameters
    validate = inspect.signature(kind.model_validate).parameters
    by_name = "by_name" in validate
    dumping = {"round_trip": True, "by_alias": not by_name}
    validating = {"by_name": True, "by_alias": False} if by_name else {}
    return {name: yes for name, yes in dumping.items() if name in dump}, validating


def reason(error: Exception) -> str:
    """Why something did not decode, fit for a log: what a user's code raised may hold values."""
    own = isinstance(error, msgspec.DecodeError) and (
        error.__cause__ is None or isinstance(error.__cause__, ModelMismatch)
    )
    return str(error) if own else type(error).__name__


def _without_values(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return type(error).__name__
    first = errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{first['msg']} (at {place})" if place else str(first["msg"])


encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=_to_builtins).encode
