"""LangGraph: what nodes with a CachePolicy have written, kept by cascada.

`builder.compile(cache=CascadaCache(cache))` is all that there is to do (`docs/langchain.md`).

A value is stored as LangGraph's serializer writes it, and read back with a list of the classes that
it may consist of: whoever can write to the store of the cache can have nothing else made of it.
Never is anything pickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, Unpack

from cascada.api.cache import Cache
from cascada.api.context import current_context
from cascada.api.keeping import Keeping
from cascada.codecs.digest import generate_resource_id_hash
from cascada.integrations.asked import WAIT, Asked, Missed, forget
from cascada.model.door import arguments
from cascada.model.errors import BadInput, MissingExtra

try:
    from langgraph.cache.base import BaseCache, FullKey, Namespace
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
except ImportError as error:
    raise MissingExtra(
        "cascada.integrations.langgraph needs LangGraph; run `pip install cascada[langgraph]`"
    ) from error

__all__ = ["CascadaCache"]

V = TypeVar("V")

DATA_TYPE: Final = "langgraph_node"

VERSION: Final = "g1"
"""Begins every id. Whoever changes what an id is made of changes it, and a golden test."""

_WRITTEN: Final = frozenset({"null", "bytes", "bytearray", "msgpack"})
"""What the serializer writes. It reads more: JSON with objects in it, and pickles if told to."""

_OF_NODES: Final = "__pregel_ns_writes"
"""Begins the namespaces of what nodes write. Who stores by hand has others."""

MAX_LOOKED: Final = 4096
"""Runs of nodes under way whose callers are remembered; what more of them write is not kept."""


class Looked(NamedTuple):
    """Who has looked for what a node writes: the very text of his key, and his context.

    A graph stores what its node has written elsewhere: in another task, or in a thread of a pool,
    which knows no tenant. But it does so with the object of the key that it has looked with, which
    is made anew for each run.
    """

    text: str
    context: Context


def _caller(looked: Looked | None) -> int | None:
    return None if looked is None else id(looked.text)


class CascadaCache(BaseCache[V]):
    """`builder.compile(cache=CascadaCache(cache))`: nodes with a CachePolicy run once.

    Of equal runs of a node at once one is made, if the graphs are run by `ainvoke` or `astream`:
    the others wait for what it writes, or for the end of the task that runs its graph, after which
    the next one makes it; at most `wait` seconds. A plain `invoke` does not show when a run has
    failed, nor is a function with `@task` looked for in the task that waits for it, so that equal
    ones at once are all made; so are those of other processes.

    What a node has written is kept for the tenant that asks: that of the load that the graph runs
    in, or of the current context, of whichever began last, else `tenant`, else CASCADA_TENANT;
    MissingTenant if there is none. It is stored as `data_type`, with `tags`, for the ttl of the
    node's CachePolicy, else for `ttl` (None: as the policy of the type says).

    `allow` are the classes of your own that states consist of; what has others is not kept, and
    said once a minute. `serde` is another serializer in place of LangGraph's with that list.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        allow: Sequence[type] = (),
        serde: SerializerProtocol | None = None,
        wait: float = WAIT,
        **kept: Unpack[Keeping],
    ) -> None:
        kept.setdefault("data_type", DATA_TYPE)
        self._looked: dict[int, Looked] = {}
        self._asked = Asked(cache, tuple[str, bytes], wait=wait, **kept)
        allowed = arguments.several(allow, "allow", "classes")
        for each in allowed:
            arguments.instance(each, "each of allow", type, "a class")
        self._allowed = sorted({f"{each.__module__}.{each.__qualname__}" for each in allowed})
        if serde is None:
            serde = JsonPlusSerializer(allowed_msgpack_modules=allowed or None)
        if getattr(serde, "pickle_fallback", False):
            raise BadInput("serde pickles what it cannot write; make it with pickle_fallback=False")
        super().__init__(serde=serde)

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """What there is. What is not there the graph of this task makes."""
        asked = self._asking(keys)
        return self._values(keys, asked, await self._asked.look(asked) if asked else [])

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """`aget`, for a thread that waits; nobody waits for what its graph makes."""
        asked = self._asking(keys)
        return self._values(keys, asked, self._asked.look_plainly(asked) if asked else [])

    async def aset(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> None:
        """Keep what nodes have written, unless it was cleared since it was looked for."""
        for resource_id, looked, how in self._written(pairs):
            if how is None:
                self._asked.drop(resource_id)
            else:
                await self._asked.keep(resource_id, caller=_caller(looked), **how)

    def set(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> None:
        """`aset`, for a thread that waits."""
        for resource_id, looked, how in self._written(pairs):
            if how is None:
                continue
            keep = partial(self._asked.keep_plainly, resource_id, caller=_caller(looked), **how)
            if looked is not None and current_context() is None:
                looked.context.run(keep)
            else:
                keep()

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Drop what is kept for the tenant that asks, of these namespaces, in one step for each
        however many values there are; without them, all of it."""
        await self._asked.clear(self._tags(namespaces))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """`aclear`, for a thread that waits."""
        self._asked.clear_plainly(self._tags(namespaces))

    # --- keys, values, as they are stored -------------------------------------------------------

    def _asking(self, keys: Sequence[FullKey]) -> dict[str, int | None]:
        """The ids of these keys, and who asks for each."""
        asked: dict[str, int | None] = {}
        for key in arguments.several(keys, "keys", "keys"):
            resource_id, (namespace, text) = self._id(key), key
            looked = None
            if namespace and namespace[0] == _OF_NODES:
                looked = self._looked[id(text)] = Looked(text, copy_context())
            asked[resource_id] = _caller(looked)
        forget(self._looked, MAX_LOOKED)
        return asked

    def _id(self, key: FullKey) -> str:
        """A hash: a key may hold what the node was asked."""
        parts: Sequence[Any] = key
        if not isinstance(parts, list | tuple) or len(parts) != 2:
            raise arguments.refused("a key", key, "a namespace and a text")
        namespace, text = parts
        said = [list(arguments.texts(namespace, "a namespace")), arguments.text(text, "a key")]
        return f"{VERSION}-{generate_resource_id_hash(said, self._allowed)}"

    def _tags(self, namespaces: Sequence[Namespace] | None) -> list[str] | None:
        if namespaces is None:
            return None
        return [self._tag(each) for each in arguments.several(namespaces, "namespaces", "tuples")]

    def _tag(self, namespace: Namespace) -> str:
        parts = list(arguments.texts(namespace, "a namespace"))
        return f"{self._asked.data_type}-{generate_resource_id_hash(parts)}"

    def _values(
        self, keys: Sequence[FullKey], asked: Iterable[str], found: Sequence[Missed]
    ) -> dict[FullKey, V]:
        values: dict[FullKey, V] = {}
        answers = dict(zip(asked, found, strict=True))
        for namespace, text in keys:
            if answer := answers[self._id((namespace, text))]:
                self._looked.pop(id(text), None)
                try:
                    values[tuple(namespace), text] = self._load(answer.value)
                except Exception as error:  # noqa: BLE001 - whatever was written there is no value
                    self._asked.not_kept(error)
        return values

    def _load(self, written: tuple[str, bytes]) -> Any:
        if isinstance(self.serde, JsonPlusSerializer) and written[0] not in _WRITTEN:
            raise TypeError(f"LangGraph's serializer writes no {written[0]!r}")
        return self.serde.loads_typed(written)

    def _written(
        self, pairs: Mapping[FullKey, tuple[V, int | None]]
    ) -> Iterator[tuple[str, Looked | None, dict[str, Any] | None]]:
        """Each id, who looked for it, and what is to be stored there, as `keep` takes it; None if
        it cannot be."""
        for key, (value, ttl) in arguments.mapping(pairs, "pairs", "a dict of keys").items():
            resource_id, how = self._id(key), None
            looked = self._looked.pop(id(key[1]), None)
            of_a_node = key[0] and key[0][0] == _OF_NODES
            if looked is None and of_a_node and current_context() is None:
                self._asked.not_kept(LookupError("nobody is known to have looked for it"))
            elif ttl is None or ttl > 0:  # else it is over at once
                try:
                    how = {"value": self._dump(value), "ttl": ttl, "tags": (self._tag(key[0]),)}
                except Exception as error:  # noqa: BLE001 - what cannot be written is not kept
                    self._asked.not_kept(error)
            yield resource_id, looked, how

    def _dump(self, value: V) -> tuple[str, bytes]:
        """As it is stored. An object of a class that is not allowed is read as its fields: what
        would not come back as it is must not be kept."""
        how, data = self.serde.dumps_typed(value)
        written = how, bytes(data)
        read = self._load(written)
        if self.serde.dumps_typed(read) != written and read != value:
            raise TypeError(
                f"a {type(value).__name__} holds what does not come back as it was stored; "
                "pass the classes of your own that it consists of as CascadaCache(cache, allow=...)"
            )
        return written
