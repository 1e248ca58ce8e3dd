"""Values that have to fit a type before they are stored.

Plain data (a dict, as a row comes) is stored as it is, if the type can be made of it; an object of
the type is stored as such. Either is read as plain data, or, by who asks for it, as the type.
"""

from __future__ import annotations

from typing import Any, Final

from cascada.codecs.values import ValueCodec
from cascada.engine.engine import Engine
from cascada.engine.loading.loaders import Terms
from cascada.engine.request import Request
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry, SerializationError

_PLAIN: Final = (dict, list, tuple, str, bytes, int, float, bool)

declared = ValueCodec().declared
"""A type that a caller has declared; SerializationError if nothing could be decoded to it."""


def fitting(
    engine: Engine, request: Request, value: Any, stored: Terms, wanted: Any
) -> Entry | None:
    """What is to be stored of a value; SerializationError, with the place in it, if it does not fit
    the type that is `wanted` (None: any will do)."""
    if wanted is None or value is None:
        return engine.to_be_set(request, value, stored)
    if type(value) in _PLAIN:
        try:
            entry = engine.to_be_set(request, value, stored)
        except SerializationError:
            pass  # a list of objects, say
        else:
            if entry is not None:
                _check(engine, entry, wanted)
            return entry
    request.want = wanted
    return engine.to_be_set(request, value, stored)


def _check(engine: Engine, entry: Entry, wanted: Any) -> None:
    try:
        engine.stack.codec.decode(entry.data, entry.codec, entry.flags, type=wanted)
    except CorruptEntry as error:
        what = str(error).replace("an entry does not decode to", "value does not fit type", 1)
        raise SerializationError(what.replace("`$", "`value")) from None
