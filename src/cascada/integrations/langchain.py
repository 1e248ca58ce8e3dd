"""LangChain: answers of models and bytes, kept by cascada.

    set_llm_cache(CascadaCache(cache))                      # langchain_core.globals
    CacheBackedEmbeddings.from_bytes_store(model, CascadaByteStore(cache), namespace="...")

An answer is stored as LangChain writes it, and read back with a list of the classes that it may
consist of: whoever can write to the store of the cache can have nothing else made of it. Never is
anything pickled.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from threading import get_ident
from typing import Any, Final, Unpack

from cascada.api.cache import Cache
from cascada.api.keeping import Keeping
from cascada.codecs.digest import generate_resource_id_hash
from cascada.integrations.asked import WAIT, Asked, Guest
from cascada.model.bills.cost import Cost, cost_said
from cascada.model.bills.usage import said_by
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.entry import Hit, Miss
from cascada.model.errors import BadInput, MissingExtra

try:
    from langchain_core import messages, outputs
    from langchain_core.caches import BaseCache
    from langchain_core.load import dumps
    from langchain_core.load.load import load
    from langchain_core.outputs import Generation
    from langchain_core.stores import ByteStore
except ImportError as error:
    raise MissingExtra(
        "cascada.integrations.langchain needs langchain-core; run `pip install cascada[langchain]`"
    ) from error

__all__ = ["CascadaByteStore", "CascadaCache"]

DATA_TYPE: Final = "langchain_answer"

BYTES_TYPE: Final = "langchain_bytes"

VERSION: Final = "c1"
"""Begins every id. Whoever changes what an id is made of changes it, and a golden test."""

_ALLOWED: Final = [
    outputs.Generation, outputs.GenerationChunk,
    outputs.ChatGeneration, outputs.ChatGenerationChunk,
    messages.AIMessage, messages.AIMessageChunk,
    messages.ChatMessage, messages.ChatMessageChunk,
    messages.FunctionMessage, messages.FunctionMessageChunk,
    messages.HumanMessage, messages.HumanMessageChunk,
    messages.SystemMessage, messages.SystemMessageChunk,
    messages.ToolMessage, messages.ToolMessageChunk,
]  # fmt: skip
"""What an answer may consist of: plain data, all of it."""

_load: Final = inspect.unwrap(load)
"""Without the warning that it is in beta, which is said to whoever calls it."""

_OF_AN_ANSWER: Final = frozenset({"id", "response_metadata", "usage_metadata"})
"""What a provider, or LangChain itself, says of a message beside what it says."""

_IDS: Final = frozenset({"id", "call_id", "tool_call_id", "tool_use_id"})
_ESCAPED: Final = "__lc_escaped__"
"""Around a dict of the caller's own that looks like one of LangChain's."""

_OPAQUE: Final = frozenset({"args", "arguments", "input"})
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+>")


class CascadaCache(BaseCache):
    """`set_llm_cache(CascadaCache(cache))`, or `ChatOpenAI(cache=CascadaCache(cache))`.

    Of equal calls at once one is made, if they are made by `ainvoke` (`abatch`, `agenerate`): the
    others wait for its answer, or for the end of its task, after which the next one makes it; at
    most `wait` seconds. A plain `invoke` does not show when a call has failed, so that equal ones
    at once are all made; so are those of other processes. For one call in all of these cases give
    the model's client the transport of `cascada.ai`.

    An answer is kept for the tenant that asks: that of the load that the call is made in, or of
    the current context, of whichever began last, else `tenant`, else CASCADA_TENANT; MissingTenant
    if there is none. It is stored as `data_type`, for `ttl` (None: as the policy of the type says),
    with `tags`.
    """

    def __init__(self, cache: Cache, *, wait: float = WAIT, **kept: Unpack[Keeping]) -> None:
        kept.setdefault("data_type", DATA_TYPE)
        self._asked = Asked(cache, list[str], wait=wait, **kept)

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to this call, or None: then this task makes it."""
        if (asked := _id_of(prompt, llm_string)) is None:
            return None
        (found,) = await self._asked.look({asked: _task()})
        return self._answer(found)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Keep the answer to a call, unless it was cleared since it was looked for."""
        if (asked := _id_of(prompt, llm_string)) is None:
            return
        if (written := self._written(return_val)) is None:
            self._asked.drop(asked)
        else:
            await self._asked.keep(asked, written, _task(), cost=_cost_of(return_val))

    async def aclear(self, **kwargs: Any) -> None:
        """Drop all answers of the tenant that asks, in one step however many there are."""
        _nothing_else(kwargs)
        await self._asked.clear()

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """`alookup`, for a thread that waits; nobody waits for the call that it makes."""
        if (asked := _id_of(prompt, llm_string)) is None:
            return None
        (found,) = self._asked.look_plainly({asked: get_ident()})
        return self._answer(found)

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """`aupdate`, for a thread that waits: the one that has looked for it."""
        asked = _id_of(prompt, llm_string)
        if asked is not None and (written := self._written(return_val)) is not None:
            self._asked.keep_plainly(asked, written, get_ident(), cost=_cost_of(return_val))

    def clear(self, **kwargs: Any) -> None:
        """`aclear`, for a thread that waits."""
        _nothing_else(kwargs)
        self._asked.clear_plainly()

    def _answer(self, found: Hit[Any] | Miss) -> list[Generation] | None:
        if not found:
            return None
        try:
            return [_read(each) for each in found.value]
        except Exception as error:  # noqa: BLE001 - whatever was written there is no answer
            self._asked.not_kept(error)
            return None

    def _written(self, answer: Sequence[Generation]) -> list[str] | None:
        try:
            written = [dumps(each) for each in answer]
            for each in written:
                _read(each)
        except Exception as error:  # noqa: BLE001 - what cannot be read again is not kept
            self._asked.not_kept(error)
            return None
        return written


def _read(written: str) -> Generation:
    read = _load(json.loads(written), allowed_objects=_ALLOWED)
    if not isinstance(read, Generation):
        raise TypeError(f"{type(read).__name__} is no Generation")
    return read


def _cost_of(answer: Sequence[Generation]) -> Cost | None:
    """What the call took, if a message says so: each of several says it of the whole call."""
    for each in answer:
        said = said_by(getattr(each, "message", None))
        if said is not None and said.tokens is not None:
            return cost_said(said)
    return None


def _nothing_else(given: dict[str, Any]) -> None:
    if given:
        raise BadInput(f"clear() drops all answers of the tenant; leave {min(given)} out")


class CascadaByteStore(ByteStore):
    """`CacheBackedEmbeddings.from_bytes_store(model, CascadaByteStore(cache), namespace=...)`.

    Bytes by their keys, for each tenant, as `CascadaCache` has it. It is a cache: what it holds
    goes with its ttl, or when room is needed. So it is no place for what cannot be made again, and
    its keys are not listed.
    """

    def __init__(self, cache: Cache, **kept: Unpack[Keeping]) -> None:
        kept.setdefault("data_type", BYTES_TYPE)
        self._kept = Guest(cache, **kept)

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of each key, or None."""
        kept = self._kept
        return _bytes(await kept.tenant().get_many(kept.data_type, keys, type=bytes))

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """`amget`, for a thread that waits."""
        kept = self._kept
        return _bytes(kept.waiting().get_many(kept.data_type, keys, type=bytes))

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Store bytes under their keys; BadInput, before any is stored, if one is no bytes."""
        kept, pairs = self._kept, _pairs(key_value_pairs)
        await kept.tenant().set_many(kept.data_type, pairs, **kept.terms)

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """`amset`, for a thread that waits."""
        kept, pairs = self._kept, _pairs(key_value_pairs)
        kept.waiting().set_many(kept.data_type, pairs, **kept.terms)

    async def amdelete(self, keys: Sequence[str]) -> None:
        """Drop what these keys stand for."""
        tenant = self._kept.tenant()
        for part in _parts(keys):
            await tenant.delete_many(self._kept.data_type, part)
            # What this task stores now is newer than its delete, but a set is held to the miss
            # that the task has had before: so it has another one.
            await tenant.get_many(self._kept.data_type, part)

    def mdelete(self, keys: Sequence[str]) -> None:
        """`amdelete`, for a thread that waits."""
        tenant = self._kept.waiting()
        for part in _parts(keys):
            tenant.delete_many(self._kept.data_type, part)
            tenant.get_many(self._kept.data_type, part)

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """NotImplementedError: a cache in tiers has no list of its keys."""
        raise NotImplementedError(
            "CascadaByteStore lists no keys: its tiers drop values on their own; "
            "keep a list of what must be found by its place in it"
        )

    def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """NotImplementedError, as of `yield_keys`."""
        self.yield_keys(prefix=prefix)
        raise AssertionError


def _bytes(found: Sequence[Hit[bytes] | Miss]) -> list[bytes | None]:
    return [each.value if each else None for each in found]


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    """The keys, as many at a time as go in one step."""
    ids, most = arguments.ids(keys, "keys"), arguments.MAX_AT_ONCE
    return (ids[at : at + most] for at in range(0, len(ids), most))


def _pairs(given: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    pairs = arguments.pairs(given, "key_value_pairs")
    for key, value in pairs:
        arguments.instance(value, f"the value of {shown(key)}", bytes, "bytes")
    return pairs


def _task() -> int:
    """The caller of an async call. If the number is that of an earlier task, whose miss is older,
    what comes may not be stored; never the other way round."""
    return id(asyncio.current_task())


# --- what is the same call --------------------------------------------------------------------


def _id_of(prompt: str, llm_string: str) -> str | None:
    """A hash, since either may hold secrets. None: nobody can tell what this call is.

    LangChain tells of some objects by their address, where another one may be tomorrow.
    """
    prompt = arguments.text(prompt, "prompt")
    llm_string = arguments.text(llm_string, "llm_string")
    if _ADDRESS.search(llm_string):
        return None
    # What a provider calls its last answer is then what it goes on from.
    chained = "previous_response_id" in llm_string
    said = json.dumps([prompt if chained else _said(prompt), llm_string], sort_keys=True)
    return f"{VERSION}-{generate_resource_id_hash(said)}"


def _said(prompt: str) -> Any:
    """What the messages say, if the prompt is messages.

    An answer goes into the next prompt with what was said of it: the provider's id of it, which is
    drawn anew each time, or its cost, which LangChain sets to 0 if the answer was kept. So no
    second step of an agent would ever be the same call.
    """
    try:
        messages = json.loads(prompt)
        return _Places().plain(messages) if isinstance(messages, list) else prompt
    except (ValueError, RecursionError):
        return prompt


class _Places:
    """The ids of tool calls by their places, since they are drawn anew each time."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def plain(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.plain(each) for each in value]
        if not isinstance(value, dict) or _ESCAPED in value:
            return value
        if value.get("lc") == 1 and isinstance(kwargs := value.get("kwargs"), dict):
            self._meet(kwargs.get("tool_calls"))
            kept = {name: each for name, each in kwargs.items() if name not in _OF_AN_ANSWER}
            return {"message": value.get("id"), "kwargs": self._inside(kept)}
        return self._inside(value)

    def _inside(self, value: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, each in value.items():
            if name in _IDS and isinstance(each, str) and each in self._places:
                found[name] = ["place", self._places[each]]
            else:
                found[name] = each if name in _OPAQUE else self.plain(each)
        return found

    def _meet(self, calls: Any) -> None:
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(called := call.get("id"), str):
                self._places.setdefault(called, len(self._places))
