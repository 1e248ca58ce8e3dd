"""Lists and counters of one tenant: the modern face.

They are data and no cache: shared by all processes that use the same Redis (or database), never
reached by an invalidation, by modes or by `bypass()`, and never swallowed when something fails.
TierUnavailable says that nothing was changed, but for `Unanswered`: then nobody knows.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from cascada.api.tenant.requests import TenantRequests
from cascada.codecs.envelope import home_of, pack, unpack
from cascada.engine.engine import Engine
from cascada.engine.loading.encode import over
from cascada.model.door import arguments
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, CorruptEntry
from cascada.model.keys import Id, counter_text, list_text
from cascada.model.ttl import Duration

_int = partial(arguments.integer, of="an int")


class TenantList:
    """One list, by the semantics of Redis: indices from 0, negative ones from the end.

    Its items are any values that the cache can store exactly, or of the `type` that was declared;
    each caller gets his own. A list without items takes no room. They are sealed outside of this
    process if the policy of the list's name is `sensitive`, or all is; one that is not sealed then
    is a CorruptEntry, and stays where it is.
    """

    __slots__ = ("_engine", "_home", "_name", "_type")

    def __init__(self, engine: Engine, name: str, type: Any = None) -> None:
        self._engine = engine
        self._home = home_of(f"{engine.options.namespace}\0{name}".encode())
        self._name = name
        self._type = type

    def __repr__(self) -> str:
        return f"TenantList({self._name!r})"

    async def rpush(self, value: object) -> int:
        """Append at the right end; how many there are now. SerializationError names what cannot."""
        return await self._push(value, left=False)

    async def lpush(self, value: object) -> int:
        """Put before the first; how many there are now."""
        return await self._push(value, left=True)

    async def lpop(self, default: Any = None) -> Any:
        """Take the first; `default` if there is none.

        At most once: a caller that is cancelled or `Unanswered` may have taken it all the same.
        """
        return await self._pop(default, left=True)

    async def rpop(self, default: Any = None) -> Any:
        """Take the last; `default` if there is none."""
        return await self._pop(default, left=False)

    async def range(self, start: int = 0, end: int = -1) -> list[Any]:
        """The items from `start` to `end`, both included. CorruptEntry if one does not decode."""
        first, last = _int(start, "start"), _int(end, "end")
        items = await (await self._engine.data()).range(self._name, first, last)
        return [self._decoded(item) for item in items]

    async def length(self) -> int:
        """How many items there are; 0 for a list that never was."""
        return await (await self._engine.data()).length(self._name)

    async def trim(self, start: int, end: int) -> None:
        """Keep only the items from `start` to `end`, both included."""
        first, last = _int(start, "start"), _int(end, "end")
        await (await self._engine.data()).trim(self._name, first, last)

    async def _push(self, value: object, *, left: bool) -> int:
        stack = self._engine.stack
        encoded = stack.codec.encode(value, type=self._type)
        if (size := len(encoded.data)) > stack.max_value_bytes:
            raise BadInput(f"value has {size} bytes, {over(stack.max_value_bytes)}")
        entry = Entry(encoded.data, encoded.codec, encoded.flags, created=stack.now())
        return await (await self._engine.data()).push(
            self._name, pack(entry, self._home), left=left
        )

    async def _pop(self, default: Any, *, left: bool) -> Any:
        item = await (await self._engine.data()).pop(self._name, left=left)
        return default if item is None else self._decoded(item)

    def _decoded(self, item: bytes) -> Any:
        try:
            entry = unpack(item, self._home)
            return self._engine.stack.codec.decode(
                entry.data, entry.codec, entry.flags, type=self._type
            )
        except CorruptEntry as error:
            raise CorruptEntry(f"an item of the list {self._name}: {error}") from error


class TenantData(TenantRequests):
    """What a tenant's handle knows of lists and counters, whatever context it is narrowed to."""

    __slots__ = ()

    async def increment(
        self,
        counter_type: str,
        resource_id: Id,
        amount: int = 1,
        *,
        ttl: Duration | None = None,
        metadata: object = None,
    ) -> int:
        """Add to a counter (a negative amount takes off); what it is now.

        `ttl`: it is gone so long after it began, so that the next one begins it anew. Of a counter
        that is there already it changes nothing: one window has one end. BadInput if it would leave
        64 bits, and for a type that is `sensitive`: Redis adds it up, so it cannot be encrypted.
        `metadata` goes to the log, at DEBUG, and nowhere else.
        """
        counter_type = arguments.data_type(counter_type, "counter_type")
        name = counter_text(self.tenant, counter_type, resource_id)
        amount = _int(amount, "amount")
        lasts = arguments.ttl(ttl)
        if lasts == math.inf:
            lasts = None
        if (
            self._engine.shared_data is not None
            and self._engine.kinds.policy(counter_type).sensitive
        ):
            raise BadInput(
                f"the type {counter_type} is sensitive, and a counter is a number that cannot be "
                "encrypted; count under a type of its own, or keep the number as a value"
            )
        value = await (await self._engine.data()).increment(name, amount, lasts)
        if metadata is not None:
            self._engine.trace.counted(name, amount, metadata)
        return value

    async def counter(self, counter_type: str, resource_id: Id) -> int:
        """What a counter is; 0 if it never was."""
        name = counter_text(self.tenant, counter_type, resource_id)
        return await (await self._engine.data()).counter(name)

    def list(self, list_name: Id, *, type: Any = None) -> TenantList:
        """The list of that name. `type` is what its items are, where that cannot be seen."""
        if type is not None:
            self._engine.declared(type)
        return TenantList(self._engine, list_text(self.tenant, list_name), type)
