"""Reading what the sync has written to `cascada.service_entries` (`entries.py` writes it).

An application that reads the table itself has the column `value`, plain JSON. What is not that is
in `data`: a sensitive value, sealed, or JSON with a character that PostgreSQL's JSON has not.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cascada.codecs.public import deserialize_from_cache
from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key

_NO_ROW: Final = "data is not what the sync writes; pass the column `data` of service_entries"


class Rows:
    """Of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.life = engine.life
        self._stack = engine.stack
        self._declared = engine.declared

    @when_ready
    async def opened(self, key: Key, data: bytes, wanted: Any) -> Any:
        """The value. CorruptEntry: it was sealed for another key, or its own is gone."""
        entry, wanted = _entry(data), None if wanted is None else self._declared(wanted)
        codec, sealing = self._stack.codec, self._stack.lower and self._stack.lower[-1].sealing
        if entry is None:
            try:
                value = msgspec.json.decode(data)
            except (msgspec.DecodeError, ValueError):  # no JSON, or no UTF-8
                raise CorruptEntry(_NO_ROW) from None
            made = codec.encode(deserialize_from_cache(value, key.data_type))
            return codec.decode(made.data, made.codec, made.flags, type=wanted)
        if sealing:
            entry = await sealing.open(key, entry)
        return codec.decode(entry.data, entry.codec, entry.flags, type=wanted)


def _entry(data: bytes) -> Entry | None:
    """What is sealed: [codec, flags, bytes]. No JSON begins as msgpack's arrays do."""
    try:
        codec, flags, payload = msgspec.msgpack.decode(data, type=tuple[int, int, bytes])
    except msgspec.DecodeError:
        return None
    return Entry(payload, codec, flags)
