"""LangGraph's cache: what it wrote comes back whole, and nothing else is made of what is stored."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import ormsgpack
import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send
from pydantic import BaseModel

from cascada import Cache
from cascada.integrations.langgraph import DATA_TYPE, CascadaCache
from cascada.model.errors import BadInput
from cascada.testing.inside import inside

A = (("a",), "k")


@dataclasses.dataclass
class Own:
    x: int


class Model(BaseModel):
    x: int


async def test_values_come_back_as_they_went_in(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme", allow=[Own, Model])
    values: list[Any] = [
        1, 1.5, "x", b"x", bytearray(b"x"), True, [1], {"a": {1: 2}}, {1, 2}, frozenset({1}),
        Own(1), deque([["a", 1]]), datetime.now(UTC), Decimal("1.5"), UUID(int=5),
        AIMessage("a", id="1"), Model(x=1), Send("n", {"a": 1}), {"messages": [AIMessage("a")]},
    ]  # fmt: skip
    pairs = {(("a", "b"), str(number)): (value, None) for number, value in enumerate(values)}
    await kept.aset(pairs)
    assert await kept.aget(list(pairs)) == {key: value for key, (value, _) in pairs.items()}
    assert await asyncio.to_thread(kept.get, list(pairs)) == dict(zip(pairs, values, strict=True))
    await kept.aset({A: (np.arange(3), None)})
    assert (await kept.aget([A]))[A].tolist() == [0, 1, 2]
    await kept.aset({A: (None, None)})
    assert await kept.aget([A]) == {A: None}


async def test_what_does_not_come_back_as_it_was_is_not_kept(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    for odd in (Own(1), [Own(1)], Model(x=1), object(), lambda: 1, 2**70):
        await kept.aset({A: (odd, None)})
        assert await kept.aget([A]) == {}
    assert "allow=" in caplog.text
    # Who may have them does not find what was written by who may not, nor the other way round.
    allowed: CascadaCache[Any] = CascadaCache(cache, tenant="acme", allow=[Own])
    await allowed.aset({A: (Own(1), None)})
    assert await kept.aget([A]) == {}
    assert await allowed.aget([A]) == {A: Own(1)}


class Trap:
    made: list[Any] = []  # noqa: RUF012 - a test's own

    def __init__(self, *args: Any, **named: Any) -> None:
        self.made.append((args, named))


def ext(code: int, *parts: Any) -> bytes:
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


@pytest.mark.parametrize(
    "written",
    [
        *[("msgpack", ext(code, __name__, "Trap", arg)) for code, arg in enumerate([1, [1], {}])],
        ("msgpack", ext(3, __name__, "Trap", 1, "fromisoformat")),
        *[("msgpack", ext(code, __name__, "Trap", {}, "model_validate_json")) for code in (4, 5)],
        ("json", b'{"lc": 2, "type": "constructor", "id": ["%s", "Trap"], "args": [1]}'),
        ("json", b'{"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "prompt",'
         b' "PromptTemplate"], "kwargs": {"template": "x"}}'),
        ("pickle", b"cos\nsystem\n(S'true'\ntR."),
        ("msgpack", b"\xc1"),
        ("other", b""),
    ],
    ids=str,
)  # fmt: skip
async def test_nothing_is_made_of_what_is_stored(cache: Cache, written: tuple[str, bytes]) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    await kept.aset({A: ("good", None)})
    (record,) = inside(cache).memory.records
    Trap.made.clear()
    kind, data = written
    data = data.replace(b"%s", __name__.encode())
    await cache.tenant("acme").set(DATA_TYPE, record.resource_id, (kind, data))
    found = await kept.aget([A])
    assert Trap.made == []
    assert kind == "msgpack" or found == {}
    assert not any(isinstance(each, Trap) for each in found.values())
    await cache.tenant("acme").set(DATA_TYPE, record.resource_id, ["msgpack", 5, 6])
    assert await kept.aget([A]) == {}


async def test_ids_are_the_same_for_ever(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    await kept.aset({(("a", "b"), "k"): (1, None)})
    (record,) = inside(cache).memory.records
    assert record.resource_id == "g1-8bfd3c9f9d1e01839c89c5e4a0186e0d"
    tag = "langgraph_node-08957e68acdebc66318294719b98917e"
    await cache.tenant("acme").invalidate(tag=tag)
    assert await kept.aget([(("a", "b"), "k")]) == {}


def test_no_pickle() -> None:
    with pytest.raises(BadInput, match="pickle_fallback=False"):
        CascadaCache(Cache(), serde=JsonPlusSerializer(pickle_fallback=True))
    CascadaCache(Cache(), serde=JsonPlusSerializer())


@pytest.mark.parametrize(
    "keys", ["ab", [("a", "k")], [(("a",), 1)], [(("a",),)], [(("a",), "k", "x")], [None], 5]
)
async def test_keys_that_are_none_are_refused(cache: Cache, keys: Any) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    with pytest.raises(BadInput):
        await kept.aget(keys)
    with pytest.raises(BadInput):
        kept.get(keys)
    with pytest.raises(BadInput):
        await kept.aclear("a")  # type: ignore[arg-type]  # on purpose


def test_allow_is_of_classes() -> None:
    for odd in ("Own", ["Own"], [Own(1)], Own):
        with pytest.raises(BadInput, match="allow"):
            CascadaCache(Cache(), allow=odd)  # type: ignore[arg-type]  # on purpose


def test_without_the_libraries_the_errors_say_what_to_install() -> None:
    code = """
import sys
sys.modules["langchain_core"] = sys.modules["langgraph"] = None
for name in ("langchain", "langgraph"):
    try:
        __import__(f"cascada.integrations.{name}")
    except ImportError as error:
        print(type(error).__name__, error)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[0] for line in said] == ["MissingExtra"] * 2
    assert "pip install cascada[langchain]" in said[0]
    assert "pip install cascada[langgraph]" in said[1]
